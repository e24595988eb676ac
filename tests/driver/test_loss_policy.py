"""Attempts that are lost with their process: another one, an error, a reset or a buffer."""

from __future__ import annotations

import operator
import re
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgraph.contract.events import Woken
from distgraph.contract.stream import Admit, Commit, Delivery, Fence, Segment
from distgraph.driver.ports import AttemptOverdue, Fenced, GroupEnded, NotTaken
from distgraph.errors import BufferFull, NodeTimeoutError, WorkerDied
from distgraph.graph import START, StateGraph
from distgraph.loss_policy import LossPolicy, checked_losses, default_losses
from distgraph.streaming import log as logs
from distgraph.streaming.log import RunLog
from distgraph.types import AttemptReset, RetryPolicy
from tests.driver.fake import FakeRun
from tests.engine.play import attempt, options


class State(TypedDict):
    items: Annotated[list[Any], operator.add]


def graph(**node: Any) -> Any:
    builder = StateGraph(State).add_node("n", lambda state: {"items": ["n"]}, **node)
    return builder.add_edge(START, "n").compile(backend="local")


DEFAULT = LossPolicy()


def lossy(*, losses: LossPolicy = DEFAULT, modes: tuple[str, ...] = ("custom",), **node: Any):
    run = options(modes=frozenset(modes))
    run = replace(run, shared=replace(run.shared, losses=losses))
    play = FakeRun(graph(**node), run)
    play.start({"items": []})
    return play


DEAD = WorkerDied("gone")


def test_a_loss_before_any_event_is_followed_by_another_attempt():
    play = lossy()
    told = play.lose(play.of("n"), DEAD)
    following = play.of("n").request
    assert (following.attempt, following.tries, following.losses) == (2, 1, 1)
    task = following.task_id
    assert told.ops == [Fence(task, 1), Admit(task, 2, 1)]
    play.end(play.of("n"))
    assert play.finished.status == "done"
    assert play.finished.value == {"items": ["n"]}


def test_losses_end_at_the_limit_with_the_error():
    play = lossy(losses=LossPolicy(max_attempts=3))
    play.lose(play.of("n"), DEAD)
    play.lose(play.of("n"), DEAD)
    play.lose(play.of("n"), DEAD)
    assert not play.running
    assert play.finished.status == "error"
    assert play.finished.error.message == str(WorkerDied("gone"))


def test_only_losses_of_the_infrastructure_count():
    play = lossy()
    play.lose(play.of("n"), RuntimeError("of another kind"))
    assert play.finished.error.message == "of another kind"


def test_losses_do_not_use_up_the_users_policy():
    play = lossy(retry_policy=RetryPolicy(max_attempts=2, initial_interval=1, jitter=False))
    play.backend.arrived = 1
    play.lose(play.of("n"), DEAD)  # its events are in the stream: the policy decides
    assert not play.running
    (key,) = play.backend.wakes
    play.post(Woken(key))
    play.backend.arrived = 0
    assert play.of("n").request.tries == 2
    play.lose(play.of("n"), DEAD)
    assert (play.of("n").request.tries, play.of("n").request.losses) == (2, 1)
    play.end(play.of("n"))
    assert play.finished.status == "done"


def test_events_in_the_stream_make_a_loss_an_error_by_default():
    play = lossy()
    play.backend.arrived = 2
    play.lose(play.of("n"), DEAD)
    assert play.finished.status == "error"


def test_an_attempt_that_no_process_took_is_no_lost_attempt():
    play = lossy(losses=LossPolicy(max_attempts=1))
    for number in range(1, 5):
        start = play.of("n")
        assert (start.request.attempt, start.request.losses) == (number, 0)
        play.lose(start, NotTaken("blocked"))
    play.lose(play.of("n"), DEAD)
    assert play.finished.status == "error"


def test_an_attempt_that_a_process_took_all_the_same_is_a_lost_attempt():
    play = lossy(losses=LossPolicy(max_attempts=1))
    play.backend.arrived = 1  # what it has streamed meanwhile must not come twice
    play.lose(play.of("n"), NotTaken("blocked"))
    assert play.finished.status == "error"
    assert play.finished.error.message == str(NotTaken("blocked"))


