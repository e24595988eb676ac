"""What the driver does, and does not do, while the log is over its limit."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import DroppedCall, TaskCall
from distgraph.contract.events import (
    CallDropped,
    CheckpointLoaded,
    DrainRequested,
    LoadCheckpoint,
    Sync,
    Synced,
    TaskCalled,
    ThreadOptions,
    Woken,
)
from distgraph.contract.stream import Admit, Commit, Finish, Position, Publish
from distgraph.driver.ports import Acked, GroupEnded, Relieved
from distgraph.graph import START, StateGraph
from distgraph.types import RetryPolicy, Send
from tests.engine.corpus import State, adds, fan
from tests.engine.play import attempt, options

from .fake import NOTHING, FakeBackend, FakeRun


def congested(graph: Any, **more: Any) -> FakeRun:
    """A run at its first step, whose log is over its limit."""
    run = FakeRun(graph, backend=FakeBackend(acks=False), **more)
    run.start({"items": []})
    return run


def test_nothing_starts_while_the_log_is_over_its_limit() -> None:
    run = congested(fan().compile(backend="local"))
    starts = list(run.running.values())
    run.post(Acked(congested=True))
    assert [run.end(start) for start in starts] == [NOTHING] * 3
    assert run.backend.in_flight == []
    told = run.post(Relieved())
    assert [op for op in told.ops if isinstance(op, Commit)] == [
        Commit(*start.request.attempt_id, 2, ()) for start in starts
    ]
    assert [s.request.node for s in run.running.values()] == ["last"]


def test_a_retry_that_is_due_waits_for_room() -> None:
    def fails(state):
        raise ConnectionError("once")

    policy = RetryPolicy(initial_interval=1.0, jitter=False)
    graph = StateGraph(State).add_node("n", fails, retry_policy=policy).add_edge(START, "n")
    run = congested(graph.compile(backend="local"))
    run.post(Acked())
    run.end(run.of("n"))
    (key,) = run.backend.wakes
    run.post(Acked(congested=True))
    assert run.post(Woken(key)) == NOTHING and not run.running
    run.post(Relieved())
    assert run.of("n").request.attempt == 2


def test_a_step_that_is_saved_waits_for_room() -> None:
    graph = StateGraph(State).add_node("a", adds("a")).add_node("b", adds("b"))
    compiled = graph.add_edge(START, "a").add_edge("a", "b").compile(backend="local")
    run = FakeRun(
        compiled,
        options(thread=ThreadOptions(saves=True, durability="sync")),
        backend=FakeBackend(acks=False),
    )
    run.start({"items": []})
    (load,) = [job for job in run.backend.stored if isinstance(job, LoadCheckpoint)]
    run.post(CheckpointLoaded(load.key, None))
    while not run.running:
        synced(run)
    run.end(run.of("a"))
    run.post(Acked(congested=True))
    synced(run)
    assert not run.running
    run.post(Relieved())
    assert run.of("b").request.step == 2


def synced(run: FakeRun) -> None:
    """Answer the last question of whether everything is saved."""
    sync = [job for job in run.backend.stored if isinstance(job, Sync)][-1]
    run.post(Synced(sync.key))


def test_a_cancelled_run_ends_though_its_log_has_no_room() -> None:
    run = congested(fan().compile(backend="local"))
    held = run.of("a")
    run.post(Acked(congested=True))
    run.end(held)
    told = run.cancel()
    assert isinstance(told.ops[-1], Finish) and told.ops[-1].force
    assert run.driver.finished and not run.driver._held


def test_a_request_to_drain_is_heard_while_the_log_has_no_room() -> None:
    run = congested(fan().compile(backend="local"))
    run.post(Acked(congested=True))
    run.post(DrainRequested("stop"))
    assert run.driver._machine.drain == "stop"
    assert not run.driver._held


def test_what_is_held_keeps_its_order() -> None:
    run = congested(fan().compile(backend="local"))
    starts = [run.of(name) for name in "cab"]
    run.post(Acked(congested=True))
    for start in starts:
        run.end(start)
        run.post(CallDropped(DroppedCall(*start.request.attempt_id, 0)))
    told = run.post(Relieved())
    commits = [op.attempt_id for op in told.ops if isinstance(op, Commit)]
    assert commits == [start.request.attempt_id for start in starts]


def test_the_end_of_a_run_goes_out_though_batches_are_on_their_way() -> None:
    run = congested(fan().compile(backend="local"))
    run.end(run.of("a"))
    assert len(run.backend.batches_sent) == 2
    assert run.end(run.of("b")) == NOTHING  # told with what follows
    told = run.cancel()
    assert [type(op) for op in told.ops if isinstance(op, (Publish, Finish))][-1] is Finish
    assert run.driver.finished
    outcome, _ = attempt(run.graph, run.backend.in_flight[0].starts[0].request, run.run)
    assert run.ended(outcome) == NOTHING


def test_a_cancelled_run_ends_behind_the_code_that_is_told_of_it() -> None:
    backend = FakeBackend(tells=lambda group: True)
    run = FakeRun(fan().compile(backend="local"), backend=backend)
    run.start({"items": []})
    told = run.cancel()
    assert not any(isinstance(op, Finish) for op in told.ops)
    groups = list(backend.in_flight)
    for group in groups:
        assert not run.driver.finished
        backend.in_flight.remove(group)
        told = run.post(GroupEnded(group))
    assert run.driver.finished and isinstance(told.ops[-1], Finish)


def test_attempts_that_wait_to_be_batched_wait_for_room() -> None:
    graph = StateGraph(State).add_node("n", adds("n"))
    graph.add_conditional_edges(START, lambda _: [Send("n", {"n": n}) for n in range(5)], ["n"])
    backend = FakeBackend(acks=False, batched=True)
    run = FakeRun(graph.compile(backend="local"), backend=backend, slots=1)
    run.start({"items": []})
    run.end(next(iter(run.running.values())))  # the conditional edges of the start
    assert len(backend.in_flight) == 1 and len(run.waiting) == 4
    run.post(Acked(congested=True))
    backend.time += 1.0
    run.post()
    assert len(backend.in_flight) == 1
    run.post(Relieved())
    assert run.waiting == []


def test_the_news_of_a_batch_matters_only_where_something_waits_for_it() -> None:
    run = FakeRun(fan().compile(backend="local"), backend=FakeBackend(acks=False))
    run.start({"items": []})
    minded = [run.driver.minds_acks]
    for start in list(run.running.values())[:2]:
        run.end(start)
        minded.append(run.driver.minds_acks)
    assert minded == [False, False, True]  # the third batch is not sent while two are on their way
    run.post(Acked())
    assert not run.driver.minds_acks
    run.post(Acked(congested=True))
    assert run.driver.minds_acks


def test_a_called_task_is_admitted_behind_what_its_caller_had_emitted() -> None:
    run = FakeRun(fan().compile(backend="local"))
    run.start({"items": []})
    caller = run.of("a").request.attempt_id
    call = TaskCall(*caller, 0, 0, "called", ((), {}), adds, "key", emitted=3)
    run.post(TaskCalled(call))
    admits = [op for op in run.ops if isinstance(op, Admit)]
    assert admits[-1].after == Position(*caller, 3)
    assert [op.after for op in admits[:-1]] == [None] * (len(admits) - 1)


@pytest.mark.parametrize("emitted", [0, 2])
def test_the_result_of_a_call_follows_the_events_of_its_task(emitted: int) -> None:
    run = FakeRun(fan().compile(backend="local"), backend=FakeBackend(acks=False))
    run.start({"items": []})
    run.post(Acked())
    caller = run.of("a").request.attempt_id
    run.post(TaskCalled(TaskCall(*caller, 0, 0, "called", ((), {}), adds, "key")))
    run.post(Acked())
    outcome = AttemptOutcome(
        *run.of("called").request.attempt_id, "ok", published=emitted, host="h", pid=1
    )
    run.ended(outcome)
    assert len(run.backend.delivered) == (not emitted)
    run.post(Acked())
    assert len(run.backend.delivered) == 1


def test_an_attempt_that_waits_for_a_call_lends_its_slot() -> None:
    run = FakeRun(fan().compile(backend="local"), room=1)
    run.start({"items": []})
    caller = run.of("a").request.attempt_id
    run.post(TaskCalled(TaskCall(*caller, 0, 0, "called", ((), {}), adds, "key")))
    assert [s.request.node for s in run.running.values()] == ["a", "b"]
    run.post(CallDropped(DroppedCall(*caller, 0)))
    run.end(run.of("b"))
    assert [s.request.node for s in run.running.values()] == ["a"], "the slot is taken again"
