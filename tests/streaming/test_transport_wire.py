"""The transport over sockets, on the loopback address: its contract, and connections that break."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distgraph.contract.stream import (
    Admit,
    Batch,
    Commit,
    Delivery,
    Event,
    Finish,
    Op,
    Publish,
    Segment,
)
from distgraph.driver.broker_plane import BrokerPlane
from distgraph.driver.ports import Acked, BackendFailed, DriverEvent, Relieved
from distgraph.errors import BrokerLost, RunCancelled
from distgraph.serde import reducers
from distgraph.serde.pickling import loads
from distgraph.serde.references import Parcel
from distgraph.streaming import transport_wire
from distgraph.streaming.broker import PAUSE, Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.publisher import Publisher
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import Fetched, ReaderKey, RunKey, Sink
from distgraph.streaming.transport_wire import BrokerServer, WireDrives, WirePuts, WireReads
from distgraph.wire import Address, Connection
from distgraph.wire.link import Link
from distgraph.wire.loop import loop

from .support import END_BLOB, RUN
from .test_event_plane import read

CALLER, EVENTS, SECONDS = "caller", 3_000, 30.0
ROOT = Path(__file__).parents[2]


class Plane:
    """A broker behind a socket, and what connects to it."""

    def __init__(self, **limits: Any) -> None:
        self.host = BrokerHost(Broker(Limits(**limits), lambda error: END_BLOB))
        self.server = BrokerServer(self.host, "127.0.0.1")
        self.lost = False
        self.located = 0
        self.told: list[BrokerLost] = []

    def locate(self, session: str = "") -> tuple[Address, bytes]:
        self.located += 1
        if self.lost:
            raise BrokerLost("the broker died")
        return self.server.address, self.server.secret

    def publisher(self) -> Publisher:
        return Publisher(WirePuts(self.locate, self.publish_referring))

    def publish_referring(self, run: RunKey, packed: Parcel) -> Future[float]:
        answer: Future[float] = Future()
        answer.set_result(self.host.publish(run.run_id, loads(packed)))
        return answer

    def drives(self) -> WireDrives:
        return WireDrives(self.locate, lambda *batch: pytest.fail("no references here"))

    def reads(self) -> WireReads:
        reads = _Reads(self.locate, self.server.collect)
        reads.host = self.host
        return reads

    def receiver(self, caller: str = CALLER) -> Receiver:
        return _Receiver(self.reads(), caller, self.told.append)


class _Receiver(Receiver):
    """Connects once its first reader is open: no event of a run comes earlier in a session."""

    def open(self, inbox: Inbox) -> None:
        super().open(inbox)
        assert isinstance(self._reads, _Reads)
        self._reads.begin()


class _Reads(WireReads):
    host: BrokerHost
    waiting: tuple[str, Sink] | None = None

    def listen(self, caller: str, sink: Sink) -> None:
        self.waiting = caller, sink

    def begin(self) -> None:
        if self.waiting is not None:
            super().listen(*self.waiting)
            self.waiting = None

    def open(self, caller: str, reader: ReaderKey, after_seq: int) -> None:
        self.host.open(caller, reader, after_seq)

    def leave(self, caller: str, readers: Sequence[ReaderKey], *, soon: bool = True) -> None:
        self.host.leave(caller, readers)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """All connections that links have made."""
    made: list[Connection] = []
    connected = Link._connected

    def note(self: Link, connection: Connection) -> None:
        made.append(connection)
        connected(self, connection)

    monkeypatch.setattr(Link, "_connected", note)
    return made


def cut(connection: Connection) -> None:
    """End a connection as a network does."""
    try:
        connection._sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended
        pass


def drive(
    drives: WireDrives, number: int, ops: Sequence[Op], *, awaited: bool = True
) -> Future[float]:
    answer: Future[float] = Future()

    def answered(pause: float | BaseException) -> None:
        assert isinstance(pause, float)
        answer.set_result(pause)

    drives.drive(Batch(RUN.run_id, CALLER, number, ops), answered, awaited=awaited)
    return answer


def write(publisher: Publisher, task: str, count: int, after: Callable[[int], None]) -> Commit:
    stream = publisher.open(RUN, task, 1, 1)
    for i in range(1, count + 1):
        stream.emit(Event((), "custom", i))
        after(i)
    return Commit(task, 1, *stream.close())


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def wait_until(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + SECONDS
    while not done() and time.monotonic() < until:
        time.sleep(0.002)
    return done()


def numbers_of(seen: list[tuple[int, str, int]], task: str) -> list[int]:
    return [number for _, of, number in seen if of == task]


def test_events_of_several_workers_come_in_order_and_once() -> None:
    plane = Plane(max_events=500, window=20_000)
    drives, tasks = plane.drives(), ("a", "b")
    assert drive(drives, 1, [Admit(t, 1, 1) for t in tasks]).result(SECONDS) == 0
    receiver, seen = plane.receiver(), []
    reader = in_thread(lambda: seen.extend(read(receiver, ReaderKey(RUN.run_id))))
    commits: dict[str, Commit] = {}

    def work(task: str) -> None:
        commits[task] = write(plane.publisher(), task, EVENTS, lambda i: None)

    workers = [in_thread(partial(work, task)) for task in tasks]
    for worker in workers:
        worker.join(SECONDS)
    drive(drives, 2, [*commits.values(), Finish(END_BLOB)]).result(SECONDS)
    reader.join(SECONDS)
    assert [seq for seq, _, _ in seen] == [*range(1, len(tasks) * EVENTS + 2)]
    for task in tasks:
        assert numbers_of(seen, task) == [*range(1, EVENTS + 1)]
    receiver.stop(RunCancelled("the test is over"))


def test_batches_of_runs_that_have_their_turns_together_go_in_one_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plane, posted = Plane(max_events=10), list[tuple[str, DriverEvent]]()
    drives, all_came, frames = plane.drives(), threading.Event(), list[Sequence[Batch]]()
    drive_all = plane.host.drive_all

    def noted(batches: Iterable[Batch]) -> list[float]:
        frames.append(list(batches))
        return drive_all(frames[-1])

    monkeypatch.setattr(plane.host, "drive_all", noted)

    def post(run: str, event: DriverEvent) -> None:
        posted.append((run, event))
        if len(posted) == 3:
            all_came.set()

    def plane_of(run: str) -> BrokerPlane:
        return BrokerPlane(drives, run, CALLER, partial(post, run), lambda error: None)

    full, other = plane_of("full"), plane_of("other")
    one = Publish(Segment("", 1, 0, 1, 11, b"eleven events"))

    def turn() -> None:
        full.drive(1, [one], awaited=True)
        other.drive(1, [Admit("a", 1, 1)], awaited=True)
        other.drive(2, [], awaited=True)

    loop().soon(turn)
    assert all_came.wait(SECONDS)
    assert [[(batch.run_id, batch.number) for batch in frame] for frame in frames] == [
        [("full", 1), ("other", 1), ("other", 2)]
    ]
    assert posted == [
        ("full", Acked(congested=True)),
        ("other", Acked(congested=False)),
        ("other", Acked(congested=False)),
    ]


def hand_over() -> None:
    """Write an event in a process whose other threads run only where the writer gives way."""
    plane = Plane()

    def locate(session: str) -> tuple[Address, bytes]:
        time.sleep(1.2)  # a machine that others use as well
        return plane.locate(session)

    puts = WirePuts(locate, plane.publish_referring)
    sys.setswitchinterval(10.0)
    Publisher(puts).open(RUN, "a", 1, 1).emit(Event((), "custom", 1))
    (link,) = puts._links.values()
    assert [request for request in link._waiting.values() if not request.sent] == []
    assert next(link._numbers) == 2


def test_an_event_is_on_its_way_when_its_writer_returns() -> None:
    """What the node does next may keep the interpreter lock, from the first event on.

    The process is one of its own: threads that other tests have left would keep the lock.
    """
    program = "from tests.streaming.test_transport_wire import hand_over; hand_over()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS * 2,
    )
    assert done.returncode == 0, done.stderr


def test_connections_that_break_lose_and_repeat_nothing(connections: list[Connection]) -> None:
    plane = Plane(max_events=500, window=20_000)
    drives = plane.drives()
    drive(drives, 1, [Admit("a", 1, 1)]).result(SECONDS)
    receiver, seen = plane.receiver(), []
    reader = in_thread(lambda: seen.extend(read(receiver, ReaderKey(RUN.run_id))))

    def break_some(i: int) -> None:
        if i % 500 == 0:
            before = len(connections)
            for connection in list(connections):
                cut(connection)
            assert wait_until(lambda: len(connections) > before)

    commit = write(plane.publisher(), "a", EVENTS, break_some)
    ended = drive(drives, 2, [commit, Finish(END_BLOB)])
    for connection in list(connections):
        cut(connection)
    ended.result(SECONDS)
    reader.join(SECONDS)
    assert numbers_of(seen, "a") == [*range(1, EVENTS + 1)]
    assert len(connections) > EVENTS // 500
    receiver.stop(RunCancelled("the test is over"))


def test_giant_events_are_exact_while_connections_break_and_others_overtake_them(
    connections: list[Connection],
) -> None:
    """Puts and pushes in pieces, on connections that are cut now and then."""
    plane = Plane()
    runs = {run: RunKey("session", run) for run in ("giant", "small")}
    for run in runs:
        plane.host.drive(run, CALLER, 1, [Admit("a", 1, 1)])
    receiver, publisher = plane.receiver(), plane.publisher()
    seen: dict[str, list[Any]] = {run: [] for run in runs}

    def follow(run: str) -> None:
        inbox, events = Inbox(ReaderKey(run), None), Reassembler(run)
        receiver.open(inbox)
        while not events.ended:
            while not (deliveries := inbox.take()):
                receiver.wait(inbox)
            seen[run] += [event.payload for event in events.feed(deliveries) if event.task_id]
            receiver.consumed(inbox.reader, events.position, at_once=True)

    sent: dict[str, list[Any]] = {
        "giant": [bytes([n]) * (size << 10) for n, size in enumerate([3000, 1, 900, 70, 9000] * 3)],
        "small": [*range(600)],
    }

    def work(run: str) -> None:
        stream = publisher.open(runs[run], "a", 1, 1)
        for n, payload in enumerate(sent[run]):
            stream.emit(Event((), "custom", payload))
            if run == "giant" and n % 4 == 3:
                for connection in list(connections):
                    cut(connection)
            elif run == "small":
                time.sleep(0.001)
        plane.host.drive(run, CALLER, 2, [Commit("a", 1, *stream.close()), Finish(END_BLOB)])

    threads = [in_thread(partial(call, run)) for run in runs for call in (follow, work)]
    for thread in threads:
        thread.join(SECONDS)
    assert seen == sent
    assert len(connections) > 3
    receiver.stop(RunCancelled("the test is over"))


class _Noting:
    """A connection that notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, list[str]]] = []
        self.aside_done = self._asides = 0

    def _note(self, how: str, parts: tuple[Any, ...]) -> None:
        number, _, packed, *_ = parts
        readers = [fetched.reader.run_id for fetched in loads(packed)]
        self.sent.append((how, int.from_bytes(number, "big"), readers))

    def send(self, kind: int, *parts: Any, wait: bool) -> None:
        self._note("at once", parts)

    def send_aside(self, kind: int, *parts: Any) -> int:
        self._note("aside", parts)
        self._asides += 1
        return self._asides


