"""Signal handlers that raise while a reader's thread receives by itself."""

from __future__ import annotations

import signal
import sys
import threading
import time
from functools import partial

import pytest

from distgraph.contract.stream import Admit, Commit, Event, Finish
from distgraph.errors import RunCancelled
from distgraph.streaming import receiver as receiver_module
from distgraph.streaming import transport_wire
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.publisher import Publisher
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import ReaderKey, RunKey
from distgraph.wire import connection, frames, leading, link, loop

from .interrupts import InterruptAt, SoftTimeLimit
from .support import END_BLOB
from .test_transport_wire import CALLER, Plane, in_thread

FILES = {
    m.__file__ for m in (receiver_module, transport_wire, leading, connection, frames, link, loop)
}
BOTH = ("a", "b")


class Reader:
    """One reader of a run."""

    def __init__(self, receiver: Receiver, run: str) -> None:
        self.receiver = receiver
        self.inbox = Inbox(ReaderKey(run), None)
        self.events = Reassembler(run)
        self.seen: list[int] = []
        receiver.open(self.inbox)

    def read(self) -> None:
        """Wait for events, and note the numbers that they have within their attempt."""
        while not (deliveries := self.inbox.take()):
            self.receiver.wait(self.inbox)
        self.seen += [e.pub_seq for e in self.events.feed(deliveries) if e.task_id]

    def rest(self) -> None:
        while not self.events.ended:
            self.read()


class Session:
    """A caller with two readers. The first event has been read: from then on, readers lead."""

    def __init__(self) -> None:
        self.plane = Plane()
        self.receiver = self.plane.receiver()
        self.a, self.b = (Reader(self.receiver, run) for run in BOTH)
        self.batches = {run: partial(self.plane.host.drive, run, CALLER) for run in BOTH}
        for run in BOTH:
            self.batches[run](1, [Admit("t", 1, 1)])
        publisher = Publisher(_Straight(self.plane))
        self.streams = {run: publisher.open(RunKey("s", run), "t", 1, 1) for run in BOTH}
        self.written = 0
        self.write()
        self.a.read()
        self.b.read()
        assert self.receiver._reads.lead is not None

    def write(self) -> None:
        self.written += 1
        for run in BOTH:
            self.streams[run].emit(Event((), "custom", self.written))

    def close(self) -> None:
        self.receiver.stop(RunCancelled("the test is over"))
        self.receiver._reads.close()  # type: ignore[attr-defined]
        self.plane.server._listener.close()

    def finish(self) -> None:
        for run in BOTH:
            self.batches[run](2, [Commit("t", 1, *self.streams[run].close()), Finish(END_BLOB)])


class _Straight:
    def __init__(self, plane: Plane) -> None:
        self._host = plane.host

    def put(self, run: RunKey, segments: object) -> float:
        self._host.publish(run.run_id, segments)  # type: ignore[arg-type]
        return 0.0


def _strike_at(point: int) -> tuple[bool, str]:
    """Raise at a point of a wait that leads. Return whether it has passed all, and where it was."""
    session = Session()
    lead = session.receiver._reads.lead
    assert isinstance(lead, leading.Lead)
    waits(session, lead)
    with lead._place:
        other = in_thread(session.b.rest)
        while not lead._waiting:
            time.sleep(0.001)
    session.write()
    interrupt = InterruptAt(point, SoftTimeLimit, FILES)
    interrupt.begin()
    try:
        session.receiver.wait(session.a.inbox)
    except SoftTimeLimit:
        pass
    finally:
        sys.settrace(None)
    session.write()
    session.finish()
    session.a.rest()
    other.join(60)
    assert not other.is_alive(), interrupt.where
    numbers = [*range(1, session.written + 1)]
    assert (session.a.seen, session.b.seen) == (numbers, numbers), interrupt.where
    assert session.plane.told == [], interrupt.where
    session.close()
    return interrupt.left > 0, interrupt.where


def waits(session: Session, lead: leading.Lead) -> None:
    """Lead once, and leave receiving to threads that do."""
    reader = in_thread(session.a.read)
    while not lead._leader:
        time.sleep(0.001)
    settled = threading.Event()
    loop.loop().soon(settled.set)
    assert settled.wait(60)
    session.write()
    reader.join(60)
    session.b.read()


def test_no_point_of_receiving_loses_or_repeats_an_event_when_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "_AGAIN", 0.001)
    monkeypatch.setattr(leading, "LOOK", 10.0)
    points, struck = 0, set[str]()
    while True:
        passed, where = _strike_at(points + 1)
        if passed:
            break
        struck.add(where.split(":")[0])
        points += 1
    assert points > 30
    assert {"wait", "_lead", "take_frames", "_receive", "_take", "put"} <= struck


def test_readers_go_on_while_a_signal_handler_raises_again_and_again() -> None:
    session = Session()
    strikes, left = 0, threading.Event()
    idle = Inbox(ReaderKey("idle"), None)
    session.receiver.open(idle)

    def strike(number: int, frame: object) -> None:
        raise SoftTimeLimit

    def write() -> None:
        while not left.is_set():
            session.write()
            time.sleep(0.0005)

    writer, first, other = map(in_thread, (write, session.a.rest, session.b.rest))
    previous = signal.signal(signal.SIGPROF, strike)
    try:
        while strikes <= 30:
            try:
                signal.setitimer(signal.ITIMER_PROF, 0.002)
                again = time.monotonic() + 0.5
                while time.monotonic() < again:
                    session.receiver.wait(idle, 0.1)  # it receives for the others
            except SoftTimeLimit:
                strikes += 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    left.set()
    writer.join(60)
    session.finish()
    first.join(60)
    other.join(60)
    numbers = [*range(1, session.written + 1)]
    assert session.a.seen == numbers
    assert session.b.seen == numbers
    session.close()
