"""The reports of attempts that a driver writes where a view watches the run."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypedDict

import pytest

from distgraph.contract.progress import (
    PROGRESS_MODE,
    AttemptEnded,
    AttemptQueued,
    AttemptStarted,
    RetryScheduled,
)
from distgraph.contract.stream import Publish
from distgraph.errors import RunError, WorkerDied
from distgraph.graph import START, StateGraph
from distgraph.loss_policy import LossPolicy
from distgraph.types import RetryPolicy
from tests.driver.fake import FakeRun, Told
from tests.engine.play import attempt, options

WATCHED = frozenset({"updates", PROGRESS_MODE})
NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


class State(TypedDict):
    x: int


def graph(**more: Any) -> Any:
    def work(state: State) -> dict[str, int]:
        return {"x": 1}

    return StateGraph(State).add_node(work, **more).add_edge(START, "work").compile()


def play(graph: Any, modes: frozenset[str] = WATCHED) -> FakeRun:
    return FakeRun(graph, options(modes=modes), now=lambda: NOW)


def reports(told: Told) -> list[Any]:
    blobs = [op.segment.blob for op in told.ops if isinstance(op, Publish)]
    return [e.payload for blob in blobs for e in blob if e.mode == PROGRESS_MODE]


def test_an_attempt_is_reported_when_it_is_queued_and_when_it_ends() -> None:
    run = play(graph(ray_options={"num_gpus": 1}))
    told = run.start({"x": 0})
    (start,) = run.backend.in_flight[0].starts
    id = start.request.task_id
    at = NOW.timestamp()
    needs = {"CPU": 1, "GPU": 1}
    assert reports(told) == [AttemptQueued(id, 1, ("work",), "", "node", 1, at, needs)]
    outcome, emitted = attempt(graph(), start.request, run.run)
    started = [e.payload for e in emitted if e.mode == PROGRESS_MODE]
    assert started == [AttemptStarted(id, 1, outcome.host, outcome.pid, outcome.started_at)]
    (ended,) = reports(run.ended(outcome))
    assert ended == AttemptEnded(
        id,
        1,
        "ok",
        at,
        outcome.host,
        outcome.pid,
        outcome.started_at,
        outcome.duration,
        outcome.cpu,
    )


def test_a_lost_attempt_and_its_retry_are_reported() -> None:
    policy = RetryPolicy(initial_interval=3.0, jitter=False, retry_on=RunError)
    run = play(graph(retry_policy=policy))
    run.start({"x": 0})
    (start,) = run.backend.in_flight[0].starts
    told = reports(run.lose(start, RunError("gone\nwith its machine")))
    id, at = start.request.task_id, NOW.timestamp()
    assert told == [
        AttemptEnded(id, 1, "lost", at, error="RunError: gone"),
        RetryScheduled(id, ("work",), 3.0, at),
    ]


def test_a_cancelled_attempt_is_reported() -> None:
    run = play(graph())
    run.start({"x": 0})
    (start,) = run.backend.in_flight[0].starts
    id = start.request.task_id
    assert reports(run.cancel()) == [AttemptEnded(id, 1, "cancelled", NOW.timestamp())]


def test_nothing_is_reported_where_nobody_watches() -> None:
    run = play(graph(), frozenset({"updates"}))
    assert reports(run.start({"x": 0})) == []
    (start,) = run.backend.in_flight[0].starts
    _, emitted = attempt(graph(), start.request, run.run)
    assert emitted == []
    assert reports(run.end(start)) == []


@pytest.mark.parametrize(("arrived", "again"), [(0, True), (1, True), (2, False)])
def test_the_report_of_its_start_does_not_count_as_an_event_of_a_lost_attempt(
    arrived: int, again: bool
) -> None:
    watched = options(modes=WATCHED)
    shared = replace(watched.shared, losses=LossPolicy())
    run = FakeRun(graph(), replace(watched, shared=shared), now=lambda: NOW)
    run.start({"x": 0})
    run.backend.arrived = arrived
    (start,) = run.backend.in_flight[0].starts
    told = reports(run.lose(start, WorkerDied("gone")))
    id, at = start.request.task_id, NOW.timestamp()
    assert told[0] == AttemptEnded(id, 1, "lost", at, error="WorkerDied: gone")
    assert [type(event) for event in told[1:]] == ([AttemptQueued] if again else [])
    assert bool(run.backend.in_flight) is again


def test_a_reset_counts_the_events_of_the_caller_only() -> None:
    watched = options(modes=WATCHED)
    losses = LossPolicy(on_lost_attempt="reset")
    shared = replace(watched.shared, losses=losses)
    run = FakeRun(graph(), replace(watched, shared=shared), now=lambda: NOW)
    run.start({"x": 0})
    run.backend.arrived = 3
    (start,) = run.backend.in_flight[0].starts
    ops = run.lose(start, WorkerDied("gone")).ops
    events = [e for op in ops if isinstance(op, Publish) for e in op.segment.blob]
    assert [e.payload.events for e in events if e.mode == "reset"] == [2]