def test_what_follows_a_giant_event_of_its_reader_follows_it_and_others_overtake() -> None:
    server, connection = Plane().server, _Noting()

    def push(number: int, **sizes: int) -> None:
        found = [
            Fetched(ReaderKey(run), [Delivery(1, Segment("t", 1, 1, 1, 1, b"x" * size))])
            for run, size in sizes.items()
        ]
        server._push(connection, number, found)  # type: ignore[arg-type]

    push(1, a=10)
    push(2, a=1 << 20, b=10)
    push(3, a=10, c=10)
    push(4, c=1 << 20)
    push(5, b=10)
    connection.aside_done = 2
    push(6, a=10, c=10)
    connection.aside_done = 3
    push(7, b=10)
    connection.aside_done = 4
    push(8, c=10)
    assert connection.sent == [
        ("at once", 1, ["a"]),
        ("at once", 1, ["b"]),  # 2 has not arrived with this
        ("aside", 2, ["a"]),
        ("at once", 1, ["c"]),
        ("aside", 3, ["a"]),
        ("aside", 4, ["c"]),
        ("at once", 1, ["b"]),
        ("at once", 3, ["a"]),
        ("aside", 6, ["c"]),
        ("at once", 5, ["b"]),
        ("at once", 8, ["c"]),
    ]


