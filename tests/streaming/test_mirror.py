"""A broker that dies at any moment goes on from its mirror, and no reader notices."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from distgraph.contract.started import RunTerms
from distgraph.contract.stream import Admit, Commit, Finish
from distgraph.errors import BrokerLost
from distgraph.serde.pickling import loads
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.mirror import (
    MirrorServer,
    Record,
    Recorder,
    Replica,
    ReplicaState,
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

    def spread(self) -> None:
        """Let the reader be pushed to, the mirror have its records, and others what follows."""
        for caller in self.broker.take_woken():
            if found := self.broker.take(caller, 0.0):
                self.after(partial(self.reading.take, self.broker.number_of(caller), found))
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


class Mirrored:
    """A recorder and its mirror."""

    def __init__(self) -> None:
        self.replica = Replica(small())
        self.server = MirrorServer(self.replica, "127.0.0.1")
        self.is_there = True
        self.lost: Future[BaseException] = Future()
        self.refused = threading.Event()
        self.recorder = Recorder(
            self.locate,
            self.refer,
            lambda: 5.0,
            self.lost.set_result,
            self.refused.set,
            begun(self.replica),
        )
        self.broker = recorded(small(), self.recorder)

    def locate(self) -> Any:
        if not self.is_there:
            raise BrokerLost("the mirror died")
        return self.server.address, self.server.secret

    def refer(self, epoch: int, first: int, packed: Any) -> Future[bool]:
        applied: Future[bool] = Future()
        applied.set_result(self.replica.apply(epoch, first, *loads(packed)))
        return applied


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
    plane.is_there = False
    plane.broker.drive(RUN, CALLER, 1, [Admit("a", 1, 1)], 0.0)
    plane.recorder.wait()
    assert isinstance(plane.lost.result(SECONDS), BrokerLost)
    plane.broker.publish(RUN, [segment("a", 1)], 0.0)
    plane.recorder.wait()