def test_an_attempt_that_waited_for_a_process_did_not_take_too_long():
    play = lossy(timeout=1.0)
    play.backend.time = 100.0
    play.lose(play.of("n"), DEAD)
    assert play.of("n").request.attempt == 2
    play.backend.past.add(play.of("n").request.attempt_id)
    play.lose(play.of("n"), DEAD)  # its process ended at its limit
    assert isinstance(play.finished.error, NodeTimeoutError)


def test_a_reset_precedes_everything_of_the_next_attempt():
    play = lossy(losses=LossPolicy(on_lost_attempt="reset"))
    play.backend.arrived = 2
    first = play.of("n").request
    assert first.metadata["attempt"] == 1
    told = play.lose(play.of("n"), DEAD)
    fence, publish, admit = told.ops
    assert (fence, admit) == (Fence(first.task_id, 1), Admit(first.task_id, 2, 1))
    (event,) = publish.segment.blob
    assert event.mode == "reset"
    assert event.payload == AttemptReset("n", first.task_id, 1, 1, 2, str(WorkerDied("gone")))
    assert play.of("n").request.metadata["attempt"] == 2


def test_a_reset_is_not_told_where_nothing_was_delivered():
    play = lossy(losses=LossPolicy(on_lost_attempt="reset"))
    told = play.lose(play.of("n"), DEAD)
    assert [type(op) for op in told.ops] == [Fence, Admit]


def test_a_buffered_node_is_admitted_as_such_and_the_log_is_not_asked():
    play = lossy(ray_options={"on_lost_attempt": "buffer"})
    (admit,) = [op for op in play.ops if isinstance(op, Admit)]
    assert admit.buffer
    play.backend.arrived = 5
    play.lose(play.of("n"), DEAD)
    assert play.backend.fenced == []
    assert play.of("n").request.attempt == 2


def test_a_node_has_options_of_its_own():
    play = lossy(losses=LossPolicy(max_attempts=5), ray_options={"max_attempts": 1})
    play.lose(play.of("n"), DEAD)
    assert play.finished.status == "error"


def test_a_run_that_is_cancelled_while_the_log_is_asked_starts_nothing():
    play = lossy()
    play.backend.arrived = None
    start = play.of("n")
    play.lose(start, DEAD)
    play.cancel()
    play.post(Fenced(start.request.attempt_id, 0))
    assert not play.running
    assert play.finished.status == "cancelled"
    assert play.backend.cancelled == []


def test_an_outcome_that_follows_a_loss_does_nothing():
    play = lossy()
    start = play.of("n")
    play.lose(start, DEAD)
    outcome, _ = attempt(play.graph, start.request, play.run)
    group = play.backend.in_flight[0]
    play.post(GroupEnded(group, (outcome,)))
    assert play.finished is None


def test_runs_without_a_stream_ask_nothing():
    play = lossy(modes=())
    play.lose(play.of("n"), DEAD)
    assert play.backend.fenced == []
    assert play.of("n").request.attempt == 2


def test_an_overdue_attempt_fails_at_once_and_its_process_is_ended():
    play = lossy(timeout=1.0)
    start = play.of("n")
    (group,) = play.backend.in_flight
    told = play.post(AttemptOverdue(start.request.attempt_id, "line 7"))
    assert told.cancelled == [group]
    error = play.finished.error
    assert isinstance(error, NodeTimeoutError)
    assert "line 7" in "".join(error.__notes__)


def test_a_policy_tries_again_after_an_overdue_attempt():
    play = lossy(timeout=1.0, retry_policy=RetryPolicy(initial_interval=1, jitter=False))
    play.post(AttemptOverdue(play.of("n").request.attempt_id))
    (key,) = play.backend.wakes
    play.post(Woken(key))
    assert play.of("n").request.tries == 2


# --- the options ----------------------------------------------------------------------------------