def test_a_broker_that_died_ends_readers_writers_and_the_driver(
    connections: list[Connection],
) -> None:
    plane = Plane()
    posted: list[DriverEvent] = []
    failed = threading.Event()

    def post(event: DriverEvent) -> None:
        posted.append(event)
        if isinstance(event, BackendFailed):
            failed.set()

    driver = BrokerPlane(plane.drives(), RUN.run_id, CALLER, post, lambda error: None)
    driver.drive(1, [Admit("a", 1, 1)], awaited=True)
    receiver = plane.receiver()
    stream = plane.publisher().open(RUN, "a", 1, 1)
    seen = read_some(receiver, 1, lambda: stream.emit(Event((), "custom", 1)))
    assert seen == [1]
    plane.lost = True
    for connection in connections:
        cut(connection)
    with pytest.raises(BrokerLost, match="the broker died"):
        read_some(receiver, 1)
    assert [error.args for error in plane.told] == [("the broker died",)]
    with pytest.raises(BrokerLost, match="can no longer be sent.*the broker died"):
        for i in range(10_000_000):
            stream.emit(Event((), "custom", i))
    driver.drive(2, [], awaited=False)
    assert failed.wait(SECONDS)
    assert posted[0] == Acked(congested=False)


def test_an_answer_that_nobody_awaits_comes_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport_wire, "_LATE", SECONDS)
    plane, answered = Plane(), list[str]()
    drives = plane.drives()
    late = drive(drives, 1, [Admit("a", 1, 1)], awaited=False)
    late.add_done_callback(lambda _: answered.append("late"))
    soon = drive(drives, 2, [Admit("b", 1, 1)])
    soon.add_done_callback(lambda _: answered.append("soon"))
    assert (soon.result(SECONDS), late.result(0)) == (0.0, 0.0)
    assert answered == ["late", "soon"]


