"""A reducer that took long once is called outside of the driver, and a takeover repeats that."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from distgraph.channels.binop import BinaryOperatorAggregate
from distgraph.channels.growing import only_adds
from distgraph.contract.events import RunStarted
from distgraph.contract.stream import Journal, Note, Reduced
from distgraph.driver.journal import Draws, JournalWriter
from distgraph.driver.reducers import (
    SLOW,
    STARTS,
    GuardedReducer,
    Startups,
    distrust,
    guard,
    prepare,
    reduce_packed,
)
from distgraph.errors import DriverLost
from distgraph.graph import START, MessagesState, StateGraph
from distgraph.graph.message import add_messages
from distgraph.serde.pickling import dumps_data


class Clock:
    """A reducer that takes some seconds of a clock of its own, and where it was called."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.away: list[str] = []
        self.here = 0
        self.guarded = GuardedReducer(self.reduce, "the reducer", self.elsewhere, self)

    def __call__(self) -> float:
        return self.now

    def reduce(self, a: Any, b: Any) -> Any:
        self.now += self.seconds
        self.here += 1
        return a + b

    def elsewhere(self, label: str, function: Any, packed: bytes) -> bytes:
        self.away.append(label)
        return reduce_packed(operator.add, packed)


def test_a_reducer_that_is_fast_is_called_in_the_driver() -> None:
    clock = Clock(SLOW * 0.9)
    assert [clock.guarded([1], [2]), clock.guarded([1], [3])] == [[1, 2], [1, 3]]
    assert (clock.here, clock.away) == (2, [])


def test_a_reducer_that_took_long_is_called_elsewhere_from_then_on() -> None:
    clock = Clock(SLOW)
    assert clock.guarded([1], [2]) == [1, 2]
    assert clock.guarded([1, 2], [3]) == [1, 2, 3]
    assert (clock.here, clock.away) == (1, ["the reducer"])


def test_the_exception_of_a_reducer_elsewhere_is_raised() -> None:
    clock = Clock()
    clock.guarded.is_away = True
    with pytest.raises(TypeError, match="unsupported operand"):
        clock.guarded(1, [2])


def test_operands_that_cannot_travel_stay_in_the_driver() -> None:
    clock = Clock()
    clock.guarded.is_away = True
    stays = (number for number in range(3))  # a generator cannot be pickled
    assert clock.guarded([stays], [2]) == [stays, 2]
    assert (clock.here, clock.away) == (1, [])


def test_the_start_of_a_process_is_no_time_of_its_reducer() -> None:
    clock = Clock()
    startups = Startups(clock)
    assert startups.waited(1) == 0.0
    startups.asked(1, 1)
    clock.now = 5.0
    assert (startups.waited(1), startups.waited(2)) == (5.0, 0.0)
    startups.began(1)
    clock.now = 7.0
    startups.began(1)  # it has ended too
    startups.asked(2, 1)
    clock.now = 8.0
    assert startups.waited(1) == 6.0


def test_a_process_that_does_not_start_is_not_waited_for_without_limit() -> None:
    clock = Clock()
    startups = Startups(clock)
    startups.asked(1, 1)
    clock.now = STARTS + 10.0
    assert startups.waited(1) == STARTS
    startups.began(1)
    assert startups.waited(1) == STARTS


class Inner(TypedDict):
    inner: Annotated[list, lambda a, b: a + b]


class Outer(TypedDict):
    own: Annotated[list, lambda a, b: a + b]
    plain: Annotated[list, operator.add]