def test_the_environment_sets_the_default(monkeypatch):
    monkeypatch.setenv("DISTGRAPH_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("DISTGRAPH_ON_LOST_ATTEMPT", "reset")
    assert default_losses() == LossPolicy(5, "reset")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"max_attempts": 0}, "config['max_attempts'] must be at least 1, got 0"),
        ({"on_lost_attempt": "rest"}, "must be one of 'raise', 'reset', 'buffer', got 'rest'"),
    ],
)
def test_bad_options_are_refused(bad, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_losses(bad, "config")
    with pytest.raises(ValueError, match=re.escape(message)):
        graph().invoke({"items": []}, bad)


# --- the log --------------------------------------------------------------------------------------


def segment(attempt: int, first: int, count: int = 1) -> Segment:
    blob = [f"{attempt}.{n}" for n in range(first, first + count)]
    return Segment("t", attempt, 1, first, count, blob)


def events(log: RunLog) -> list[str]:
    found: list[Delivery] = log.read(0, 1 << 30)
    return [event for delivery in found for event in delivery.segment.blob]


def test_a_buffered_attempt_is_delivered_as_a_whole_at_its_commit():
    log = RunLog()
    log.drive(1, [Admit("t", 1, 1, True)])
    log.publish(segment(1, 1, 2))
    assert events(log) == []
    assert log.statistics().buffered_bytes > 0
    log.drive(2, [Commit("t", 1, 3, (segment(1, 3),))])
    assert events(log) == ["1.1", "1.2", "1.3"]
    assert log.statistics().buffered_bytes == log.statistics().held_bytes == 0


def test_a_buffered_attempt_waits_at_its_commit_for_events_on_their_way():
    log = RunLog()
    log.drive(1, [Admit("t", 1, 1, True), Commit("t", 1, 2)])
    log.publish(segment(1, 2))
    log.publish(segment(1, 1))
    assert events(log) == ["1.1", "1.2"]
    assert log.statistics().open_attempts == 0


def test_events_that_are_buffered_let_nobody_wait():
    log = RunLog(max_bytes=1)
    log.drive(1, [Admit("t", 1, 1, True)])
    log.publish(segment(1, 1))
    assert not log.over_limit


def test_a_buffer_is_bounded(monkeypatch):
    monkeypatch.setattr(logs, "BUFFER", 100)
    log = RunLog()
    log.drive(1, [Admit("t", 1, 1, True)])
    with pytest.raises(BufferFull, match='choose "reset"'):
        for first in range(1, 100):
            log.publish(segment(1, first))


@given(st.data())
def test_what_a_fence_counts_is_what_is_delivered(data):
    """Segments arrive in any order around the fence; admitted early, late or never."""
    log = RunLog()
    total = data.draw(st.integers(0, 6))
    steps: list[Any] = [segment(1, n) for n in range(1, total + 1)]
    steps += ["admit", "fence"]
    arrived = None
    buffer = data.draw(st.booleans())
    batch = 1
    for step in data.draw(st.permutations(steps)):
        if step == "admit":
            log.drive(batch, [Admit("t", 1, 1, buffer)])
            batch += 1
        elif step == "fence":
            arrived = log.fence("t", 1)
            assert len(events(log)) == arrived
        else:
            log.publish(step)
    assert events(log) == [f"1.{n}" for n in range(1, (arrived or 0) + 1)]
    log.drive(batch, [Fence("t", 1), Admit("t", 2, 1)])
    log.publish(segment(2, 1))
    log.publish(segment(1, 1))
    assert events(log)[(arrived or 0) :] == ["2.1"]
    statistics = log.statistics()
    assert statistics.held_bytes == statistics.held_events == statistics.buffered_bytes == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.sampled_from(["reset", "buffer"]))
def test_a_reader_sees_exactly_one_attempt_after_the_last_reset(emitted, choice):
    """Attempts emit some events each; all but the last are lost. The log is a real one."""
    losses = LossPolicy(len(emitted), choice)
    play = lossy(losses=losses)
    log, sent = RunLog(), 0

    def drive() -> None:
        nonlocal sent
        for batch in play.backend.batches_sent[sent:]:
            sent += 1
            log.drive(sent, batch)

    play.backend.fence = lambda attempt_id: log.fence(*attempt_id)
    for number, count in enumerate(emitted, 1):
        drive()
        start = play.of("n")
        task = start.request.task_id
        assert start.request.attempt == number
        for n in range(1, count + 1):
            log.publish(Segment(task, number, 1, n, 1, [f"{number}.{n}"]))
        if number < len(emitted):
            play.lose(start, DEAD)
        else:
            play.end(start, published=count)
    drive()
    seen = events(log)
    assert log.ended
    shown, resets = [], 0
    for event in seen[:-1]:
        if getattr(event, "mode", None) == "reset":
            assert event.payload.events == len(shown)
            shown, resets = [], resets + 1
        else:
            shown.append(event)
    assert shown == [f"{len(emitted)}.{n}" for n in range(1, emitted[-1] + 1)]
    expected = sum(map(bool, emitted[:-1])) if choice == "reset" else 0
    assert resets == expected
