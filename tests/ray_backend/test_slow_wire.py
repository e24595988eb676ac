"""Runs on two hosts of which the second has a slow cable: 20 ms for each frame, in each direction.

Figures are printed: ``pytest -m faults -rP tests/ray_backend/test_slow_wire.py``.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest

from tests.support.hosts import Hosts, why_not_slow

from .three_hosts import EVENTS, STEPS, WRITING

WHY_NOT = why_not_slow()

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

ONE_WAY = 0.02
ROUND_TRIP = 2 * ONE_WAY
NODE = EVENTS * WRITING
"""Seconds that a node takes by itself."""

STALL, BOUND = 10.0, 10.0
"""Seconds without any frame, and for the stream to go on behind them."""

EXACT = [
    ["custom", [step, i]] if i < EVENTS else ["updates", {"now": {"n": step + 1}}]
    for step in range(STEPS)
    for i in range(EVENTS + 1)
]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts(2, {2: ONE_WAY}) as hosts:
        hosts.start_ray([1, 1])
        yield hosts


def run(
    hosts: Hosts, act: Callable[[], object] = lambda: None, **environment: str
) -> dict[str, Any]:
    """Run the graph twice; ``act`` is called when the first run has ended. Return what the program
    says of the second one."""
    program = hosts.start_program("tests.ray_backend.three_hosts", "quick", **environment)
    found: list[dict[str, Any]] = []
    for line in program.stdout or ():
        if line.startswith("{"):
            found.append(json.loads(line))
            if len(found) == 1:
                Thread(target=act, daemon=True).start()
    assert program.wait() == 0
    end = found[-1]
    for name in ("ages", "steps"):
        at = sorted(round(1000 * seconds) for seconds in end[name])
        print(f"{name}: {at[0]} to {at[-1]} ms, median {at[len(at) // 2]} ms")
    return end


def quarter(values: list[float]) -> float:
    """The value that a quarter of the values stay below: other programs disturb fewer."""
    return statistics.quantiles(values, n=4)[0]


def test_a_step_costs_one_round_trip_and_an_event_one_way(hosts):
    end = run(hosts)
    assert end["chunks"] == EXACT
    assert ROUND_TRIP < quarter(end["steps"]) - NODE < 2 * ROUND_TRIP
    assert ONE_WAY < min(end["ages"]) < 2 * ONE_WAY


def test_frames_that_are_lost_leave_the_stream_exact(hosts):
    def lose() -> None:
        hosts.wires[2].loss = 0.03

    end = run(hosts, lose)
    hosts.wires[2].loss = 0.0
    assert end["chunks"] == EXACT


def test_a_cable_that_is_cut_again_and_again_leaves_the_stream_exact(hosts):
    wire = hosts.wires[2]

    def cut() -> None:
        for _ in range(5):
            time.sleep(0.4)
            wire.is_cut = True
            time.sleep(0.4)
            wire.is_cut = False

    assert run(hosts, cut)["chunks"] == EXACT


def test_a_cable_that_takes_200_ms_leaves_the_stream_exact(hosts):
    wire = hosts.wires[2]
    end = run(hosts, lambda: setattr(wire, "seconds", 0.2))
    wire.seconds = ONE_WAY
    assert end["chunks"] == EXACT
    assert max(end["ages"]) > 0.2
    assert max(end["steps"]) < BOUND


def test_a_cable_that_stalls_for_ten_seconds_leaves_the_stream_exact(hosts):
    wire = hosts.wires[2]

    def stall() -> None:
        time.sleep(0.4)
        wire.is_stalled = True
        time.sleep(STALL)
        wire.is_stalled = False

    end = run(hosts, stall)
    assert end["chunks"] == EXACT
    assert STALL - 1 < max(end["steps"]) < STALL + BOUND


def test_a_mirror_beyond_the_slow_cable_leaves_the_stream_exact(hosts):
    end = run(hosts, DISTGRAPH_MIRROR="1")
    assert end["chunks"] == EXACT
    assert 3 * ONE_WAY < min(end["ages"]) < 6 * ONE_WAY
