"""Failed attempts in the engine: what follows them, in any order of what happens."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from distgraph.contract.attempt import Lateness, Standing
from distgraph.contract.events import CancelTask, Finish, StartTask, Wake, Woken
from distgraph.contract.retries import delay_before, policies_of, verdicts_on
from distgraph.contract.stream import Admit, Commit, Fence
from distgraph.errors import NodeError, NodeTimeoutError, WorkerDied
from distgraph.graph import START, StateGraph
from distgraph.serde.exceptions import capture_error
from distgraph.types import RetryPolicy, TimeoutPolicy
from distgraph.worker.attempt import locate
from tests.driver.fake import FakeRun
from tests.engine.play import Play, check_order, lost


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]


def policy(**given: Any) -> RetryPolicy:
    return RetryPolicy(**{"initial_interval": 1.0, "jitter": False, **given})


def fails(times: int, error: type[Exception] = ConnectionError) -> Any:
    def node(state: State, runtime: Any) -> State:
        number = runtime.execution_info.node_attempt
        if number <= times:
            raise error(str(number))
        return {"items": [f"after {number}"]}

    return node


def one(node: Any, **options: Any) -> Any:
    builder = StateGraph(State).add_node("n", node, **options).add_edge(START, "n")
    return builder.compile(backend="local")


# --- the times between attempts -----------------------------------------------------------------


def test_the_times_grow_up_to_a_limit_and_end_with_the_attempts() -> None:
    grows = policy(initial_interval=0.5, backoff_factor=3.0, max_interval=4.0, max_attempts=5)
    found = [delay_before(grows, failures, lambda: 0.25) for failures in range(1, 6)]
    assert found == [0.5, 1.5, 4.0, 4.0, None]


def test_jitter_adds_a_part_of_a_second() -> None:
    assert delay_before(policy(jitter=True), 1, lambda: 0.25) == 1.25


def test_the_machines_own_jitter_is_the_same_whenever_the_run_is_played() -> None:
    graph = one(fails(1), retry_policy=policy(jitter=True))
    waits = []
    for _ in range(2):
        play = Play(graph)
        play.start({})
        play.finish()
        waits.append([said.seconds for said in play.said if isinstance(said, Wake)])
    assert waits[0] == waits[1]
    assert 1.0 <= waits[0][0] < 2.0


# --- what a policy names --------------------------------------------------------------------------


def test_the_levels_of_a_failure_go_outwards() -> None:
    inner = one(fails(1), retry_policy=policy(retry_on=KeyError))
    middle = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile()
    outer = StateGraph(State)
    outer.add_node("middle", middle, retry_policy=[policy(), policy(retry_on=ValueError)])
    graph = outer.add_edge(START, "middle").compile(backend="local")
    play = Play(graph)
    play.start({})
    levels = locate(graph.program, play.of("n").request).levels
    assert [len(level) for level in levels] == [1, 0, 2]
    assert verdicts_on(levels, KeyError()) == (0, None, None)
    assert verdicts_on(levels, ValueError()) == (None, None, 1)


@pytest.mark.parametrize("given", [3, [3], policy(retry_on=3)])
def test_what_is_no_policy_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="retry_"):
        policies_of(given)


def test_langgraphs_policies_and_errors_become_ours() -> None:
    from langgraph.errors import NodeTimeoutError as Theirs
    from langgraph.types import RetryPolicy as TheirPolicy

    (default,) = policies_of(TheirPolicy())
    (late,) = policies_of(TheirPolicy(retry_on=Theirs))
    assert default == RetryPolicy()
    assert verdicts_on([[default], [late]], WorkerDied("gone")) == (0, None)
    assert verdicts_on([[late]], NodeTimeoutError("n", 1.0, kind="run", run_timeout=1.0)) == (0,)


# --- attempts -------------------------------------------------------------------------------


def test_the_next_attempt_is_the_same_one_again_after_a_while() -> None:
    play = Play(one(fails(1), retry_policy=policy()))
    play.start({"items": ["in"]})
    (first,) = play.running.values()
    play.end(first)
    assert not play.running
    assert [wake.seconds for wake in play.wakes.values()] == [1.0]
    play.wake()
    (second,) = play.running.values()
    assert second.request.first_attempt_at is not None
    assert second.request == replace(
        first.request, attempt=2, tries=2, first_attempt_at=second.request.first_attempt_at
    )
    assert play.finish().value == {"items": ["in", "after 2"]}


def test_nothing_is_told_of_an_attempt_that_is_followed_by_another() -> None:
    play = Play(one(fails(2), retry_policy=policy()))
    play.start({})
    play.finish()
    assert play.payloads("updates") == [{"n": {"items": ["after 3"]}}]
    (_, ended) = play.payloads("tasks")
    assert ended["error"] is None


def test_a_run_that_is_cancelled_while_it_waits_starts_nothing_more() -> None:
    play = Play(one(fails(1), retry_policy=policy()))
    play.start({})
    play.end_node("n")
    play.cancel()
    assert play.result.status == "cancelled"
    assert play.wake() == []


def test_a_sibling_that_fails_ends_the_waiting() -> None:
    builder = StateGraph(State).add_node("n", fails(1), retry_policy=policy())
    builder.add_node("m", fails(1)).add_edge(START, "n").add_edge(START, "m")
    play = Play(builder.compile(backend="local"))
    play.start({})
    play.end_node("n")
    play.end_node("m")
    assert play.result.status == "error"
    assert play.wake() == []


def test_the_death_of_a_worker_is_judged_by_the_driver_and_its_stream_is_fenced() -> None:
    play = FakeRun(one(lambda state: {"items": ["ok"]}, retry_policy=policy()))
    play.start({})
    play.backend.arrived = 1
    start = play.of("n")
    play.lose(start, WorkerDied("the process is gone"))
    (key,) = play.backend.wakes
    play.post(Woken(key))
    again = play.of("n")
    assert again.request.attempt == 2
    play.end(again)
    assert play.finished is not None and play.finished.value == {"items": ["ok"]}
    task = start.request.task_id
    told = [(type(op), op.attempt) for op in play.ops if getattr(op, "task_id", None) == task]
    assert told == [(Admit, 1), (Fence, 1), (Admit, 2), (Commit, 2)]


@pytest.mark.parametrize(("named", "again"), [(WorkerDied, True), (ValueError, False)])
def test_a_policy_may_name_the_death_of_a_worker(named: Any, again: bool) -> None:
    play = Play(one(fails(0), retry_policy=policy(retry_on=named)))
    play.start({})
    play.end(play.of("n"), lost(play.of("n"), capture_error(WorkerDied("gone"))))
    assert bool(play.wakes) is again


def test_an_attempt_that_took_too_long_fails_with_what_it_had() -> None:
    timeout = TimeoutPolicy(run_timeout=2, idle_timeout=1)
    play = Play(one(fails(0), timeout=timeout, retry_policy=policy(max_attempts=2)))
    play.start({})
    play.end_node("n", status="timeout", late=Lateness("idle", 1.5))
    play.wake()
    play.end_node("n", status="timeout", late=Lateness("run", 2.1))
    error = play.result.error
    assert isinstance(error, NodeTimeoutError)
    assert (error.kind, error.timeout, error.elapsed) == ("run", 2.0, 2.1)
    assert error.idle_timeout == 1.0


def test_graphs_that_the_node_invokes_go_on_from_what_they_saved() -> None:
    play = Play(one(fails(1), retry_policy=policy()))
    play.start({})
    start = play.of("n")
    standing = Standing("checkpoint", {})
    running = play.machine._state.attempts._running
    asked = replace(start, request=replace(start.request, standing=standing))
    running[start.request.task_id] = running[start.request.task_id]._replace(start=asked)
    play.end(start)
    play.wake()
    assert play.of("n").request.standing == replace(standing, resuming=True)


def test_a_subgraph_that_failed_is_dropped_with_all_that_runs_in_it() -> None:
    inner = StateGraph(State).add_node("bad", fails(9)).add_node("slow", fails(0))
    inner.add_edge(START, "bad").add_edge(START, "slow")
    outer = StateGraph(State).add_node("inner", inner.compile(), retry_policy=policy())
    play = Play(outer.add_edge(START, "inner").compile(backend="local"))
    play.start({})
    out = play.end_node("bad")
    assert [type(said) for said in out if not hasattr(said, "mode")] == [CancelTask, Wake]
    play.wake()
    assert sorted(play.names()) == ["bad", "slow"]
    ids = [start.request.task_id for start in play.started]
    assert len(set(ids)) == len(ids)


def test_a_subgraph_has_its_run_timeout_from_the_engine() -> None:
    inner = one(fails(0))
    outer = StateGraph(State).add_node("inner", inner, timeout=5)
    play = Play(outer.add_edge(START, "inner").compile(backend="local"))
    play.start({})
    (wake,) = play.wakes.values()
    assert wake.seconds == 5.0
    play.wake()
    error = play.result.error
    assert isinstance(error, NodeTimeoutError) and error.node == "inner"


def test_the_time_of_a_subgraph_that_ended_is_forgotten() -> None:
    outer = StateGraph(State).add_node("inner", one(fails(0)), timeout=5).add_node("m", fails(0))
    outer.add_edge(START, "inner").add_edge("inner", "m")
    play = Play(outer.compile(backend="local"))
    play.start({})
    play.end_node("n")
    play.wake()
    assert play.finish().status == "done"


# --- any order ------------------------------------------------------------------------------


def _handled(state: State, error: NodeError) -> State:
    return {"items": [f"handled {error.node}"]}


def _wide(failures: list[int]) -> Any:
    """Nodes of one step that fail so often, behind them one that joins."""
    builder = StateGraph(State)
    names = [f"n{index}" for index in range(len(failures))]
    for name, times in zip(names, failures, strict=True):
        builder.add_node(
            name, fails(times), retry_policy=policy(max_attempts=3), error_handler=_handled
        )
        builder.add_edge(START, name)
    inner = StateGraph(State).add_node("deep", fails(1), retry_policy=policy(max_attempts=2))
    inner.add_edge(START, "deep")
    builder.add_node("sub", inner.compile()).add_edge(START, "sub")
    builder.add_node("end", lambda state: {"items": ["end"]}, defer=True)
    for name in (*names, "sub"):
        builder.add_edge(name, "end")
    return builder.compile(backend="local")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_whatever_the_order_the_state_is_the_same(failures: list[int], data: Any) -> None:
    play = Play(_wide(failures))
    play.start({"items": []})
    finish = play.finish(lambda waits: data.draw(st.sampled_from(waits)))
    check_order(play)
    expected = [
        f"handled n{index}" if times > 2 else f"after {times + 1}"
        for index, times in enumerate(failures)
    ]
    assert isinstance(finish, Finish) and finish.status == "done"
    assert finish.value == {"items": [*expected, "after 2", "end"]}
    attempts = [s for s in play.started if s.request.node.startswith("n")]
    assert len(attempts) == sum(min(times, 2) + 1 for times in failures)
    assert all(isinstance(start, StartTask) for start in attempts)
