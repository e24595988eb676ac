"""A thread looks again and again before it sleeps, while its waits are short."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import inf

import pytest

from distgraph.wire import busy_polling
from distgraph.wire.busy_polling import (
    BACK_OFF,
    BUSY,
    HELD_UP,
    ROW,
    BusyPoll,
    cpus_of_quota,
    window,
)

LOOK = BUSY / 50
"""Seconds that a look takes."""


class Simulated:
    """Time in which something comes some seconds after the begin of each wait."""

    def __init__(self, seconds: float = BUSY) -> None:
        self.now = 100.0
        self.ready = inf
        self.asked: list[float | None] = []
        """What each look was asked to wait, at most."""
        self.away = 0.0
        """Seconds for which other threads have the core, whenever it is given to them."""
        self.poll = BusyPoll(seconds, lambda: self.now, self._give_way)

    def _give_way(self) -> None:
        self.now += self.away

    def _look(self, wait: float | None) -> list[str]:
        self.asked.append(wait)
        until = self.now + LOOK + (inf if wait is None else wait)
        self.now = max(self.now + LOOK, min(self.ready, until))
        return ["it"] if self.now >= self.ready else []

    def wait(self, comes_after: float, at_most: float | None = None) -> list[str]:
        """Wait once, and keep what was asked of each look."""
        self.asked.clear()
        self.ready = self.now + comes_after
        return list(self.poll.wait(self._look, at_most))

    def learn(self, waits: Iterable[float] = (BUSY / 2,) * ROW) -> None:
        for wait in waits:
            assert self.wait(wait) == ["it"]


def test_short_waits_in_a_row_end_without_sleep() -> None:
    time = Simulated()
    for _ in range(ROW):
        assert time.wait(BUSY / 2) == ["it"]
        assert time.asked == [None]
    for _ in range(3):
        assert time.wait(BUSY / 2) == ["it"]
        assert set(time.asked) == {0}
        assert len(time.asked) == 25


@pytest.mark.parametrize("after", range(ROW))
def test_a_long_wait_among_the_last_ones_means_sleep(after: int) -> None:
    time = Simulated()
    time.learn([BUSY / 2] * ROW + [BUSY * 2] + [BUSY / 2] * after)
    assert time.wait(BUSY / 2) == ["it"]
    assert time.asked == [None]


def test_a_thread_looks_for_a_bounded_time_and_sleeps_then() -> None:
    time = Simulated()
    time.learn()
    began = time.now
    assert time.wait(1.0) == ["it"]
    assert time.asked == [0] * 50 + [None]
    assert time.now == pytest.approx(began + 1.0)
    assert time.wait(1.0) == ["it"]
    assert time.asked == [None]  # one wait was enough to stop it


def looks(time: Simulated) -> int:
    """Return how many short waits sleep before one looks."""
    count = 0
    while time.wait(BUSY / 2) == ["it"] and time.asked == [None]:
        count += 1
    return count


def test_a_thread_whose_core_another_one_wants_sleeps() -> None:
    time = Simulated()
    time.learn()
    time.away = 2 * HELD_UP
    assert time.wait(BUSY / 2) == ["it"]
    assert time.asked == [0, None]
    time.away = 0.0
    assert looks(time) == BACK_OFF[0] + ROW - 1  # the wait behind the look was short as well
    assert set(time.asked) == {0}


def test_a_thread_that_is_held_up_again_and_again_looks_ever_more_rarely() -> None:
    time = Simulated()
    time.away = 2 * HELD_UP
    time.learn()
    assert time.wait(BUSY / 2) == ["it"]
    assert time.asked == [0, None]
    assert [looks(time) for _ in range(10)] == [
        *(4 * 2**n + ROW - 1 for n in range(9)),
        BACK_OFF[1] + ROW - 1,
    ]
    time.away = 0.0
    assert looks(time) == BACK_OFF[1] + ROW - 1  # what it finds sets that back
    time.away = 2 * HELD_UP
    assert time.wait(BUSY / 2) == ["it"]
    assert looks(time) == BACK_OFF[0] + ROW - 1


def test_long_waits_do_not_end_the_time_in_which_a_thread_backs_off() -> None:
    time = Simulated()
    time.learn()
    time.away = 2 * HELD_UP
    time.wait(BUSY / 2)
    time.away = 0.0
    for _ in range(100):
        time.wait(1.0)
        assert time.asked == [None]
    assert looks(time) == BACK_OFF[0] + ROW - 1


def test_nothing_in_the_time_given_is_no_short_wait() -> None:
    time = Simulated()
    for _ in range(2 * ROW):
        assert time.wait(inf, at_most=BUSY / 4) == []
    assert time.wait(BUSY / 2) == ["it"]
    assert time.asked == [None]


def test_looking_counts_as_waiting() -> None:
    time = Simulated()
    time.learn()
    began = time.now
    assert time.wait(inf, at_most=BUSY * 3) == []
    assert time.now - began == pytest.approx(BUSY * 3 + LOOK)
    assert time.asked[:-1] == [0] * 50
    assert time.asked[-1] == pytest.approx(BUSY * 2)
    time.learn()
    assert time.wait(inf, at_most=BUSY / 2) == []
    assert time.asked == [0] * 25 + [0.0]


def test_a_look_without_waiting_is_one_look_and_teaches_nothing() -> None:
    time = Simulated()
    time.learn()
    for wait in (0.0, -1.0):
        assert time.wait(inf, at_most=wait) == []
        assert time.asked == [wait]
    assert time.wait(BUSY / 2) == ["it"]
    assert set(time.asked) == {0}


def test_zero_seconds_always_sleep() -> None:
    time = Simulated(0.0)
    for _ in range(3 * ROW):
        assert time.wait(BUSY / 2) == ["it"]
        assert time.asked == [None]


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", inf),
        ("100000 100000\n", 1.0),
        ("150000 100000", 1.5),
        ("-1\n 100000\n", inf),
        ("400000\n 100000\n", 4.0),
    ],
)
def test_a_quota_of_a_container_bounds_the_cpus(text: str, cpus: float) -> None:
    assert cpus_of_quota(text) == cpus


def test_a_process_with_one_cpu_always_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, seconds in ((1.0, 0.0), (0.5, 0.0), (1.5, BUSY), (64.0, BUSY)):
        monkeypatch.setattr(busy_polling, "cpus_of_process", lambda cpus=cpus: cpus)
        assert window() == seconds
    monkeypatch.setenv("DISTGRAPH_BUSY_POLL", "0")
    assert window() == 0.0


def test_affinity_bounds_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < busy_polling.cpus_of_process() <= len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert busy_polling.cpus_of_process() <= 1
