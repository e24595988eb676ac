"""Starts, cancels and drains of runs reach a driver in their order, and each start once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from actors import worker_port
from actors.entrance import CALLER, DriverLink, Entrance
from actors.worker_port import WorkerPort
from distgraph.concurrency.turns import Turns


class Driver:
    """A driver that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        port = WorkerPort("session")
        port.serve(CALLER, Entrance(Turns(port.loop.work), self.begin, self.cancel, self.drain))
        self.ticket = port.ticket

    def note(self, what: str, subject: str) -> None:
        with self.changed:
            self.asked.append((what, subject))
            self.changed.notify_all()

    def begin(self, packed: bytes) -> None:
        run_id = packed.decode()
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
def link(driver: Driver) -> Iterator[DriverLink]:
    made = DriverLink(_Handle(driver))
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
