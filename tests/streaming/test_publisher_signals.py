"""An exception of a signal handler at any point of ``emit`` loses no event that was accepted."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from distgraph.concurrency import timers as timers_module
from distgraph.contract.stream import END_MODE, Admit, Commit, Event, Finish, Segment
from distgraph.streaming import lane as lane_module
from distgraph.streaming import publisher as publisher_module
from distgraph.streaming.log import RunLog
from distgraph.streaming.publisher import Publisher
from distgraph.streaming.transport import RunKey

from .interrupts import InterruptAt, SoftTimeLimit
from .support import END_BLOB, RUN, PutsTo, by_hand, read_all

FILES = {
    lane_module.__file__,
    publisher_module.__file__,
    timers_module.__file__,
    threading.__file__,
}


def _run(interrupt: InterruptAt, max_events: int) -> tuple[list[int], list[int], int, bool]:
    """Interrupt an attempt that goes on regardless; return what arrived of it and of another."""
    log, now, acks = RunLog(), [100.0], list[Future[float]]()
    log.drive(1, [Admit("a", 1, 1), Admit("b", 1, 1)])

    def send(run: RunKey, segments: Sequence[Segment]) -> Future[float]:
        for segment in segments:
            log.publish(segment)
        acks.append(Future())
        return acks[-1]

    def settle() -> None:
        now[0] += 1
        timers.run_due()
        while acks:
            acks.pop().set_result(0.0)
            now[0] += 1
            timers.run_due()

    timers = by_hand(lambda: now[0])
    publisher = Publisher(PutsTo(send), lambda: now[0], timers=timers, max_events=max_events)
    a, b = publisher.open(RUN, "a", 1, 1), publisher.open(RUN, "b", 1, 1)
    b.emit(Event((), "custom", 0), wait=False)
    settle()
    accepted = 0
    interrupt.begin()
    try:
        for i in range(3):
            a.emit(Event((), "custom", i), wait=False)
            accepted += 1
            if i == 0:
                b.emit(Event((), "custom", 1), wait=False)
                if issubclass(interrupt.error, Exception):  # a future swallows it
                    sys.settrace(None)
                acks.pop().set_result(0.0)
                sys.settrace(interrupt)
                now[0] += 1
    except interrupt.error:
        pass
    finally:
        sys.settrace(None)
    a.emit(Event((), "custom", 99), wait=False)
    b.emit(Event((), "custom", 2), wait=False)
    settle()
    b.emit(Event((), "custom", 3), wait=False)
    settle()
    log.drive(2, [Commit("a", 1, *a.close()), Commit("b", 1, *b.close()), Finish(END_BLOB)])
    events = [e for e in read_all(log) if e.mode != END_MODE]
    arrived = {t: [e.payload for e in events if e.task_id == t] for t in ("a", "b")}
    return arrived["a"], arrived["b"], accepted, log.ended


@pytest.mark.parametrize("max_events", [16_384, 1], ids=["whole", "split"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SoftTimeLimit])
def test_no_point_of_emit_loses_or_repeats_an_event_when_interrupted(
    error: type[BaseException], max_events: int
) -> None:
    points = 0
    while True:
        interrupt = InterruptAt(points + 1, error, FILES)
        a, b, accepted, ended = _run(interrupt, max_events)
        if interrupt.left > 0:
            break
        points += 1
        assert ended, f"the stream hangs after an interrupt at {interrupt.where}"
        # The event that was interrupted may have been accepted or not.
        assert a in ([*range(accepted), 99], [*range(accepted + 1), 99]), interrupt.where
        assert b in ([0, 1, 2, 3], [0, 2, 3]), interrupt.where
    assert points > 50
