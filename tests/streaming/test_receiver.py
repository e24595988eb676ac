"""The reading half of a process: who fetches, and that nothing is lost when that is cut short."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from distgraph.concurrency import waiter as waiter_module
from distgraph.contract.stream import Admit, Commit, Finish
from distgraph.errors import BrokerLost, DistgraphError, RunError, Truncated
from distgraph.streaming import receiver as receiver_module
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import Fetch, Fetched, ReaderKey

from . import interrupts
from .interrupts import InterruptAt, SoftTimeLimit
from .support import END_BLOB, segment

CALLER = "caller"
FILES = {m.__file__ for m in (receiver_module, waiter_module, threading, interrupts)}


class Reads(BrokerHost):
    """A broker in this process; a test may do something in the middle of a fetch."""

    def __init__(self) -> None:
        super().__init__(Broker(Limits(), lambda error: END_BLOB))
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.fetching: list[str] = []

    def fetch(self, request: Fetch) -> list[Fetched]:
        interrupts.point()
        with interrupts.untraced():
            self.fetching.append(threading.current_thread().name)
            self.before()
            found = super().fetch(request)
            self.after()
        interrupts.point()
        return found

    def begin(self, run: str) -> None:
        self.drive(run, CALLER, 1, [Admit("t", 1, 1)])

    def write(self, run: str, *numbers: int) -> None:
        self.publish(run, [segment("t", n) for n in numbers])

    def finish(self, run: str, events: int) -> None:
        self.drive(run, CALLER, 2, [Commit("t", 1, events), Finish(END_BLOB)])


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


def test_the_only_reader_fetches_by_itself(reads: Reads, receiver: Receiver) -> None:
    reads.begin("run")
    reads.write("run", 1, 2)
    assert Reader(receiver, "run").read() == [1, 2]
    assert reads.fetching == [threading.current_thread().name]


def test_one_thread_fetches_for_several_readers(reads: Reads, receiver: Receiver) -> None:
    a, b = Reader(receiver, "a"), Reader(receiver, "b")
    for run in ("a", "b"):
        reads.begin(run)
        reads.write(run, 1)
    assert [a.read(), b.read()] == [[1], [1]]
    assert set(reads.fetching) == {"distgraph-stream"}


def test_a_thread_fetches_for_a_reader_on_an_event_loop(reads: Reads, receiver: Receiver) -> None:
    async def main() -> list[int]:
        reader = Reader(receiver, "run", asyncio.get_running_loop())
        reads.begin("run")
        asyncio.get_running_loop().call_later(0.01, reads.write, "run", 1)
        return await reader.aread()

    assert asyncio.run(main()) == [1]
    assert set(reads.fetching) == {"distgraph-stream"}


def test_the_last_reader_goes_on_when_the_others_leave_between_two_requests(
    reads: Reads, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that fetches for several stops when one is left, whose reader waits by then."""
    armed, between, left = threading.Event(), threading.Event(), threading.Event()
    waiting = threading.Semaphore(0)
    step_down, wait = Receiver._step_down, Inbox.wait

    def step_down_and_pause(self: Receiver) -> None:
        pause = armed.is_set() and threading.current_thread().name == "distgraph-stream"
        while pause and waiting.acquire(blocking=False):
            pass
        step_down(self)
        if pause:
            armed.clear()
            between.set()
            left.wait(20)

    def note_and_wait(self: Inbox, timeout: float | None = None) -> None:
        if self is stays.inbox:
            waiting.release()
        wait(self, timeout)

    stays, leaves = Reader(receiver, "stays"), Reader(receiver, "leaves")
    for run in ("stays", "leaves"):
        reads.begin(run)
        reads.write(run, 1)
    assert [stays.read(), leaves.read()] == [[1], [1]]
    monkeypatch.setattr(Receiver, "_step_down", step_down_and_pause)
    monkeypatch.setattr(Inbox, "wait", note_and_wait)
    rest: list[int] = []
    thread = threading.Thread(target=lambda: rest.extend(stays.rest()), daemon=True)
    thread.start()
    assert waiting.acquire(timeout=10)
    armed.set()
    reads.write("leaves", 2)
    assert leaves.read() == [2]
    assert between.wait(10)
    # the reader that stays was woken, and has gone back to wait: there still are two
    assert waiting.acquire(timeout=10)
    receiver.close(ReaderKey("leaves"))
    left.set()
    reads.write("stays", 2)
    reads.finish("stays", 2)
    thread.join(10)
    assert rest == [2]


