"""The engine's rules for calls, without a backend: messages in any order give the same run."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgraph._internal.keys import PUSH, RETURN
from distgraph.constants import END
from distgraph.contract.calls import DroppedCall, TaskCall
from distgraph.contract.events import (
    AttemptEnded,
    CallDropped,
    CancelTask,
    Emit,
    Finish,
    ReturnCall,
    RunStarted,
    StartTask,
    TaskCalled,
    Woken,
)
from distgraph.engine.machine import Machine
from distgraph.func import entrypoint
from distgraph.serde.exceptions import capture_error
from distgraph.types import Interrupt, RetryPolicy
from tests.engine.play import Play, made, options


@entrypoint(backend="local")
def workflow(number):
    """Never run here: the tests say what it does."""


def begun(graph=workflow):
    play = Play(graph)
    play.start(3)
    return play


def call_of(start, seq, name="task", number=None, **fields):
    request = start.request
    number = seq if number is None else number
    given = ((seq,), {})
    return TaskCall(request.task_id, request.attempt, seq, number, name, given, None, "k", **fields)


def called(play, call):
    return play._handle(TaskCalled(call))


def dropped(play, start, seq):
    request = start.request
    return play._handle(CallDropped(DroppedCall(request.task_id, request.attempt, seq)))


def ok(start, value):
    return made(start, writes=((RETURN, value),))


def ended(start, value, calls=0):
    return made(start, writes=((END, value),), calls=calls)


def returns(instructions):
    return [i.result for i in instructions if isinstance(i, ReturnCall)]


def starts(instructions):
    return [i for i in instructions if isinstance(i, StartTask)]


def test_a_call_is_a_task_of_the_running_step():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    request = start.request
    assert (request.step, request.ns, request.node) == (0, (), "task")
    assert request.metadata["langgraph_path"] == (PUSH, ("__pregel_pull", "workflow"), 0, True)
    assert request.metadata["langgraph_checkpoint_ns"].startswith(
        f"workflow:{flow.request.task_id}|task:{request.task_id}"
    )
    (result,) = returns(play.end(start, ok(start, "value")))
    assert (result.task_id, result.seq, result.value) == (flow.request.task_id, 0, "value")
    play.end(flow, ended(flow, "done", calls=1))
    assert play.result.value == "done"


def test_the_step_ends_with_the_last_call():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    play.end(flow, ended(flow, "done", calls=1))
    assert not play.machine.finished
    play.end(start, ok(start, 1))
    assert play.result == Finish("done", "done")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_calls_are_taken_in_the_order_in_which_they_were_made(order):
    play = begun()
    flow = play.of("workflow")
    calls = [call_of(flow, seq) for seq in range(3)]
    out = [i for at in order for i in called(play, calls[at])]
    assert [start.request.input[0][0] for start in starts(out)] == [0, 1, 2]
    told = [i.payload["input"] for i in out if isinstance(i, Emit) and i.mode == "tasks"]
    assert told == [((seq,), {}) for seq in range(3)]


def test_an_outcome_waits_for_the_calls_that_were_made_before_it():
    play = begun()
    flow = play.of("workflow")
    assert play.machine.handle(AttemptEnded(ended(flow, "done", calls=1))) == []
    (start,) = starts(play.machine.handle(TaskCalled(call_of(flow, 0))))
    out = play.machine.handle(AttemptEnded(ok(start, 1)))
    assert out[-1] == Finish("done", "done")


def test_a_call_that_is_told_twice_is_made_once():
    play = begun()
    flow = play.of("workflow")
    assert len(starts(called(play, call_of(flow, 0)))) == 1
    assert called(play, call_of(flow, 0)) == []


def test_a_failure_is_the_callers_to_handle():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    error = capture_error(KeyError("x"))
    (result,) = returns(play.end(start, made(start, "error", error=error)))
    assert result.error is error and not play.machine.finished
    play.end(flow, ended(flow, "caught", calls=1))
    assert play.result.value == "caught"


def test_a_question_stops_the_caller_and_is_told_once():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    asked = (Interrupt("?", "id"),)
    (result,) = returns(play.end(start, made(start, "interrupt", interrupts=asked)))
    assert result.interrupts == asked
    play.end(flow, made(flow, "interrupt", interrupts=asked, calls=1))
    assert play.result.status == "interrupted" and play.result.interrupts == asked
    assert play.payloads("updates") == [{"__interrupt__": asked}]


def test_a_call_that_is_dropped_is_cancelled():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    out = dropped(play, flow, 0)
    assert CancelTask(start.request.task_id, 1) in out and not returns(out)
    play.end(flow, ended(flow, "done", calls=1))
    assert play.result.value == "done"


def test_a_call_may_be_dropped_before_it_is_known():
    play = begun()
    flow = play.of("workflow")
    assert dropped(play, flow, 0) == []
    out = called(play, call_of(flow, 0))
    assert [type(i).__name__ for i in out if isinstance(i, (StartTask, CancelTask))] == [
        "StartTask",
        "CancelTask",
    ]
    play.end(flow, ended(flow, "done", calls=1))
    assert play.result.value == "done"


def test_dropping_a_call_that_has_ended_does_nothing():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    play.end(start, ok(start, 1))
    assert dropped(play, flow, 0) == []


def test_another_attempt_of_the_caller_finds_its_calls():
    policy = RetryPolicy(max_attempts=2, retry_on=KeyError)
    flaky = entrypoint(backend="local", retry_policy=policy)(workflow.decorated.func)
    play = begun(flaky)
    first = play.of("workflow")
    done, running = starts(
        [*called(play, call_of(first, 0, "done")), *called(play, call_of(first, 1, "running"))]
    )
    play.end(done, ok(done, "early"))
    error = capture_error(KeyError("x"))
    (wake,) = play.end(first, made(first, "error", error=error, verdicts=(0,), calls=2))
    play._handle(Woken(wake.key))
    second = play.of("workflow")
    assert second.request.attempt == 2
    out = [*called(play, call_of(second, 0, "done")), *called(play, call_of(second, 1, "running"))]
    assert not starts(out)
    assert [(r.attempt, r.seq, r.value) for r in returns(out)] == [(2, 0, "early")]
    out = play.end(running, ok(running, "late"))
    assert [(r.attempt, r.seq, r.value) for r in returns(out)] == [(1, 1, "late"), (2, 1, "late")]


def test_parts_of_a_node_number_their_calls_apart():
    play = begun()
    flow = play.of("workflow")
    ids = {
        starts(called(play, call_of(flow, seq, number=number)))[0].request.task_id
        for seq, number in enumerate((0, 3, 6))
    }
    assert len(ids) == 3


def test_cancelling_the_run_cancels_the_calls():
    play = begun()
    flow = play.of("workflow")
    (start,) = starts(called(play, call_of(flow, 0)))
    cancelled = {i.task_id for i in play.cancel() if isinstance(i, CancelTask)}
    assert cancelled == {flow.request.task_id, start.request.task_id}
    assert called(play, call_of(flow, 1)) == []


@given(data=st.data())
def test_any_order_of_messages_gives_the_same_run(data):
    """Calls, their ends and the caller's end, in whatever order they reach the driver."""
    machine = Machine(workflow.spec, options())
    (flow,) = starts(machine.handle(RunStarted(3)))
    count = 4
    messages = [TaskCalled(call_of(flow, seq, f"task{seq}")) for seq in range(count)]
    messages.append(AttemptEnded(ended(flow, "done", calls=count)))
    told = []
    while messages:
        message = messages.pop(data.draw(st.integers(0, len(messages) - 1)))
        out = machine.handle(message)
        messages += [AttemptEnded(ok(start, start.request.node)) for start in starts(out)]
        told += [i.payload["name"] for i in out if isinstance(i, Emit) and i.debug_type == "task"]
        assert machine.finished == (not messages)
    assert out[-1] == Finish("done", "done")
    assert told == [f"task{seq}" for seq in range(count)]
