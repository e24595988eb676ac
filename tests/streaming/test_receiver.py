"""The reading half of a process, and that nothing is lost when waiting is cut short."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from distgraph.concurrency import waiter as waiter_module
from distgraph.contract.stream import Admit, Commit, Delivery, Finish
from distgraph.errors import BrokerLost, DistgraphError, RunError, Truncated
from distgraph.streaming import receiver as receiver_module
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import Fetched, ReaderKey, Sink
from distgraph.streaming.transport_local import LocalReads

from . import interrupts
from .interrupts import InterruptAt, SoftTimeLimit
from .support import END_BLOB, segment

CALLER = "caller"
FILES = {m.__file__ for m in (receiver_module, waiter_module, threading, interrupts)}


class Reads(LocalReads):
    """A broker in this process; a test may do something in the middle of a report."""

    def __init__(self) -> None:
        self.host = BrokerHost(Broker(Limits(), lambda error: END_BLOB))
        super().__init__(self.host)
        self.reports: list[list[tuple[ReaderKey, int]]] = []
        self.consumed = self.note
        self.sink: Sink | None = None

    def listen(self, caller: str, sink: Sink) -> None:
        self.sink = sink
        super().listen(caller, sink)

    def note(self, caller: str, received: int, positions: Sequence[tuple[ReaderKey, int]]) -> None:
        interrupts.point()
        with interrupts.untraced():
            self.reports.append(list(positions))
            self.host.consumed(caller, received, positions)
        interrupts.point()

    def begin(self, run: str) -> None:
        self.host.drive(run, CALLER, 1, [Admit("t", 1, 1)])

    def write(self, run: str, *numbers: int) -> None:
        self.host.publish(run, [segment("t", n) for n in numbers])

    def finish(self, run: str, events: int) -> None:
        self.host.drive(run, CALLER, 2, [Commit("t", 1, events), Finish(END_BLOB)])


class Reader:
    """One reader of a run, as a backend's run is."""

    def __init__(
        self, receiver: Receiver, run: str, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.receiver = receiver
        self.inbox = Inbox(ReaderKey(run), loop)
        self.events = Reassembler(run)
        receiver.open(self.inbox)

    def read(self) -> list[int]:
        """Wait for events, and return the numbers that they have within their attempt."""
        while not (deliveries := self.inbox.take()):
            self.receiver.wait(self.inbox)
        return [e.pub_seq for e in self.events.feed(deliveries) if e.task_id]

    async def aread(self) -> list[int]:
        events = self.events.feed(await self.inbox.aget())
        return [e.pub_seq for e in events if e.task_id]

    def rest(self) -> list[int]:
        numbers: list[int] = []
        while not self.events.ended:
            numbers += self.read()
        return numbers


@pytest.fixture
def reads() -> Reads:
    return Reads()


@pytest.fixture
def receiver(reads: Reads) -> Iterator[Receiver]:
    lost: list[BaseException] = []
    receiver = Receiver(reads, CALLER, lost.append)
    yield receiver
    receiver.stop(RunError("the test is over"))
    assert lost == []


def test_readers_get_what_is_pushed_for_them(reads: Reads, receiver: Receiver) -> None:
    a, b = Reader(receiver, "a"), Reader(receiver, "b")
    for run, count in (("a", 1), ("b", 2)):
        reads.begin(run)
        reads.write(run, *range(1, count + 1))
    assert [a.read(), b.read()] == [[1], [1, 2]]


def test_a_thread_waits_until_something_is_pushed(reads: Reads, receiver: Receiver) -> None:
    reader = Reader(receiver, "run")
    reads.begin("run")
    threading.Timer(0.01, reads.write, ("run", 1)).start()
    assert reader.read() == [1]


def test_a_reader_on_an_event_loop_waits_without_blocking(reads: Reads, receiver: Receiver) -> None:
    async def main() -> list[int]:
        reader = Reader(receiver, "run", asyncio.get_running_loop())
        reads.begin("run")
        asyncio.get_running_loop().call_later(0.01, reads.write, "run", 1)
        return await reader.aread()

    assert asyncio.run(main()) == [1]


def test_one_call_wakes_all_readers_of_a_loop_for_which_a_push_brings_something(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    async def main() -> list[list[int]]:
        loop = asyncio.get_running_loop()
        readers = [Reader(receiver, run, loop) for run in "abc"]
        waiting = [asyncio.create_task(reader.aread()) for reader in readers]
        await asyncio.sleep(0)
        soon = loop.call_soon_threadsafe

        def noted(*call: Any) -> object:
            calls.append(call)
            return soon(*call)

        monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
        deliveries = [Delivery(1, segment("t", 1)), Delivery(2, segment("t", 2))]
        found = [Fetched(ReaderKey(run), deliveries) for run in "abc"]
        push = threading.Thread(target=receiver.take, args=(1, found))
        push.start()
        push.join()
        assert len(calls) == 1
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(main()) == [[1, 2]] * 3


def test_what_is_pushed_again_reaches_the_reader_once(reads: Reads, receiver: Receiver) -> None:
    reader = Reader(receiver, "run")
    reads.begin("run")
    reads.write("run", 1, 2)
    assert reader.read() == [1, 2]
    reads.host.listen(CALLER, 0, (), receiver.take)  # another connection, and nothing was reported
    reads.write("run", 3)
    reads.finish("run", 3)
    assert reader.rest() == [3]


def test_positions_are_reported_at_once_after_a_pause_and_then_together(
    reads: Reads, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, due = time.monotonic(), []
    later = SimpleNamespace(after=lambda *what: due.append(what))
    monkeypatch.setattr(receiver_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(receiver_module, "timers", lambda: later)
    key = ReaderKey("run")
    Reader(receiver, "run")
    reads.begin("run")
    reads.write("run", *range(1, 6))
    for seq in range(1, 6):
        receiver.consumed(key, seq, at_once=False)
    assert reads.reports == [[(key, 1)]]
    ((seconds, report),) = due
    now += seconds
    report()
    assert reads.reports[1:] == [[(key, 5)]]
    receiver.consumed(key, 5, at_once=True)
    assert reads.reports[2:] == [[(key, 5)]]


# --- cut short ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SoftTimeLimit])
def test_no_point_of_wait_loses_or_repeats_an_event_when_interrupted(
    error: type[BaseException],
) -> None:
    points = 0
    while True:
        interrupt = InterruptAt(points + 1, error, FILES)
        reads = Reads()
        receiver = Receiver(reads, CALLER, lambda lost: None)
        interrupted, other = Reader(receiver, "a"), Reader(receiver, "b")
        for run in ("a", "b"):
            reads.begin(run)
        timer = threading.Timer(0.005, reads.write, ("a", 1, 2))
        timer.start()
        interrupt.begin()
        try:
            receiver.wait(interrupted.inbox)
            receiver.consumed(ReaderKey("b"), 0, at_once=True)
        except error:
            pass
        finally:
            sys.settrace(None)
        timer.join()
        reads.write("b", 1, 2)
        for run in ("a", "b"):
            reads.write(run, 3)
            reads.finish(run, 3)
        assert interrupted.rest() == [1, 2, 3], interrupt.where
        assert other.rest() == [1, 2, 3], interrupt.where
        receiver.stop(RunError("the test is over"))
        if interrupt.left > 0:
            break
        points += 1
    assert points > 20


def test_a_report_that_was_cut_short_is_made_again(
    reads: Reads, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(*report: object) -> None:
        raise SoftTimeLimit

    key = ReaderKey("run")
    Reader(receiver, "run")
    reads.begin("run")
    reads.write("run", 1)
    with monkeypatch.context() as patch:
        patch.setattr(reads, "consumed", struck)
        with pytest.raises(SoftTimeLimit):
            receiver.consumed(key, 1, at_once=True)
    receiver.consumed(key, 1, at_once=True)
    assert reads.reports == [[(key, 1)]]


# --- lost -----------------------------------------------------------------------------------------


def test_all_readers_learn_that_the_broker_is_lost_and_the_session_once() -> None:
    told: list[BrokerLost] = []
    receiver = Receiver(Reads(), CALLER, told.append)
    a, b = Reader(receiver, "a"), Reader(receiver, "b")
    error = BrokerLost("gone")
    receiver.lost(error)
    receiver.lost(error)
    for reader in (a, b):
        with pytest.raises(BrokerLost, match="gone"):
            reader.read()
    assert told == [error]


def test_what_came_before_the_broker_was_lost_is_read(reads: Reads) -> None:
    receiver = Receiver(reads, CALLER, lambda error: None)
    reader = Reader(receiver, "run")
    reads.begin("run")
    reads.write("run", 1)
    receiver.lost(BrokerLost("gone"))
    assert reader.read() == [1]
    with pytest.raises(BrokerLost, match="gone"):
        reader.read()


@pytest.mark.parametrize("readers", [1, 2])
def test_readers_get_the_reason_for_which_the_session_ends(readers: int) -> None:
    receiver = Receiver(Reads(), CALLER, lambda error: None)
    raised: list[DistgraphError] = []

    def read(reader: Reader) -> None:
        try:
            reader.read()
        except DistgraphError as error:
            raised.append(error)

    threads = [
        threading.Thread(target=read, args=(Reader(receiver, str(n)),)) for n in range(readers)
    ]
    for thread in threads:
        thread.start()
    receiver.stop(RunError("the session was ended"))
    for thread in threads:
        thread.join(60)
    assert [str(error) for error in raised] == ["the session was ended"] * readers
    # an object of its own for each thread: a raise changes the traceback that another one prints
    assert len({id(error) for error in raised}) == readers


def test_a_reader_that_the_broker_has_closed_gets_its_error(receiver: Receiver) -> None:
    reader = Reader(receiver, "run")
    receiver.take(1, [Fetched(ReaderKey("run"), [], Truncated("too late"))])
    with pytest.raises(Truncated, match="too late"):
        reader.read()


def test_a_run_cannot_be_read_twice_under_one_key(receiver: Receiver) -> None:
    Reader(receiver, "run")
    with pytest.raises(ValueError, match="run run is still going on"):
        Reader(receiver, "run")
