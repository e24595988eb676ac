"""Turns: in the order in which they are asked for, and of one seat never two at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from distgraph.concurrency.turns import Seat, Turns


class Lent:
    """Makes the calls that it was lent when the test says so."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], None]] = deque()
        self.turns = Turns(self.calls.append)
        self.order: list[str] = []

    def seat(self, name: str, turn: Callable[[], object] = lambda: None) -> Seat:
        def noted() -> None:
            self.order.append(name)
            turn()

        return Seat(self.turns, noted)

    def go_on(self) -> None:
        while self.calls:
            self.calls.popleft()()


@pytest.fixture
def lent() -> Lent:
    return Lent()


def test_turns_are_taken_in_the_order_in_which_they_are_asked_for(lent: Lent) -> None:
    seats = {name: lent.seat(name) for name in "abc"}
    for name in "cabac":  # who waits already keeps its place
        seats[name].ask()
    lent.go_on()
    assert lent.order == ["c", "a", "b"]
    seats["a"].ask()
    lent.go_on()
    assert lent.order == ["c", "a", "b", "a"]


def test_a_turn_that_is_asked_for_during_a_turn_comes_behind_those_that_wait(lent: Lent) -> None:
    def ask_twice() -> None:
        if lent.order == ["first"]:
            first.ask()
            first.ask()

    first = lent.seat("first", ask_twice)
    first.ask()
    lent.seat("other").ask()
    lent.go_on()
    assert lent.order == ["first", "other", "first"], "two requests are one more turn"


def test_a_seat_has_no_two_turns_at_the_same_time(lent: Lent) -> None:
    waiting: list[int] = []

    def ask() -> None:
        held.ask()
        waiting.append(len(lent.calls))

    held = lent.seat("held", ask)
    held.ask()
    lent.calls.popleft()()
    assert waiting == [0], "the next turn is not lent before this one ends"
    assert len(lent.calls) == 1


def test_a_turn_that_fails_ends_no_other(lent: Lent, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("no such run")

    broken = lent.seat("broken", fail)
    broken.ask()
    lent.seat("other").ask()
    lent.go_on()
    broken.ask()
    lent.go_on()
    assert lent.order == ["broken", "other", "broken"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError] * 2
