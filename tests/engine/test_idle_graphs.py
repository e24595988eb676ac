"""The idle limit of a graph that is a node: what restarts it, and when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph import StateGraph
from distgraph.contract.attempt import ProgressReports
from distgraph.contract.events import CancelTask, ProgressMade, StartTask
from distgraph.errors import NodeTimeoutError
from distgraph.graph import START
from distgraph.types import TimeoutPolicy
from tests.engine.play import Play
from tests.support.graphs import Items as State

QUARTERS = 4
QUARTER = 2.0


def nothing(state: State) -> None:
    """Takes no time."""


def graph_of(*limits: TimeoutPolicy | None) -> Any:
    """Return a graph with graphs in it, each the node ``child`` of the one around it, with nodes
    ``a`` and then ``b`` in the innermost."""
    inner = StateGraph(State).add_node("a", nothing).add_node("b", nothing)
    graph = inner.add_edge(START, "a").add_edge("a", "b").compile(backend="local")
    for limit in reversed(limits):
        around = StateGraph(State).add_node("child", graph, timeout=limit)
        graph = around.add_edge(START, "child").compile(backend="local")
    return graph


def started(*limits: TimeoutPolicy | None) -> tuple[Play, StartTask]:
    play = Play(graph_of(*limits))
    play.start({"items": []})
    return play, play.of("a")


def report(play: Play, start: StartTask, kind: Any) -> None:
    play._handle(ProgressMade(*start.request.attempt_id, kind))


def quarters(play: Play, count: int) -> list[Any]:
    """Let quarters of the windows pass, and return what the last one led to."""
    out: list[Any] = []
    for _ in range(count):
        out = play.wake(next(key for key, wake in play.wakes.items() if wake.seconds == QUARTER))
    return out


def test_attempts_inside_report_four_times_in_a_window() -> None:
    _, start = started(TimeoutPolicy(idle_timeout=8))
    assert start.request.reports == ProgressReports(2.0, True)
    _, start = started(TimeoutPolicy(idle_timeout=8, refresh_on="heartbeat"))
    assert start.request.reports == ProgressReports(2.0, False)
    _, start = started(None)
    assert start.request.reports is None


def test_a_window_without_progress_fails_the_graph() -> None:
    play, start = started(TimeoutPolicy(idle_timeout=8, run_timeout=60))
    report(play, start, "begun")
    quarters(play, 1 + QUARTERS - 1)
    assert not play.machine.finished  # the quarter in which it began does not count
    out = quarters(play, 1)
    assert [said for said in out if isinstance(said, CancelTask)]
    error = play.result.error
    assert isinstance(error, NodeTimeoutError)
    assert (error.node, error.kind, error.elapsed) == ("child", "idle", 10.0)
    assert (error.idle_timeout, error.run_timeout) == (8.0, 60.0)


def test_the_time_in_which_an_attempt_waits_for_a_worker_does_not_count() -> None:
    play, start = started(TimeoutPolicy(idle_timeout=8))
    quarters(play, 3 * QUARTERS)
    report(play, start, "begun")
    quarters(play, QUARTERS)
    assert not play.machine.finished
    quarters(play, 1)
    assert isinstance(play.result.error, NodeTimeoutError)


def test_a_task_that_ends_is_progress() -> None:
    play, start = started(TimeoutPolicy(idle_timeout=8))
    report(play, start, "begun")
    quarters(play, QUARTERS)
    play.end_node("a")
    report(play, play.of("b"), "begun")
    quarters(play, QUARTERS)
    assert not play.machine.finished
    play.end_node("b")
    assert play.result.error is None


@pytest.mark.parametrize("kind", ["events", "heartbeat"])
def test_a_report_is_progress(kind: str) -> None:
    play, start = started(TimeoutPolicy(idle_timeout=8))
    report(play, start, "begun")
    for _ in range(5):
        quarters(play, QUARTERS)
        report(play, start, kind)
    quarters(play, QUARTERS)
    assert not play.machine.finished
    quarters(play, 1)
    assert isinstance(play.result.error, NodeTimeoutError)


def test_with_refresh_on_heartbeat_events_are_no_progress() -> None:
    play, start = started(TimeoutPolicy(idle_timeout=8, refresh_on="heartbeat"))
    report(play, start, "begun")
    for _ in range(QUARTERS):
        report(play, start, "events")
        quarters(play, 1)
    assert isinstance(play.result.error, NodeTimeoutError)


def test_events_are_progress_of_all_graphs_around_and_a_heartbeat_of_the_nearest() -> None:
    for kind, node in (("events", None), ("heartbeat", "child")):
        play, start = started(TimeoutPolicy(idle_timeout=8), TimeoutPolicy(idle_timeout=8))
        report(play, start, "begun")
        for _ in range(2 * QUARTERS):
            if not play.machine.finished:
                report(play, start, kind)
                quarters(play, 1)
            if not play.machine.finished:
                quarters(play, 1)  # of the other window
        late = play.result.error if play.machine.finished else None
        assert getattr(late, "node", None) == node


def test_a_graph_that_ended_in_time_has_no_limit_any_more() -> None:
    play, start = started(TimeoutPolicy(idle_timeout=8))
    report(play, start, "begun")
    play.end_node("a")
    play.end_node("b")
    assert play.result.error is None
    assert quarters(play, 1) == []
