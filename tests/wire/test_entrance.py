"""Starts, cancels and drains of runs reach a driver in their order, and each start once; ends of
runs come back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from actors import worker_port
from actors.entrance import CALLER, DriverLink, Entrance, Tell
from actors.worker_port import WorkerPort
from distgraph.concurrency.turns import Turns
from distgraph.contract.stream import Batch, Finish

Ends = queue.SimpleQueue[tuple[str, bytes]]


class Driver:
    """A driver that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        port = WorkerPort("session")
        turns = Turns(port.loop.work)
        self.resent: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        entrance = Entrance(turns, self.begin, self.cancel, self.drain, self.resent.put)
        port.serve(CALLER, entrance)
        self.told = entrance._told
        self.tells: dict[str, Tell] = {}
        self.ticket = port.ticket

    def note(self, what: str, subject: str) -> None:
        with self.changed:
            self.asked.append((what, subject))
            self.changed.notify_all()

    def begin(self, packed: bytes, tell: Tell) -> None:
        run_id = packed.decode()
        self.tells[run_id] = tell
        if run_id == "broken":
            raise LookupError("no module of that name")
        self.note("start", run_id)

    def cancel(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            self.note("cancel", run_id)

    def drain(self, run_id: str, reason: str) -> None:
        self.note(f"drain: {reason}", run_id)

    def wait_for(self, count: int) -> list[tuple[str, str]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, 30)
            return list(self.asked)


class _Remote:
    """Stands for the method of an actor."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def remote(self) -> _Remote:
        return self

    def future(self) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(self._result)
        return done


class _Handle:
    def __init__(self, driver: Driver) -> None:
        self.entrance = _Remote(driver.ticket)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setattr(worker_port, "node_address", lambda: "127.0.0.1")
    return Driver()


@pytest.fixture
def ends() -> Ends:
    """Return where the ends go that the caller gets."""
    return queue.SimpleQueue()


@pytest.fixture
def link(driver: Driver, ends: Ends) -> Iterator[DriverLink]:
    made = DriverLink(_Handle(driver), lambda run_id, blob: ends.put((run_id, blob)))
    yield made
    made.close()


def start(link: DriverLink, run_id: str) -> Future[None]:
    return link.start(run_id, run_id.encode())


def test_requests_are_carried_out_in_their_order(driver: Driver, link: DriverLink) -> None:
    for run_id in ("a", "b", "c"):
        start(link, run_id)
        link.drain(run_id, "why")
    link.cancel("a")
    start(link, "d")
    assert driver.wait_for(8) == [
        ("start", "a"),
        ("drain: why", "a"),
        ("start", "b"),
        ("drain: why", "b"),
        ("start", "c"),
        ("drain: why", "c"),
        ("cancel", "a"),
        ("start", "d"),
    ]


def test_a_run_that_cannot_begin_fails_its_start_alone(driver: Driver, link: DriverLink) -> None:
    refused = start(link, "broken").exception(30)
    assert isinstance(refused, LookupError)
    assert "no module of that name" in str(refused)
    start(link, "a").result(30)
    assert driver.wait_for(1) == [("start", "a")]


def test_a_start_that_is_sent_again_starts_nothing(driver: Driver, link: DriverLink) -> None:
    for _ in range(3):
        start(link, "a").result(30)
    link.drain("a", "last")
    assert driver.wait_for(2) == [("start", "a"), ("drain: last", "a")]


def batch(run_id: str) -> Batch:
    """Return a batch that ends a run."""
    return Batch(run_id, "caller", 1, [Finish(b"end of " + run_id.encode())])


def test_the_end_of_a_run_comes_back(driver: Driver, link: DriverLink, ends: Ends) -> None:
    for run_id in ("a", "b"):
        start(link, run_id).result(30)
    assert driver.tells["b"](batch("b"))
    assert driver.tells["a"](batch("a"))
    assert ends.get(timeout=30) == ("b", b"end of b")
    assert ends.get(timeout=30) == ("a", b"end of a")
    assert driver.resent.empty()


def test_ends_that_may_not_have_arrived_go_by_the_broker(
    driver: Driver, link: DriverLink, ends: Ends
) -> None:
    for run_id in ("a", "b", "c"):
        start(link, run_id).result(30)
    for run_id in ("a", "b"):
        assert driver.tells[run_id](batch(run_id))
        ends.get(timeout=30)
    assert link.connection is not None
    link.connection.close()
    assert driver.resent.get(timeout=30) == batch("a")
    assert driver.resent.get(timeout=30) == batch("b")
    assert not driver.tells["c"](batch("c"))
    start(link, "d").result(30)  # on another connection
    assert driver.tells["d"](batch("d"))
    assert ends.get(timeout=30) == ("d", b"end of d")


def test_ends_that_have_arrived_are_forgotten(driver: Driver, link: DriverLink, ends: Ends) -> None:
    names = [f"run {number}" for number in range(130)]
    for run_id in names:
        start(link, run_id).result(30)
        assert driver.tells[run_id](batch(run_id))
        ends.get(timeout=30)
    start(link, "behind").result(30)  # the caller has sent nothing more
    (kept,) = driver.told.values()
    assert [known.run_id for _, known in kept] == names[128:]
