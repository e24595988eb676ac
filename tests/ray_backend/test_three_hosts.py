"""Runs on three hosts with networks of their own, which are cut off, put back and killed.

Figures are printed: ``pytest -m faults -rP tests/ray_backend/test_three_hosts.py``.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.hosts import Hosts, why_not

from .three_hosts import EVENTS, STEPS

WHY_NOT = why_not()

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

EXACT = [
    ["custom", [step, i]] if i < EVENTS else ["updates", {"far": step + 1}]
    for step in range(STEPS)
    for i in range(EVENTS + 1)
]

MIDDLE = len(EXACT) // 4
"""Number of the chunk behind which something happens."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as hosts:
        hosts.start_ray([1, 1, 1])
        yield hosts


@pytest.fixture
def own_hosts() -> Iterator[Hosts]:
    with Hosts(3) as hosts:
        hosts.start_ray([1, 1, 1])
        yield hosts


def run(
    hosts: Hosts,
    what: str | tuple[str, ...],
    at: int = -1,
    act: Callable[[Any], object] = lambda chunk: None,
) -> tuple[list[Any], dict[str, Any]]:
    """Run a graph; return its chunks and its end. ``act`` is called with chunk ``at``."""
    words = (what,) if isinstance(what, str) else what
    program = hosts.start_program("tests.ray_backend.three_hosts", *words)
    lines, acting = [], threading.Thread()
    for line in program.stdout or ():
        if line.startswith("{"):
            lines.append(json.loads(line))
            if len(lines) == at:
                acting = threading.Thread(target=act, args=[lines[-1]["chunk"]])
                acting.start()
    assert program.wait() == 0
    if at > 0:
        acting.join()
    print({key: value for key, value in lines[-1].items() if key != "chunk"})
    return [line["chunk"] for line in lines[:-1] if "chunk" in line], lines[-1]


def cut(hosts: Hosts, seconds: float, times: int = 1, host: int = 2) -> None:
    for _ in range(times):
        hosts.cut(host)
        time.sleep(seconds)
        hosts.join(host)
        time.sleep(seconds if times > 1 else 0)


@pytest.mark.parametrize(("seconds", "times"), [(2, 1), (10, 1), (0.4, 8)])
def test_a_host_that_is_cut_off_and_put_back_leaves_an_exact_stream(hosts, seconds, times):
    chunks, end = run(hosts, "steps", MIDDLE, lambda _: cut(hosts, seconds, times))
    assert end["error"] is None
    assert chunks == EXACT
    assert end["longest"] < seconds + 10


@pytest.mark.parametrize("at", [EVENTS // 2, MIDDLE])
def test_a_host_that_is_cut_off_for_a_minute_is_one_typed_error(own_hosts, at):
    """At an event of a node, and behind the last event of a superstep."""
    chunks, end = run(own_hosts, "steps", at, lambda _: cut(own_hosts, 60))
    assert end["error"] == "WorkerDied"
    assert at <= len(chunks) < len(EXACT)
    assert chunks == EXACT[: len(chunks)]
    assert end["since"] < 60


def test_buffered_nodes_of_a_host_that_is_cut_off_for_a_minute_move_to_another_one(own_hosts):
    def act(chunk: Any) -> None:
        _, (_, _, address) = chunk
        (host,) = [host for host in (2, 3) if own_hosts.address(host) == address]
        cut(own_hosts, 60, host=host)

    chunks, end = run(own_hosts, "moves", EVENTS // 2, act)
    assert end["error"] is None
    plain = [[mode, chunk[:2] if mode == "custom" else chunk] for mode, chunk in chunks]
    assert plain == [[mode, {"node": c["far"]} if "far" in c else c] for mode, c in EXACT]
    assert end["longest"] < 70


@pytest.mark.parametrize("mirror", ["1", "0"])
def test_a_detached_run_whose_machine_is_killed(own_hosts, mirror, tmp_path):
    """Its caller, its driver and its broker are there. With a mirror, the run goes on elsewhere."""
    caller = own_hosts.start_program(
        "tests.ray_backend.three_hosts",
        "launch",
        str(tmp_path / "threads.sqlite"),
        host=2,
        DISTGRAPH_MIRROR=mirror,
    )
    run_id = json.loads(next(line for line in caller.stdout if line.startswith("{")))["run_id"]
    chunks, end = run(own_hosts, ("read", run_id), MIDDLE, lambda _: own_hosts.kill(2))
    assert chunks == EXACT[: len(chunks)]
    assert (end["error"], len(chunks) == len(EXACT)) == (
        (None, True) if mirror == "1" else ("BrokerLost", False)
    )
    assert max(end["longest"], end["since"]) < 60


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_equal_tasks_are_spread_over_the_hosts(hosts, seconds, tmp_path):
    """Three tasks run at any time, one on each host: no host has tasks that another could take.

    Those of 0.5 s wait for more than a second. The times are printed only: here they depend on
    what else runs on this machine. ``tests/driver/test_balance.py`` asserts them without a machine,
    and ``python -m benchmarks.hosts`` measures them.
    """
    program = hosts.start_program(
        "tests.ray_backend.three_hosts", "spread", str(seconds), str(tmp_path)
    )
    runs = [json.loads(line) for line in program.stdout or () if line.startswith("{")]
    print([round(run["seconds"], 2) for run in runs], "s; ideal:", 4 * seconds)
    assert program.wait() == 0
    for run in runs:
        met = [{node for meeting, node in run["items"] if meeting == at} for at in range(4)]
        assert list(map(len, met)) == [3, 3, 3, 3], "three hosts at each meeting"
        assert sorted(Counter(node for _, node in run["items"]).values()) == [4, 4, 4]
    assert len(runs) == 10


def test_a_host_that_is_killed_is_one_typed_error_behind_all_that_it_had_sent(own_hosts):
    chunks, end = run(own_hosts, "long", EVENTS, lambda _: own_hosts.kill(2))
    assert end["error"] == "WorkerDied"
    assert chunks == [["custom", i] for i in range(EVENTS)]
    assert end["since"] < 60


def test_state_that_a_killed_host_had_made_is_not_lost(own_hosts):
    chunks, end = run(own_hosts, "large", 2, lambda _: own_hosts.kill(2))
    assert end["error"] is None
    assert chunks == [
        ["updates", {"make": None}],
        ["custom", "made"],
        ["updates", {"wait": 10_000_000}],
        ["updates", {"read": 20_000_000}],
    ]