def test_an_answer_that_nobody_awaits_comes_by_itself() -> None:
    plane = Plane()
    late = drive(plane.drives(), 1, [Admit("a", 1, 1)], awaited=False)
    assert late.result(SECONDS) == 0.0
    assert plane.server._late == {}


def test_the_answer_of_a_congested_log_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_wire, "_LATE", SECONDS)
    plane = Plane(max_events=10)
    publish = Publish(Segment("", 1, 0, 1, 20, b""))
    pause = drive(plane.drives(), 1, [publish], awaited=False)
    assert pause.result(SECONDS / 2) == PAUSE


def test_readers_that_need_nothing_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, left = Plane(), list[tuple[str, list[ReaderKey]]]()
    told = threading.Event()

    def leave(caller: str, readers: Sequence[ReaderKey], *, received: int) -> None:
        left.append((caller, list(readers)))
        told.set()

    monkeypatch.setattr(plane.host, "leave", leave)
    monkeypatch.setattr(transport_wire, "_LATE", SECONDS)
    reads = WireReads(plane.locate, plane.server.collect)
    receiver = Receiver(reads, CALLER, plane.told.append)
    first, second, third = (ReaderKey(name) for name in "abc")
    reads.leave(CALLER, [first], soon=False)
    reads.leave(CALLER, [second], soon=False)
    reads.leave(CALLER, [third])
    assert told.wait(SECONDS)
    monkeypatch.setattr(transport_wire, "_LATE", 0.0)
    reads._tells_left = False
    told.clear()
    reads.leave(CALLER, [first], soon=False)
    assert told.wait(SECONDS)
    assert left == [(CALLER, [first, second, third]), (CALLER, [first])]
    receiver.stop(RunCancelled("the test is over"))