# --- cut short ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SoftTimeLimit])
def test_no_point_of_wait_loses_or_repeats_an_event_when_interrupted(
    error: type[BaseException],
) -> None:
    """Also none of another run that begins meanwhile, and whose events the same answer holds."""
    points = 0
    while True:
        interrupt = InterruptAt(points + 1, error, FILES)
        reads = Reads()
        receiver = Receiver(reads, CALLER, lambda lost: None)
        interrupted = Reader(receiver, "a")
        others: list[Reader] = []

        def other_begins(
            reads: Reads = reads, receiver: Receiver = receiver, others: list[Reader] = others
        ) -> None:
            if not others:
                thread = threading.Thread(target=lambda: others.append(Reader(receiver, "b")))
                thread.start()
                thread.join()
                reads.begin("b")
                reads.write("b", 1, 2)

        reads.before = other_begins
        reads.begin("a")
        reads.write("a", 1, 2)
        interrupt.begin()
        try:
            receiver.wait(interrupted.inbox)
        except error:
            pass
        finally:
            sys.settrace(None)
        other_begins()
        for run in ("a", "b"):
            reads.write(run, 3)
            reads.finish(run, 3)
        assert interrupted.rest() == [1, 2, 3], interrupt.where
        assert others[0].rest() == [1, 2, 3], interrupt.where
        receiver.stop(RunError("the test is over"))
        if interrupt.left > 0:
            break
        points += 1
    assert points > 50


def test_after_two_interrupts_at_once_other_readers_are_not_held_up(
    reads: Reads, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Receiver) -> None:
        raise KeyboardInterrupt

    reader = Reader(receiver, "run")
    with monkeypatch.context() as patch:
        patch.setattr(Receiver, "_step_down", interrupted)
        patch.setattr(reads, "before", interrupted.__get__(receiver))
        with pytest.raises(KeyboardInterrupt):
            receiver.wait(reader.inbox)
    receiver.close(ReaderKey("run"))

    async def main() -> list[int]:
        following = Reader(receiver, "following", asyncio.get_running_loop())
        reads.begin("following")
        reads.write("following", 1)
        return await asyncio.wait_for(following.aread(), 10)

    assert asyncio.run(main()) == [1]


def test_the_exception_of_a_signal_handler_is_no_lost_broker(
    reads: Reads, receiver: Receiver
) -> None:
    def struck() -> None:
        reads.after = lambda: None
        raise SoftTimeLimit

    reader = Reader(receiver, "run")
    reads.after = struck
    reads.begin("run")
    reads.write("run", 1)
    with pytest.raises(SoftTimeLimit):
        reader.read()
    assert reader.read() == [1]


def test_a_request_that_was_left_is_answered_at_once_by_the_next(
    reads: Reads, receiver: Receiver
) -> None:
    """Not after its time: it would take a thread of the broker's until then."""
    reads.begin("run")
    orphan = threading.Thread(target=BrokerHost.fetch, args=(reads, Fetch(CALLER, 1, wait=60.0)))
    orphan.start()
    reads.write("run", 1)
    orphan.join(10)
    assert not orphan.is_alive()
    orphan = threading.Thread(target=BrokerHost.fetch, args=(reads, Fetch(CALLER, 2, wait=60.0)))
    orphan.start()
    reads.fetch(Fetch(CALLER, 3))
    orphan.join(10)
    assert not orphan.is_alive()


# --- lost -----------------------------------------------------------------------------------------


class Lost(Reads):
    """A broker that fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def fetch(self, request: Fetch) -> list[Fetched]:
        raise self.error


def test_all_readers_learn_that_the_broker_is_lost_and_the_session_once() -> None:
    told: list[BrokerLost] = []
    receiver = Receiver(Lost(error := BrokerLost("gone")), CALLER, told.append)
    a, b = Reader(receiver, "a"), Reader(receiver, "b")
    for reader in (a, b):
        with pytest.raises(BrokerLost, match="gone"):
            reader.read()
    assert told == [error]


def test_a_fault_of_the_fetching_thread_reaches_the_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    receiver = Receiver(Lost(ZeroDivisionError("a bug")), CALLER, lambda error: None)
    a, b = Reader(receiver, "a"), Reader(receiver, "b")
    for reader in (a, b):
        with pytest.raises(RunError, match="events cannot be fetched: ZeroDivisionError: a bug"):
            reader.read()


@pytest.mark.parametrize("readers", [1, 2])
def test_readers_get_the_reason_for_which_the_session_ends(readers: int) -> None:
    reads = Reads()
    receiver = Receiver(reads, CALLER, lambda error: None)
    waiting = threading.Semaphore(0)
    reads.before = waiting.release
    raised: list[str] = []

    def read(reader: Reader) -> None:
        try:
            reader.read()
        except DistgraphError as error:
            raised.append(str(error))

    threads = [
        threading.Thread(target=read, args=(Reader(receiver, str(n)),)) for n in range(readers)
    ]
    for thread in threads:
        thread.start()
    assert waiting.acquire(timeout=10)
    receiver.stop(RunError("the session was ended"))
    reads.terminate(CALLER, ["any"], END_BLOB)  # as the broker's death does, it ends the fetch
    for thread in threads:
        thread.join(10)
    assert raised == ["the session was ended"] * readers


def test_a_reader_that_the_broker_has_closed_gets_its_error(
    reads: Reads, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def truncated(request: Fetch) -> Sequence[Fetched]:
        return [Fetched(ReaderKey("run"), [], Truncated("too late"))]

    reader = Reader(receiver, "run")
    monkeypatch.setattr(reads, "fetch", truncated)
    with pytest.raises(Truncated, match="too late"):
        reader.read()


def test_a_run_cannot_be_read_twice_under_one_key(receiver: Receiver) -> None:
    Reader(receiver, "run")
    with pytest.raises(ValueError, match="run run is still going on"):
        Reader(receiver, "run")
