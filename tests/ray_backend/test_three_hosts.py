"""Runs on three hosts with networks of their own, which are cut off, put back and killed.

Figures are printed: ``pytest -m faults -rP tests/ray_backend/test_three_hosts.py``.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.hosts import Hosts, why_not

from .three_hosts import EVENTS, STEPS

WHY_NOT = why_not()

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(240),
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
    hosts: Hosts, what: str, at: int = -1, act: Callable[[], object] = lambda: None
) -> tuple[list[Any], dict[str, Any]]:
    """Run a graph; return its chunks and its end. ``act`` is called behind chunk ``at``."""
    program = hosts.start_program("tests.ray_backend.three_hosts", what)
    lines, acting = [], threading.Thread(target=act)
    for line in program.stdout or ():
        if line.startswith("{"):
            lines.append(json.loads(line))
            if len(lines) == at:
                acting.start()
    assert program.wait() == 0
    if at > 0:
        acting.join()
    print({key: value for key, value in lines[-1].items() if key != "chunk"})
    return [line["chunk"] for line in lines[:-1] if "chunk" in line], lines[-1]


def cut(hosts: Hosts, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        hosts.cut(2)
        time.sleep(seconds)
        hosts.join(2)
        time.sleep(seconds if times > 1 else 0)


@pytest.mark.parametrize(("seconds", "times"), [(2, 1), (10, 1), (0.4, 8)])
def test_a_host_that_is_cut_off_and_put_back_leaves_an_exact_stream(hosts, seconds, times):
    chunks, end = run(hosts, "steps", MIDDLE, lambda: cut(hosts, seconds, times))
    assert end["error"] is None
    assert chunks == EXACT
    assert end["longest"] < seconds + 10


def test_equal_tasks_are_spread_over_the_hosts(hosts):
    program = hosts.start_program("tests.ray_backend.three_hosts", "spread")
    runs = [json.loads(line) for line in program.stdout or () if line.startswith("{")]
    print([round(run["seconds"], 2) for run in runs])
    assert program.wait() == 0
    balanced = [run for run in runs if run["placed"] == [4, 4, 4]]
    assert len(balanced) > len(runs) / 2
    assert statistics.median(run["seconds"] for run in balanced) < 1.6  # four tasks of 0.2 s


def test_a_host_that_is_killed_is_one_typed_error_behind_all_that_it_had_sent(own_hosts):
    chunks, end = run(own_hosts, "long", EVENTS, lambda: own_hosts.kill(2))
    assert end["error"] == "WorkerDied"
    assert chunks == [["custom", i] for i in range(EVENTS)]
    assert end["since"] < 60


def test_state_that_a_killed_host_had_made_is_not_lost(own_hosts):
    chunks, end = run(own_hosts, "large", 2, lambda: own_hosts.kill(2))
    assert end["error"] is None
    assert chunks == [
        ["updates", {"make": None}],
        ["custom", "made"],
        ["updates", {"wait": 10_000_000}],
        ["updates", {"read": 20_000_000}],
    ]
