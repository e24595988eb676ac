"""In whatever order attempts end, a run comes to the same, and says it in an order that holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.constants import START
from distgraph.contract.events import AttemptEnded, CancelTask, Emit, Finish, StartTask
from distgraph.serde.exceptions import capture_error

from .corpus import CASES, ENDING, Case
from .play import Play, attempt, by_step, check_order, made

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ending = pytest.mark.parametrize("case", ENDING, ids=lambda case: case.name)


def drawn(data: st.DataObject) -> Any:
    return lambda running: running[data.draw(st.integers(0, len(running) - 1))]


def error_text(finish: Finish) -> str:
    return getattr(finish.error, "message", None) or str(finish.error)


@cases
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_result_does_not_depend_on_who_ends_first(case: Case, data: st.DataObject) -> None:
    play = Play(case.graph())
    play.start(case.given)
    finish = play.finish(drawn(data))
    assert finish.status == case.status
    if case.status == "done":
        assert finish.value == case.value
    else:
        assert case.value in error_text(finish)
    check_order(play)


# what the siblings of a node that leaves its graph still say depends on who ends first
@pytest.mark.parametrize("case", [c for c in ENDING if c.name != "to_parent"], ids=lambda c: c.name)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_each_step_says_the_same_in_another_order(case: Case, data: st.DataObject) -> None:
    first, other = Play(case.graph()), Play(case.graph())
    for play, choose in ((first, None), (other, drawn(data))):
        play.start(case.given)
        play.finish(choose)
    assert by_step(first) == by_step(other)
    tasks = {start.request.task_id for start in first.started}
    assert tasks == {start.request.task_id for start in other.started}


@ending
def test_the_local_backend_comes_to_the_same(case: Case) -> None:
    assert case.graph().invoke(case.given) == case.value


@cases
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_cancelled_run_ends_at_once_wherever_it_is(case: Case, data: st.DataObject) -> None:
    play = Play(case.graph())
    play.start(case.given)
    for _ in range(data.draw(st.integers(0, 6))):
        if play.machine.finished:
            break
        play.end(drawn(data)(list(play.running.values())))
    if play.machine.finished:
        assert play.cancel() == []
        return
    running = set(play.running)
    out = play.cancel()
    assert out[-1] == Finish("cancelled")
    assert len(out) == len(running) + 1
    cancelled = [i for i in out if isinstance(i, CancelTask)]
    assert {(c.task_id, c.attempt) for c in cancelled} == running
    assert play.machine.running == 0


@cases
def test_what_still_comes_after_the_end_does_nothing(case: Case) -> None:
    play = Play(case.graph())
    play.start(case.given)
    late = list(play.running.values())
    outcomes = [attempt(play.graph, start.request, play.run)[0] for start in late]
    play.cancel()
    assert [play.machine.handle(AttemptEnded(outcome)) for outcome in outcomes] == [[]] * len(late)
    assert play.cancel() == []
    assert play.machine.finished


@cases
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_failure_cancels_whatever_is_at_work(case: Case, data: st.DataObject) -> None:
    play = Play(case.graph())
    play.start(case.given)
    for _ in range(data.draw(st.integers(0, 3))):
        if play.machine.finished:
            return
        play.end(drawn(data)(list(play.running.values())))
    if play.machine.finished:
        return
    victim = drawn(data)(list(play.running.values()))
    others = set(play.running) - {(victim.request.task_id, victim.request.attempt)}
    out = play.end(victim, made(victim, "error", error=capture_error(ValueError("no"))))
    cancelled = [i for i in out if isinstance(i, CancelTask)]
    assert {(c.task_id, c.attempt) for c in cancelled} == others
    assert isinstance(out[-1], Finish) and out[-1].status == "error"
    assert not any(isinstance(i, StartTask) for i in out)
    results = [i for i in out if isinstance(i, Emit) and i.debug_type == "task_result"]
    node, ns = victim.request.node, victim.request.ns
    names = [*([] if node == START else [node]), *(part.split(":")[0] for part in reversed(ns))]
    assert [r.payload["name"] for r in results] == names
    assert all(r.payload["error"].message == "no" for r in results)
