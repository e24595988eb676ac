"""Turns: in the order in which they are asked for, and beside turns that take long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from distgraph.concurrency.turns import PATIENCE, Seat, Turns


class Threads:
    """Threads, timers and a clock that a test moves on."""

    def __init__(self) -> None:
        self.started: list[threading.Thread] = []
        self.later: list[Callable[[], None]] = []
        self.now = 0.0
        self.turns = Turns(
            later=lambda seconds, call: self.later.append(call),
            spawn=self._start,
            clock=lambda: self.now,
        )

    def _start(self, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, daemon=True)
        self.started.append(thread)
        thread.start()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due, self.later = self.later, []
        for call in due:
            call()


@pytest.fixture
def threads() -> Threads:
    return Threads()


class Held:
    """A seat each of whose turns goes on until it is let go."""

    def __init__(self, turns: Turns) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.seat = Seat(turns, self._turn)
        self.seat.ask()
        assert self.began.acquire(timeout=30)

    def _turn(self) -> None:
        self.began.release()
        assert self.go_on.acquire(timeout=30)
        self.ended.release()


def noting(turns: Turns, name: str, order: list[str], done: threading.Semaphore) -> Seat:
    def turn() -> None:
        order.append(name)
        done.release()

    return Seat(turns, turn)


def wait_for(done: threading.Semaphore, count: int) -> None:
    for _ in range(count):
        assert done.acquire(timeout=30)


def test_turns_are_taken_in_the_order_in_which_they_are_asked_for(threads: Threads) -> None:
    held = Held(threads.turns)
    order: list[str] = []
    done = threading.Semaphore(0)
    seats = {name: noting(threads.turns, name, order, done) for name in "abc"}
    for name in "cabac":  # who waits already keeps its place
        seats[name].ask()
    held.go_on.release()
    wait_for(done, 3)
    assert order == ["c", "a", "b"]
    assert len(threads.started) == 1


def test_a_turn_that_is_asked_for_during_a_turn_comes_behind_those_that_wait(
    threads: Threads,
) -> None:
    held = Held(threads.turns)
    order: list[str] = []
    done = threading.Semaphore(0)
    noting(threads.turns, "other", order, done).ask()
    held.seat.ask()
    held.seat.ask()
    held.go_on.release()
    wait_for(done, 1)
    assert order == ["other"]
    assert held.began.acquire(timeout=30)
    held.go_on.release()
    wait_for(held.ended, 2)
    noting(threads.turns, "last", order, done).ask()
    wait_for(done, 1)
    assert not held.began.acquire(blocking=False), "two requests during one turn are one more turn"


def test_others_go_on_beside_a_turn_that_takes_long(threads: Threads) -> None:
    held = Held(threads.turns)
    order: list[str] = []
    done = threading.Semaphore(0)
    noting(threads.turns, "other", order, done).ask()
    threads.pass_time(PATIENCE / 2)
    assert len(threads.started) == 1
    threads.pass_time(PATIENCE / 2)
    wait_for(done, 1)
    assert order == ["other"]
    assert len(threads.started) == 2
    held.go_on.release()
    threads.started[0].join(30)
    assert not threads.started[0].is_alive(), "another thread serves in its place"
    noting(threads.turns, "behind", order, done).ask()
    wait_for(done, 1)
    assert len(threads.started) == 2


def test_a_seat_has_no_two_turns_at_the_same_time(threads: Threads) -> None:
    held = Held(threads.turns)
    held.seat.ask()
    order: list[str] = []
    done = threading.Semaphore(0)
    noting(threads.turns, "other", order, done).ask()
    threads.pass_time(PATIENCE)
    wait_for(done, 1)
    assert not held.began.acquire(blocking=False)
    held.go_on.release()
    assert held.began.acquire(timeout=30)
    held.go_on.release()


def test_many_turns_that_take_long_all_begin(threads: Threads) -> None:
    held = [Held(threads.turns)]
    for _ in range(4):
        began = threading.Event()
        Seat(threads.turns, began.set).ask()
        threads.pass_time(2 * PATIENCE)
        assert began.wait(30)
        held.append(Held(threads.turns))
    for one in held:
        one.go_on.release()
        wait_for(one.ended, 1)


def test_nothing_looks_while_nothing_waits(threads: Threads) -> None:
    done = threading.Semaphore(0)
    seat = noting(threads.turns, "a", [], done)
    held = Held(threads.turns)
    assert threads.later == []
    seat.ask()
    assert len(threads.later) == 1
    held.go_on.release()
    wait_for(done, 1)
    threads.pass_time(PATIENCE)
    threads.pass_time(PATIENCE)
    assert threads.later == []


def test_a_turn_that_fails_is_logged_and_the_others_go_on(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    done = threading.Semaphore(0)
    Seat(threads.turns, fail).ask()
    noting(threads.turns, "a", [], done).ask()
    wait_for(done, 1)
    assert "nothing there" in caplog.text