def test_a_caller_that_only_reads_ends_is_remembered_by_no_push() -> None:
    """Such as one that calls ``invoke``: it reports no positions, and the broker kept each push."""
    plane = Plane()
    reads = WireReads(plane.locate, plane.server.collect)
    receiver = Receiver(reads, CALLER, plane.told.append)
    for name in ("first", "second"):
        inbox = Inbox(ReaderKey(name), None)
        receiver.open(inbox)
        plane.host.drive(name, CALLER, 1, [Finish(END_BLOB)])
        while not inbox.take():
            receiver.wait(inbox)
        receiver.close(inbox.reader)
        reads.leave(CALLER, [inbox.reader])
        assert wait_until(lambda: plane.host.statistics() == {})
    caller = plane.host._broker._callers[CALLER]
    assert (caller.pushed, list(caller.pushes)) == (2, [])
    receiver.stop(RunCancelled("the test is over"))


def read_some(
    receiver: Receiver, count: int, opened: Callable[[], object] = lambda: None
) -> list[int]:
    inbox, events = Inbox(ReaderKey(RUN.run_id), None), Reassembler(RUN.run_id)
    receiver.open(inbox)
    opened()
    seen: list[int] = []
    try:
        while len(seen) < count:
            while not (deliveries := inbox.take()):
                receiver.wait(inbox)
            seen += [event.pub_seq for event in events.feed(deliveries)]
    finally:
        receiver.close(inbox.reader)
    return seen


def test_a_broker_that_cannot_be_reached_is_named_with_the_remedy() -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", taken.getsockname()[1])
        link = Link(lambda: (address, b"secret"), "worker", "the stream broker", patience=0.1)
        with pytest.raises(Exception, match=rf"cannot reach the stream broker at {address}.*PORTS"):
            link.request(17, b"").result(SECONDS)


def test_a_driver_learns_when_the_log_has_room_again() -> None:
    plane = Plane(max_events=10, window=1 << 20)
    posted: list[DriverEvent] = []
    relieved = threading.Event()

    def post(event: DriverEvent) -> None:
        posted.append(event)
        if isinstance(event, Relieved):
            relieved.set()

    plane.host.drive(RUN.run_id, CALLER, 1, [Admit("a", 1, 1)])
    commit = write(Publisher(_Straight(plane.host)), "a", 20, lambda i: None)
    driver = BrokerPlane(plane.drives(), RUN.run_id, CALLER, post, lambda error: None)
    driver.drive(2, [commit], awaited=False)
    receiver = plane.receiver()
    assert len(read_some(receiver, 20)) == 20
    assert not relieved.is_set()
    receiver.consumed(ReaderKey(RUN.run_id), 20, at_once=True)
    assert relieved.wait(SECONDS)
    assert posted == [Acked(congested=True), Relieved()]
    receiver.stop(RunCancelled("the test is over"))


class _Straight:
    """Puts everything at once, whatever the limits."""

    def __init__(self, host: BrokerHost) -> None:
        self._host = host

    def put(self, run: RunKey, segments: Any) -> float:
        self._host.publish(run.run_id, segments)
        return 0.0


class Kept:
    """What only lives while somebody counts it."""


@pytest.fixture
def counted() -> Iterator[None]:
    reducers.register_reference(Kept)
    yield
    reducers.dispatch_table().pop(Kept, None)


def test_references_in_events_travel_beside_the_socket(counted: None) -> None:
    plane, kept = Plane(), Kept()
    plane.host.drive(RUN.run_id, CALLER, 1, [Admit("a", 1, 1)])
    stream = plane.publisher().open(RUN, "a", 1, 1)
    stream.emit(Event((), "custom", {"kept": kept}))
    receiver = plane.receiver()
    inbox, events = Inbox(ReaderKey(RUN.run_id), None), Reassembler(RUN.run_id)
    receiver.open(inbox)
    while not (deliveries := inbox.take()):
        receiver.wait(inbox)
    (event,) = events.feed(deliveries)
    assert event.payload["kept"] is kept
    receiver.stop(RunCancelled("the test is over"))
