"""Settings: all of them are checked at once, in the caller, before anything starts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from distgraph import StateGraph
from distgraph._internal.settings import SETTINGS, complaint, setting
from distgraph.types import OnLostAttempt

ROOT = Path(__file__).parents[2]

FREE = {"DISTGRAPH_API_KEY", "DISTGRAPH_DOCS"}
"""Settings that may be any text."""

WHOLE = ["two", "1.5", "-1", "1e6", "16 MiB", "1_000", "٣"]
SECONDS = ["soon", "-1", "nan", "inf", "5 s"]
SWITCH = ["maybe", "2", "onn"]
WORDS = ["fast", "Ray cluster", "1"]

BAD: dict[str, list[str]] = {
    "DISTGRAPH_AFFINITY_IDLE": SECONDS,
    "DISTGRAPH_BACKEND": [*WORDS, "RAY", "lcoal"],
    "DISTGRAPH_BUSY_POLL": SECONDS,
    "DISTGRAPH_DETACHED_IDLE": [*SECONDS, "0"],
    "DISTGRAPH_DRIVERS": [*WHOLE, "0"],
    "DISTGRAPH_LEASES": SWITCH,
    "DISTGRAPH_LOG": ["xml", "json:loud", "on", ":debug", "json:10"],
    "DISTGRAPH_MAX_ATTEMPTS": [*WHOLE, "0"],
    "DISTGRAPH_MAX_BODY_BYTES": [*WHOLE, "0"],
    "DISTGRAPH_METRICS": [*SECONDS, "0", "on"],
    "DISTGRAPH_MIRROR": SWITCH,
    "DISTGRAPH_MISSING_RESOURCES": [*WORDS, "rais"],
    "DISTGRAPH_ON_LOST_ATTEMPT": [*WORDS, "rest"],
    "DISTGRAPH_OTEL": SWITCH,
    "DISTGRAPH_POOL_IDLE": SECONDS,
    "DISTGRAPH_PORTS": ["x", "1-", "-1", "5-4", "0-9", "1-70000", "20000-20100-20200", "80", "1-2"],
    "DISTGRAPH_REDUCER_TIMEOUT": [*SECONDS, "0"],
    "DISTGRAPH_REQUESTS_PER_MINUTE": [*WHOLE, "0"],
    "DISTGRAPH_SILENCE": [*SECONDS, "0"],
    "DISTGRAPH_STATUS": SWITCH,
    "DISTGRAPH_STREAM_BYTES": [*WHOLE, "0"],
    "DISTGRAPH_STREAM_EVENTS": [*WHOLE, "0"],
    "DISTGRAPH_STREAM_KEPT_BYTES": WHOLE,
    "DISTGRAPH_STREAM_KEPT_EVENTS": WHOLE,
    "DISTGRAPH_STREAM_KEPT_SECONDS": SECONDS,
    "DISTGRAPH_STREAM_RETAINED_BYTES": WHOLE,
    "DISTGRAPH_STREAM_STARTED_BYTES": WHOLE,
    "DISTGRAPH_TAKEOVER_BYTES": WHOLE,
    "DISTGRAPH_WORKER_IDLE": SECONDS,
    "LANGGRAPH_DEFAULT_RECURSION_LIMIT": [*WHOLE, "0"],
    "LANGGRAPH_DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT": [*WHOLE, "0"],
}


def test_bad_values_of_each_setting_are_tried() -> None:
    assert set(BAD) == set(SETTINGS) - FREE


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in BAD.items() for t in texts])
def test_a_value_that_is_not_allowed_is_refused_with_what_is(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = complaint({name: text, "DISTGRAPH_DOCS": "/docs"})
    if text not in ("80", "1-2"):  # a range in itself
        one = SETTINGS[name]
        assert found.startswith(f"{name} must be {one.allowed}")
        assert f", got {text!r}." in found
        assert one.example in found
        monkeypatch.setenv(name, text)
        with pytest.raises(ValueError, match=re.escape(found)):
            setting(name, None)
    assert name in found


@pytest.mark.parametrize("name", SETTINGS)
def test_the_example_of_a_setting_is_allowed_and_nothing_means_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complaint({name: SETTINGS[name].example}) == complaint({name: " "}) == ""
    monkeypatch.setenv(name, " ")
    assert setting(name, "the default") == "the default"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("DISTGRAPH_MIRROR", "off", False),
        ("DISTGRAPH_MIRROR", "Yes", True),
        ("DISTGRAPH_LEASES", "0", False),
        ("DISTGRAPH_STATUS", "1", True),
        ("DISTGRAPH_SILENCE", " 2.5 ", 2.5),
        ("DISTGRAPH_METRICS", "OFF", None),
        ("DISTGRAPH_LOG", "json", 20),
        ("DISTGRAPH_LOG", "json:debug", 10),
        ("DISTGRAPH_LOG", "off", None),
        ("DISTGRAPH_PORTS", "20000-20100", (20000, 20100)),
        ("DISTGRAPH_PORTS", "80", (80, 80)),
        ("DISTGRAPH_TAKEOVER_BYTES", "0", 0),
    ],
)
def test_what_a_value_stands_for(
    name: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    assert setting(name, "the default") == value


def test_words_that_are_typed_elsewhere_too_are_the_same() -> None:
    assert SETTINGS["DISTGRAPH_ON_LOST_ATTEMPT"].known == get_args(OnLostAttempt)


def test_a_misspelt_word_is_asked_after() -> None:
    assert complaint({"DISTGRAPH_BACKEND": "lcoal"}) == (
        "DISTGRAPH_BACKEND must be \"ray\" or \"local\", got 'lcoal'. Did you mean 'local'?"
    )


@pytest.mark.parametrize(
    ("others", "ports", "told"),
    [
        (
            {},
            "80",
            "DISTGRAPH_PORTS=80-80 has 1 port, and a process with 1 superstep driver needs",
        ),
        ({}, "80-82", ""),
        ({"DISTGRAPH_MIRROR": "1"}, "80-82", "1 superstep driver needs 4"),
        (
            {"DISTGRAPH_DRIVERS": "4"},
            "80-87",
            "has 8 ports, and a process with 4 superstep driver",
        ),
        ({"DISTGRAPH_DRIVERS": "4"}, "80-91", ""),
    ],
)
def test_a_range_must_have_room_for_the_sessions_of_a_process(
    others: dict[str, str], ports: str, told: str
) -> None:
    found = complaint({**others, "DISTGRAPH_PORTS": ports})
    assert told in found
    assert bool(told) == bool(found)


WRONG = {"DISTGRAPH_DRIVERS": "two", "DISTGRAPH_STREAM_BYTES": "1e6", "DISTGRAPH_PORTS": "80"}


def test_all_that_is_wrong_is_told_at_once_and_before_the_backend_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = StateGraph(dict).add_node("n", lambda state: state).set_entry_point("n").compile()
    for name, text in WRONG.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr("distgraph.invocation.prepare.resolve", lambda backend: pytest.fail())
    with pytest.raises(ValueError) as caught:
        graph.invoke({})
    assert [line.partition("=")[0].split()[0] for line in str(caught.value).splitlines()] == [
        "DISTGRAPH_DRIVERS",
        "DISTGRAPH_STREAM_BYTES",
        "DISTGRAPH_PORTS",
    ]


def test_a_command_ends_with_a_message_and_not_with_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distgraph", "doctor"],
        env={"PYTHONPATH": str(ROOT), "DISTGRAPH_SILENCE": "long"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "distgraph doctor: DISTGRAPH_SILENCE must be a number of seconds above 0, such as 60, got "
        "'long'.\n"
    )
