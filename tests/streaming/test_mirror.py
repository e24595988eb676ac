"""A broker that dies at any moment goes on from its mirror, and no reader notices."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from distgraph.contract.started_runs import RunTerms
from distgraph.contract.stream import Admit, Commit, Finish
from distgraph.errors import BrokerLost, InvalidTransition, RunError
from distgraph.serde.pickling import loads
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.mirror import (
    Mirror,
    MirrorServer,
    Record,
    Recorder,
    Replica,
    ReplicaState,
    _Way,
    clock_from,
    recorded,
)
from distgraph.streaming.transport import ReaderKey

from .support import END_BLOB, segment

CALLER, RUN, KEY = "caller", "run", ReaderKey("run")
SECONDS = 20.0


def end_of_run(error: BaseException) -> bytes:
    return END_BLOB


def small() -> Broker:
    """A broker that keeps nothing that was consumed, and whose readers have small windows."""
    limits = Limits(retain_bytes=0, retain_events=0, window=600)
    return Broker(limits, end_of_run)


def begun(replica: Replica) -> ReplicaState:
    return ReplicaState(*loads(replica.begin()))


def calls() -> list[tuple[str, Any]]:
    """What two workers and the driver tell the broker in a run of two tasks."""
    told: list[tuple[str, Any]] = [("drive", (1, [Admit("a", 1, 1)]))]
    told += [("publish", [segment("a", first, 2)]) for first in (1, 3)]
    told += [("publish", [segment("b", 1, 3)]), ("drive", (2, [Admit("b", 1, 1)]))]
    told += [("publish", [segment("a", 5, 1), segment("b", 4, 1)])]
    told += [("drive", (3, [Commit("a", 1, 5), Commit("b", 1, 5, (segment("b", 5),))]))]
    told += [("drive", (4, [Finish(END_BLOB, "success")]))]
    return told


class Reading:
    """What the calling process has of the run."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.received = 0
        self._reassembler = Reassembler(RUN, 0)

    def take(self, number: int, found: list[Any]) -> None:
        for fetched in found:
            assert fetched.error is None
            self.events += self._reassembler.feed(fetched.deliveries)
        self.received = number

    @property
    def position(self) -> int:
        return self._reassembler.position

    @property
    def has_ended(self) -> bool:
        return bool(self.events) and self.events[-1].payload == "done"