def test_the_reducers_of_users_are_guarded_in_a_graph_and_its_subgraphs() -> None:
    inner = StateGraph(Inner).add_node("n", lambda s: s).add_edge(START, "n").compile()
    outer = StateGraph(Outer).add_node("g", inner).add_edge(START, "g").compile()
    clock, spec = Clock(), outer.spec
    guard(spec, clock.elsewhere)
    subgraph = spec.nodes["g"].subgraph
    assert subgraph is not None
    found = [spec.channels["own"], subgraph.channels["inner"]]
    assert all(isinstance(c, BinaryOperatorAggregate) for c in found)
    guarded = [c.operator for c in found if isinstance(c, BinaryOperatorAggregate)]
    assert all(isinstance(function, GuardedReducer) for function in guarded)
    plain = spec.channels["plain"]
    assert isinstance(plain, BinaryOperatorAggregate)
    assert plain.operator is operator.add
    guard(spec, clock.elsewhere)
    assert guarded == [c.operator for c in found if isinstance(c, BinaryOperatorAggregate)]
    distrust(spec)
    assert [function.is_away for function in guarded] == [True, True]
    copied = found[0].copy()
    copied.update([[1]])
    copied.update([[2]])
    assert (copied.get(), clock.away) == (
        [1, 2],
        ["the reducer of key 'own' of graph 'LangGraph'"] * 2,
    )


class Talk(TypedDict):
    messages: Annotated[list, add_messages]
    own: Annotated[list, lambda a, b: a + b]


def test_a_guarded_graph_tells_which_lists_only_grow() -> None:
    spec = StateGraph(Talk).add_node("n", lambda s: s).add_edge(START, "n").compile().spec
    guard(spec, Clock().elsewhere)
    assert {name: only_adds(spec.channels[name]) for name in ("messages", "own")} == {
        "messages": True,
        "own": False,
    }


def noted(*drawn: Any) -> Note:
    return Note(dumps_data(RunStarted({})), drawn, 0)


def repeated(clock: Clock, note: Note) -> list[Any]:
    """Repeat a journal of one event, for which a reducer is called once."""
    writer = JournalWriter(1 << 20, lambda: 0, Journal("run", b"", "", (note,), 0, 1))
    results = []
    for _ in writer.repeat():
        with writer.draws.active():
            results.append(clock.guarded([1], [2]))
    with writer.draws.active():
        results.append(clock.guarded([1], [3]))
    return results


def test_a_takeover_repeats_what_a_reducer_returned_elsewhere() -> None:
    clock = Clock()
    note = noted(Reduced(dumps_data((True, ["from then"]))))
    assert repeated(clock, note) == [["from then"], [1, 3]]
    assert (clock.here, clock.away) == (1, [])


def test_a_takeover_calls_a_reducer_where_the_earlier_driver_had_called_it() -> None:
    clock = Clock()
    clock.guarded.is_away = True  # it has held up the earlier driver, with a later call
    assert repeated(clock, noted()) == [[1, 2], [1, 3]]
    assert (clock.here, clock.away) == (1, ["the reducer"])


def test_what_was_drawn_elsewhere_is_no_result_of_a_reducer() -> None:
    with pytest.raises(DriverLost):
        repeated(Clock(), noted(b"random"))


def test_results_of_reducers_count_against_the_limit_of_the_journal() -> None:
    writer = JournalWriter(1000, lambda: 0)
    draw = writer.draws.of(lambda size: Reduced(bytes(size)))
    draw(400)
    assert writer.note(b"") is not None
    draw(700)
    assert writer.note(b"") is None


def test_draws_of_an_engine_without_a_journal_are_not_kept() -> None:
    assert Draws().take() == ()
    clock = Clock()
    clock.guarded.is_away = True
    assert clock.guarded([1], [2]) == [1, 2]


def test_what_reducers_import_is_imported_before_a_run_waits_for_it(monkeypatch):
    inner = StateGraph(MessagesState).add_node("n", lambda state: None).add_edge("__start__", "n")
    builder = StateGraph(dict).add_node("inner", inner.compile(backend="local"))
    graph = builder.add_edge("__start__", "inner").compile(backend="local")
    calls = []
    monkeypatch.setattr(add_messages, "load", lambda: calls.append(1))
    prepare(graph.spec)
    assert calls == [1]
