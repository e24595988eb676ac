"""What the driver concludes from heartbeats, and from their absence."""

from __future__ import annotations

import pytest

from distgraph.contract.heartbeats import encode
from distgraph.driver.heartbeats import OVERDUE, Heartbeats, Process

TICK = 0.25


def running(limit: float | None = None) -> Heartbeats:
    """A process that has connected at 0, and runs an attempt."""
    known = Heartbeats()
    known.hello("c", {"role": "executor", "hello": "e"}, 0.0)
    known.line("c", encode(begin="run/task/1"), 0.0)
    if limit is not None:
        known.line("c", encode(limit="a", left=limit), 0.0)
    return known


def pass_time(known: Heartbeats, begin: float, end: float) -> None:
    """Look as the driver does."""
    at = begin
    while at < end:
        known.look(at)
        at += TICK
    known.look(end)


def test_a_process_that_sends_nothing_for_the_bound_is_stopped() -> None:
    known = running()
    pass_time(known, 0.0, 59.9)
    assert known.stopped(59.9, 60.0) == []
    (found,) = known.stopped(60.0, 60.0)
    assert (found.seconds, found.blocked) == (60.0, False)
    assert known.stopped(61.0, 60.0) == []


def test_an_attempt_is_overdue_two_seconds_behind_its_limit() -> None:
    known = running(limit=10.0)
    pass_time(known, 0.0, 10.0 + OVERDUE - TICK)
    assert known.overdue(10.0 + OVERDUE - 0.1) == []
    assert [found.name for found in known.overdue(10.0 + OVERDUE)] == ["a"]


def test_time_in_which_the_driver_itself_was_stopped_does_not_count() -> None:
    """A reducer has held the interpreter lock of the driver, say: heartbeats wait to be read."""
    known = running(limit=10.0)
    pass_time(known, 0.0, 5.0)
    known.look(100.0)
    assert known.overdue(100.0) == []
    assert known.stopped(100.0, 60.0) == []
    assert known.health("e", 100.0).stuck == pytest.approx(5.0 + 1.0)
    known.line("c", encode(beat={"a": 3.0}), 100.1)
    assert known.health("e", 100.1).stuck == 0.0
    pass_time(known, 100.1, 100.1 + 3.0 + OVERDUE - TICK)
    assert [found.name for found in known.overdue(100.1 + 3.0 + OVERDUE)] == ["a"]


def test_a_process_that_really_is_stopped_is_ended_behind_it() -> None:
    known = running()
    pass_time(known, 0.0, 5.0)
    pass_time(known, 100.0, 153.9)
    assert known.stopped(153.9, 60.0) == []
    pass_time(known, 153.9, 154.0)
    assert len(known.stopped(154.0, 60.0)) == 1


def test_time_before_the_first_process_does_not_count() -> None:
    known = Heartbeats()
    known.look(0.0)
    known.hello("c", {}, 100.0)
    known.line("c", encode(limit="a", left=0.0), 100.0)
    pass_time(known, 100.25, 100.0 + OVERDUE)
    assert known.overdue(100.0 + OVERDUE - 0.1) == []
    assert [found.name for found in known.overdue(100.0 + OVERDUE)] == ["a"]


def test_time_in_which_a_process_waits_for_a_cpu_is_no_silence_but_for_a_quarter() -> None:
    at = 0.0
    known = Heartbeats(waited=lambda process: at)
    known.hello("c", {"role": "task"}, 0.0)
    known.line("c", encode(begin="run/task/1"), 0.0)
    ended = []
    while not ended:  # it waits all the time
        at += TICK
        known.look(at)
        ended = known.stopped(at, 10.0)
    # two seconds until it is late, and another look until it is known for how long it has waited
    assert (at, ended[0].seconds) == (2.0 + 4 * 8.0, 10.0)


def test_a_process_is_asked_for_its_time_only_while_it_is_late() -> None:
    asked: list[float] = []
    at = 0.0

    def waited(process: Process) -> None:
        asked.append(at)

    known = Heartbeats(waited=waited)
    known.hello("c", {"role": "task"}, 0.0)
    known.line("c", encode(begin="run/task/1"), 0.0)
    for at in (0.5, 1.0, 1.5, 2.0, 2.5):
        known.look(at)
    known.line("c", encode(beat={}), 2.75)
    for at in (3.0, 3.5):
        known.look(at)
    assert asked == [2.0, 2.5]
