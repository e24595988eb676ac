"""The story of a machine, its recording, and the errors that carry them."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.contract.events import AttemptEnded, CancelTask, Synced, Woken
from distgraph.engine.machine import Machine, replay
from distgraph.engine.transitions import Transition
from distgraph.errors import InvalidTransition
from distgraph.graph import START, StateGraph
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.types import RetryPolicy

from .corpus import CASES, Case, State, fan
from .play import Play, made


def playing(graph: Any, **more: Any) -> Play:
    play = Play(graph.compile(backend="local"), **more)
    play.start({"items": []})
    return play


def test_the_story_names_the_event_that_caused_a_transition() -> None:
    play = playing(fan())
    start = play.of("a")
    error = capture_error(ValueError("no"))
    out = play.end(start, made(start, "error", error=error))
    cancelled = next(i for i in out if isinstance(i, CancelTask))
    story = play.machine.story(cancelled.task_id)
    assert [t.finish for t in story] == ["attempt 1", "cancelled"]
    cause = play.machine.story(start.request.task_id)[-1]
    assert cause.finish == "error"
    assert (story[-1].event, story[-1].cause) == (cause.event, "AttemptEnded")


def test_the_story_is_plain_data() -> None:
    play = playing(fan())
    play.finish()
    story = play.machine.story()
    assert story[0] == Transition(1, "RunStarted", "", "", "new", "started")
    assert story[-1].finish == "done"
    assert [Transition(*entry) for entry in json.loads(json.dumps(story))] == list(story)


def test_an_impossible_outcome_carries_the_transition_and_the_story_of_its_task() -> None:
    play = playing(fan())
    start = play.of("a")
    play.end(start)
    with pytest.raises(InvalidTransition, match="is not running") as caught:
        play.machine.handle(AttemptEnded(made(start, "error")))
    error = caught.value
    task_id = start.request.task_id
    assert (error.task, error.start, error.finish) == (task_id, "absent", "error")
    assert [(t.id, t.start, t.finish) for t in error.story] == [
        (task_id, "waiting", "attempt 1"),
        (task_id, "attempt 1", "ok"),
    ]
    assert "waiting -> attempt 1" in str(error)


def test_the_error_survives_pickling_with_its_fields() -> None:
    play = playing(fan())
    start = play.of("a")
    late = replace(made(start), attempt=7)
    with pytest.raises(InvalidTransition) as caught:
        play.machine.handle(AttemptEnded(late))
    error = caught.value
    for back in (pickle.loads(pickle.dumps(error)), rebuild_error(capture_error(error))):
        assert type(back) is InvalidTransition
        assert vars(back).items() >= vars(error).items()
        assert str(back) == str(error)
    assert (error.start, error.finish) == ("attempt 1", "ok")


@pytest.mark.parametrize("event", [Woken("9"), Synced("9")])
def test_a_reply_that_nothing_waits_for_is_a_bug(event: Any) -> None:
    play = playing(fan())
    with pytest.raises(InvalidTransition, match="nothing waits for a reply to '9'"):
        play.machine.handle(event)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_replayed_recording_gives_the_same_instructions(case: Case, data: st.DataObject) -> None:
    play = Play(case.graph(), record=True)
    play.start(case.given)
    play.finish(lambda waits: waits[data.draw(st.integers(0, len(waits) - 1))])
    recording = play.machine.recording
    assert recording is not None
    # by their text: exceptions are equal to themselves only
    assert [repr(i) for out in replay(recording) for i in out] == [repr(i) for i in play.said]


def test_a_recording_replays_what_the_machine_drew() -> None:
    ids = iter(f"00000000-0000-0000-0000-{n:012d}" for n in range(100))
    policy = RetryPolicy(max_attempts=2)
    graph = StateGraph(State).add_node("a", lambda s: {}, retry_policy=policy).add_edge(START, "a")
    play = Play(
        graph.compile(backend="local"),
        new_checkpoint_id=lambda ns, step: next(ids),
        random=iter((0.25,)).__next__,
        record=True,
    )
    play.start({"items": []})
    start = play.of("a")
    play.end(start, made(start, "error", error=capture_error(OSError("no")), verdicts=(0,)))
    assert [wake.seconds for wake in play.wakes.values()] == [0.75]
    play.finish()
    recording = play.machine.recording
    assert recording is not None
    assert [i for out in replay(recording) for i in out] == play.said


def test_a_recording_keeps_events_as_they_came() -> None:
    play = Play(fan().compile(backend="local"), record=True)
    given = {"items": []}
    play.start(given)
    given["items"].append("later")
    recording = play.machine.recording
    assert recording is not None
    assert repr(recording.events) == "[RunStarted(input={'items': []})]"


def test_a_recording_can_be_dumped_and_replayed_elsewhere() -> None:
    graph = StateGraph(State).add_node("a", lambda s: None).add_edge(START, "a")
    play = Play(graph.compile(backend="local"), record=True)
    play.start({"items": [1], "n": 2})
    play.finish()
    back = pickle.loads(pickle.dumps(play.machine.recording))
    assert [i for out in replay(back) for i in out] == play.said


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    assert playing(fan()).machine.recording is None


# --- invariants -----------------------------------------------------------------------------------


def test_tests_check_the_invariants_after_every_event() -> None:
    assert Machine.validates


def test_a_graph_that_waits_for_nobody_is_found() -> None:
    play = playing(fan())
    play.machine._state.attempts.cancel(lambda _: True)
    with pytest.raises(InvalidTransition, match="graph 'LangGraph' is running, and waits for nob"):
        play.machine.validate()


def test_a_wrong_count_of_open_tasks_is_found() -> None:
    play = playing(fan())
    play.machine._root.open += 1
    with pytest.raises(InvalidTransition, match="counts 4 open tasks, and 3 run"):
        play.machine.validate()


def test_an_attempt_of_a_task_that_has_ended_is_found() -> None:
    play = playing(fan())
    next(iter(play.machine._state.attempts)).task.status = "done"
    with pytest.raises(InvalidTransition, match="an attempt of 'a' runs, and its task is done"):
        play.machine.validate()