class List:
    """A recorder that keeps its records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        self.records.append(record)


class Life:
    """One broker from its begin to its death, which comes when it has a record beyond ``reach``."""

    def __init__(self, replica: Replica, reading: Reading, reach: int | None) -> None:
        self.replica, self.reading, self.reach = replica, reading, reach
        self.state, self.kept = begun(replica), List()
        self.broker = recorded(self.state.broker, self.kept)  # type: ignore[arg-type]
        self.applied = 0
        self.held: list[tuple[int, Callable[[], object]]] = []
        self.broker.listen(CALLER, reading.received, 0.0)
        self.consume()

    @property
    def is_alive(self) -> bool:
        return self.applied == len(self.kept.records)

    def after(self, call: Callable[[], object]) -> None:
        self.held.append((len(self.kept.records), call))

    def push(self) -> None:
        for caller in self.broker.take_woken():
            if found := self.broker.take(caller, 0.0):
                self.after(partial(self.reading.take, self.broker.number_of(caller), found))

    def spread(self) -> None:
        """Let the reader be pushed to, the mirror have its records, and others what follows."""
        self.push()
        new = self.kept.records[self.applied : self.reach]
        first = self.state.applied + self.applied + 1
        assert self.replica.apply(self.state.epoch, first, 0.0, new)
        self.applied += len(new)
        while self.held and self.held[0][0] <= self.applied:
            self.held.pop(0)[1]()

    def consume(self) -> None:
        position = self.reading.position
        self.broker.consumed(CALLER, self.reading.received, [(KEY, position)], 0.0)
        self.spread()

    def tell(self, kind: str, what: Any) -> None:
        if kind == "publish":
            self.broker.publish(RUN, what, 0.0)
        else:
            self.broker.drive(RUN, CALLER, *what, 0.0)


def run_through(reach: int | None) -> tuple[list[Any], int]:
    """Run ``calls`` to the end. The first broker dies, of whose records the first ``reach`` have
    reached the mirror. Return the events of the reader, and the number of records."""
    replica, reading, told = Replica(small()), Reading(), deque(calls())
    made = 0
    while told or not reading.has_ended:
        life = Life(replica, reading, reach)
        while life.is_alive and told:
            life.tell(*told[0])
            life.after(told.popleft)
            life.spread()
            if life.is_alive:
                life.consume()
        while life.is_alive and not reading.has_ended:
            life.consume()
        made += len(life.kept.records)
        reach = None
    return reading.events, made


UNDISTURBED, RECORDS = run_through(None)


def test_the_undisturbed_run_has_all_events():
    assert len(UNDISTURBED) == 11
    assert [event.seq for event in UNDISTURBED] == list(range(1, 12))


@pytest.mark.parametrize("reach", range(RECORDS))
def test_a_broker_that_dies_at_any_record_goes_on_from_its_mirror(reach):
    events, _ = run_through(reach)
    assert events == UNDISTURBED


def test_a_started_run_and_notes_are_in_the_mirror():
    replica, kept = Replica(small()), List()
    broker = recorded(begun(replica).broker, kept)  # type: ignore[arg-type]
    broker.announce(RUN, RunTerms(), 1.0)
    broker.drive(RUN, "", 1, [Admit("a", 1, 1)], 2.0)
    with pytest.raises(Exception, match="known already"):
        broker.announce(RUN, RunTerms(), 3.0)
    kept.add(Record("note", (), {"driver": "d1"}))
    assert replica.apply(1, 1, 3.0, kept.records)
    state = begun(replica)
    assert (state.epoch, state.applied, state.now) == (2, 4, 3.0)
    assert state.notes == {"driver": "d1"}
    assert state.broker.describe(RUN) == broker.describe(RUN)


def test_repeated_records_are_applied_once_and_those_of_an_earlier_broker_never():
    replica, kept = Replica(small()), List()
    broker = recorded(begun(replica).broker, kept)  # type: ignore[arg-type]
    broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    broker.publish(RUN, [segment("a", 1)], 0.0)
    assert replica.apply(1, 1, 0.0, kept.records[:1])
    assert replica.apply(1, 1, 0.0, kept.records)
    state = begun(replica)
    assert state.broker.statistics() == broker.statistics()
    assert not replica.apply(1, 3, 0.0, kept.records)
    assert begun(replica).applied == 2


# --- over a socket ------------------------------------------------------------------------------


class Served(MirrorServer):
    """A mirror that can be stopped, and lost."""

    def __init__(self, replica: Replica) -> None:
        self.is_stopped = self.is_lost = False
        self.connections: set[Any] = set()
        self.replica = replica
        super().__init__(replica, "127.0.0.1")

    def _on_frame(self, connection: Any, frame: Any) -> None:
        self.connections.add(connection)
        if not self.is_stopped:
            super()._on_frame(connection, frame)

    def lose(self) -> None:
        self.is_lost = True
        for connection in self.connections:
            connection.close()

    def mirror(self) -> Mirror:
        def locate() -> Any:
            if self.is_lost:
                raise BrokerLost("the mirror died")
            return self.address, self.secret

        def apply(epoch: int, first: int, packed: Any) -> Future[bool]:
            return self._answered(self.replica.apply(epoch, first, *loads(packed)))

        def copy(packed: Any) -> Future[bool]:
            return self._answered(self.replica.copy(ReplicaState(*loads(packed))))

        return Mirror(locate, apply, copy)

    @staticmethod
    def _answered(value: bool) -> Future[bool]:
        answer: Future[bool] = Future()
        answer.set_result(value)
        return answer


_recorders: list[Recorder] = []


@pytest.fixture(autouse=True)
def no_recorder_outlives_its_test() -> Iterator[None]:
    """One that waits for its mirror would give it up in the middle of another test."""
    yield
    while _recorders:
        recorder = _recorders.pop()
        with recorder._lock:
            recorder._way = None
            recorder._held.clear()


class Mirrored:
    """A recorder and its mirror."""

    def __init__(self, patience: float = SECONDS) -> None:
        self.replica = Replica(small())
        self.server = Served(self.replica)
        self.lost: Future[BaseException] = Future()
        self.refused = threading.Event()
        self.state = begun(self.replica)
        self.recorder = Recorder(
            self.server.mirror(),
            lambda: 5.0,
            self._note_loss,
            self.refused.set,
            self.state,
            patience,
        )
        self.broker = recorded(self.state.broker, self.recorder)
        self.lock = threading.RLock()
        _recorders.append(self.recorder)

    def _note_loss(self, error: BaseException) -> None:
        if not self.lost.done():  # another mirror may be lost later, behind the end of its test
            self.lost.set_result(error)

    def exclusively(self, call: Callable[[], object]) -> None:
        with self.lock:
            call()

    def lose(self) -> None:
        self.recorder.note(connected=True)
        self.recorder.wait()
        self.server.lose()
        assert isinstance(self.lost.result(SECONDS), BrokerLost)

    def replaced(self) -> Served:
        """Go on with another mirror than the one that is lost."""
        server, ready = Served(Replica(small(), follows=True)), threading.Event()
        self.recorder.replace(server.mirror(), self.exclusively, ready.set)
        assert ready.wait(SECONDS)
        return server


def test_what_follows_a_record_is_held_back_until_the_mirror_has_it():
    plane, order, done = Mirrored(), list[tuple[int, int]](), threading.Event()
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    for number in range(1, 51):
        plane.broker.publish(RUN, [segment("a", number)], 0.0)
        plane.recorder.after(
            lambda number=number: order.append((number, plane.replica._applied >= number + 1))
        )
    plane.recorder.after(done.set)
    assert done.wait(SECONDS)
    assert order == [(number, True) for number in range(1, 51)]
    assert begun(plane.replica).broker.statistics() == plane.broker.statistics()
    assert not plane.lost.done()


def test_a_broker_whose_successor_has_begun_says_nothing_more():
    plane, said = Mirrored(), threading.Event()
    begun(plane.replica)
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    plane.recorder.after(said.set)
    assert plane.refused.wait(SECONDS)
    assert not said.is_set()


def test_a_broker_goes_on_without_a_mirror_that_is_lost():
    plane = Mirrored()
    plane.lose()
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    plane.recorder.wait()
    plane.broker.publish(RUN, [segment("a", 1)], 0.0)
    plane.recorder.wait()


def test_a_mirror_that_does_not_answer_is_lost():
    plane = Mirrored(patience=0.1)
    plane.server.is_stopped = True
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    plane.recorder.wait()
    assert isinstance(plane.lost.result(SECONDS), TimeoutError)


@pytest.mark.parametrize(("process", "looks"), [(None, 3), (7, 9)])
def test_a_mirror_of_this_machine_that_waits_for_a_cpu_has_more_time(monkeypatch, process, looks):
    at = 0.0

    def waited(pid: int) -> float:
        assert pid == 7
        return at

    monkeypatch.setattr("distgraph.streaming.mirror.cpu_waits", waited)
    way = _Way(Mirrored().server.mirror())
    way.link = SimpleNamespace(connection=SimpleNamespace(process=process))
    way.question.asked, way.question.bound = at, 3.0
    over = []
    for at in map(float, range(1, 12)):
        over.append(way.is_over(at))
    assert over.index(True) + 1 == looks
    way.link.connection = None
    way.question.asked = 20.0
    assert [way.is_over(now) for now in (21.0, 22.0, 23.0)] == [False, False, True]


def test_who_is_connected_on_one_machine_knows_the_process_on_the_other_side():
    plane = Mirrored()
    plane.recorder.note(connected=True)
    plane.recorder.wait()
    connection = plane.recorder._way.link.connection
    assert connection.process == os.getpid()


def test_another_mirror_has_what_the_broker_has():
    plane = Mirrored()
    plane.recorder.note(driver="d1", gone="g")
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    plane.recorder.note(gone=None)
    plane.lose()
    other = plane.replaced()
    plane.broker.publish(RUN, [segment("a", 1)], 0.0)
    plane.recorder.note(session="s")
    plane.recorder.wait()
    state = begun(other.replica)
    assert state.broker.statistics() == plane.broker.statistics()
    assert state.notes == {"driver": "d1", "connected": True, "session": "s"}
    assert state.epoch == plane.state.epoch + 1


def test_what_follows_a_record_is_held_back_again_with_another_mirror():
    plane = Mirrored()
    plane.lose()
    other, said = plane.replaced(), threading.Event()
    other.is_stopped = True
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    plane.recorder.after(said.set)
    assert not said.wait(0.05)


def test_a_broker_is_not_begun_with_a_mirror_that_lacks_what_others_have_seen():
    plane, other = Mirrored(), Replica(small(), follows=True)
    with pytest.raises(BrokerLost, match="before another mirror"):
        other.begin()
    assert other.copy(plane.state)
    with pytest.raises(BrokerLost, match="before another mirror"):
        other.begin()
    assert other.apply(1, 1, 0.0, [Record("complete", (), {})])
    assert begun(other).epoch == 2


def test_a_copy_of_an_earlier_broker_is_refused():
    plane, other = Mirrored(), Replica(small())
    begun(other), begun(other)
    assert plane.state.epoch == 1
    assert not other.copy(plane.state)


class Recorded(Life):
    """A life whose records go over a socket."""

    def __init__(self, plane: Mirrored, reading: Reading) -> None:
        self.broker, self.recorder, self.reading = plane.broker, plane.recorder, reading
        self.broker.listen(CALLER, 0, 0.0)
        self.spread()

    def after(self, call: Callable[[], object]) -> None:
        self.recorder.after(call)

    def spread(self) -> None:
        self.push()
        self.recorder.wait()


def go_on(life: Life, told: deque[tuple[str, Any]], count: int) -> None:
    for _ in range(min(count, len(told))):
        life.tell(*told.popleft())
        life.spread()
        life.consume()


@pytest.mark.parametrize("without", [0, 1, 3])
@pytest.mark.parametrize("first", range(len(calls())))
def test_a_broker_that_dies_after_its_mirror_goes_on_from_another_mirror(first, without):
    plane, reading, told = Mirrored(), Reading(), deque(calls())
    life = Recorded(plane, reading)
    go_on(life, told, first)
    plane.lose()
    go_on(life, told, without)
    other = plane.replaced()
    go_on(life, told, 1)
    other.is_stopped = True
    if told:  # the broker dies before its mirror has this
        life.tell(*told[0])
        life.push()
    life = Life(other.replica, reading, None)
    go_on(life, told, len(told))
    while not reading.has_ended:
        life.consume()
    assert reading.events == UNDISTURBED


# --- a host that follows another one ------------------------------------------------------------


def test_what_a_caller_repeats_of_a_host_that_follows_is_no_error():
    host = BrokerHost(small(), follows=True)
    for _ in range(2):
        host.announce(RUN, RunTerms())
        assert host.open(CALLER, ReaderKey(RUN, 1), 0) == 0
    assert [state.run_id for state in host.describe_all()] == [RUN]
    host.drive(RUN, "", 1, [Admit("a", 1, 1)])
    with pytest.raises(RunError, match="known already"):
        host.announce(RUN, RunTerms())


def test_what_a_caller_repeats_of_a_first_host_is_an_error():
    host = BrokerHost(small())
    host.announce(RUN, RunTerms())
    with pytest.raises(RunError, match="known already"):
        host.announce(RUN, RunTerms())
    host.open(CALLER, ReaderKey(RUN, 1), 0)
    with pytest.raises(InvalidTransition, match="open already"):
        host.open(CALLER, ReaderKey(RUN, 1), 0)


def test_the_clock_of_a_broker_continues_that_of_the_one_before():
    state = begun(Replica(small()))
    assert clock_from(state, lambda: 7.0)() == 7.0
    at = iter([100.0, 100.0, 101.5])
    assert clock_from(state._replace(applied=1, now=50.0), lambda: next(at))() == 51.5


def test_time_in_which_a_broker_did_not_run_does_not_count_for_it():
    at = iter([0.0, 1.0, 60.0, 61.0])
    clock = clock_from(begun(Replica(small())), lambda: next(at))
    assert [clock() for _ in range(3)] == [1.0, 3.0, 4.0]
