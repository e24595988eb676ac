"""What the machine asks for, event by event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import AttemptEnded, CancelTask, Emit, Finish, StartTask
from distgraph.errors import (
    EmptyInputError,
    GraphRecursionError,
    InvalidTransition,
    InvalidUpdateError,
    ParentCommand,
)
from distgraph.graph import END, START, StateGraph
from distgraph.serde.exceptions import capture_error
from distgraph.types import Command, Interrupt, Overwrite, RetryPolicy

from .corpus import State, adds, bottomless, builder, fan, join, map_reduce, nested, to_parent
from .play import Play, by_step, check_order, options


def playing(made: Any, value: Any = None, **more: Any) -> Play:
    play = Play(made.compile(backend="local"), options(**more))
    play.start({"items": []} if value is None else value)
    return play


def interrupts(*values: Any) -> tuple[Interrupt, ...]:
    return tuple(Interrupt(value, id=str(value)) for value in values)


# --- the start ------------------------------------------------------------------------------------


def test_the_first_step_starts_every_node_that_the_start_leads_to() -> None:
    play = playing(fan())
    assert play.names() == ["a", "b", "c"]
    assert [s.request.step for s in play.started] == [1, 1, 1]
    assert [s.request.attempt for s in play.started] == [1, 1, 1]
    assert play.payloads("values") == [{"items": []}]
    assert play.emitted("values")[0].step == 0


def test_nothing_starts_that_waits_for_a_node_at_work() -> None:
    play = playing(join())
    assert play.names() == ["a", "b"]
    play.end_node("b")
    assert play.names() == ["a"]
    play.end_node("a")
    assert play.names() == ["b2"]
    play.end_node("b2")
    assert play.names() == ["last"]


def test_the_request_carries_what_the_node_reads_and_the_versions_of_it() -> None:
    class Narrow(State, total=False):
        pass

    made = StateGraph(State).add_node("a", adds("a"), input_schema=Narrow).add_edge(START, "a")
    play = playing(made, {"items": [1], "n": 3})
    start = play.of("a")
    assert start.request.state == {"items": [1], "n": 3}
    assert start.request.reads == ("items", "n")
    graph = 1  # the root is the first graph of the run
    assert start.versions == {"items": (graph, 2), "n": (graph, 2)}


def test_a_version_changes_with_its_value_only() -> None:
    made = StateGraph(State)
    made.add_node("a", lambda s: {"n": 1}).add_node("b", lambda s: None).add_node("c", lambda s: {})
    made.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    play = playing(made)
    play.finish()
    versions = [start.versions for start in play.started]
    assert versions[1]["n"] == versions[2]["n"]
    assert versions[0]["items"] == versions[1]["items"] == versions[2]["items"]


def test_a_run_without_input_ends_with_the_remedy() -> None:
    play = Play(fan().compile(backend="local"))
    assert [type(i) for i in play.start(None)] == [Finish]
    assert play.result.status == "error"
    assert isinstance(play.result.error, EmptyInputError)
    assert "at least one state key" in str(play.result.error)


def test_an_input_of_another_type_is_the_run_s_error() -> None:
    play = playing(fan(), 7)
    assert play.result.status == "error"
    assert play.started == []


# --- outcomes -------------------------------------------------------------------------------------


def test_the_updates_of_a_task_come_when_it_ends_and_the_values_once_behind_the_step() -> None:
    play = playing(fan())
    assert play.end_node("b") == play.emitted()[-2:]
    assert [e.mode for e in play.emitted()[-2:]] == ["updates", "tasks"]
    play.end_node("a")
    assert len(play.payloads("values")) == 1
    play.end_node("c")
    assert play.payloads("updates") == [{n: {"items": [n]}} for n in "bac"]
    assert play.payloads("values")[1:] == [{"items": ["a", "b", "c"]}]


@pytest.mark.parametrize("attempt", [0, 2])
def test_an_outcome_of_another_attempt_is_a_bug(attempt: int) -> None:
    play = playing(fan())
    task_id = play.of("a").request.task_id
    with pytest.raises(InvalidTransition, match=f"attempt {attempt} of task {task_id}"):
        play.machine.handle(AttemptEnded(AttemptOutcome(task_id, attempt, "ok")))


def test_an_outcome_that_comes_twice_is_a_bug() -> None:
    play = playing(fan())
    start = play.of("a")
    play.end(start)
    with pytest.raises(InvalidTransition, match="is not running"):
        play.machine.handle(AttemptEnded(AttemptOutcome(start.request.task_id, 1, "ok")))


def test_an_event_of_no_known_kind_is_a_bug() -> None:
    play = playing(fan())
    with pytest.raises(InvalidTransition, match="does not know the event"):
        play.machine.handle("stop")  # type: ignore[arg-type]


def test_an_error_ends_the_run_behind_what_the_node_had_written() -> None:
    play = playing(fan())
    error = capture_error(ValueError("no"))
    out = play.end_node("b", status="error", error=error, writes=(("items", ["b"]),))
    assert [type(i) for i in out] == [Emit, Emit, CancelTask, CancelTask, Finish]
    assert isinstance(out[0], Emit) and out[0].payload == {"b": {"items": ["b"]}}
    assert isinstance(out[1], Emit) and out[1].payload["error"] is error
    assert play.result.error is error


def refuse(left: list[str], right: list[str]) -> list[str]:
    if right == ["b"]:
        raise ArithmeticError("reducer")
    return left + right


class Refusing(TypedDict):
    items: Annotated[list[str], refuse]


def test_a_reducer_that_fails_ends_the_run() -> None:
    made = StateGraph(Refusing)
    for name in "ab":
        made.add_node(name, adds(name)).add_edge(START, name)
    play = playing(made)
    finish = play.finish()
    assert finish.status == "error" and isinstance(finish.error, ArithmeticError)


def test_two_overwrites_of_a_key_in_one_step_name_their_nodes() -> None:
    made = StateGraph(State)
    for name in "ab":
        made.add_node(name, lambda s: {"items": Overwrite([])}).add_edge(START, name)
    finish = playing(made).finish()
    assert isinstance(finish.error, InvalidUpdateError)
    assert "key 'items' was written by 'a', 'b'" in str(finish.error)


# --- limits and breakpoints -----------------------------------------------------------------------


def test_the_recursion_limit_names_the_graph_and_what_would_run_next() -> None:
    play = playing(bottomless(), limit=3)
    finish = play.finish()
    assert isinstance(finish.error, GraphRecursionError)
    assert "recursion limit of 3 supersteps" in str(finish.error) and "'a'" in str(finish.error)
    assert max(start.request.step for start in play.started) == 3
    assert {start.request.stop for start in play.started} == {3}


def test_a_limit_of_exactly_what_is_needed_suffices() -> None:
    # two steps of nodes, and one that sees that nothing is left to do
    assert playing(fan(), limit=3).finish().status == "done"
    assert playing(fan(), limit=2).finish().status == "error"


def test_a_breakpoint_before_a_node_ends_the_run_with_the_state_so_far() -> None:
    play = playing(fan(), interrupt_before=("last",))
    finish = play.finish()
    assert finish == Finish("interrupted", {"items": ["a", "b", "c"]})
    assert play.payloads("updates")[-1] == {"__interrupt__": ()}
    assert "last" not in [start.request.node for start in play.started]


def test_a_breakpoint_after_a_node_lets_it_write() -> None:
    play = playing(join(), interrupt_after=("a",))
    finish = play.finish()
    assert finish == Finish("interrupted", {"items": ["a", "b"]})
    assert sorted(s.request.node for s in play.started) == ["a", "b"]


def test_breakpoints_of_a_run_replace_those_of_the_graph() -> None:
    graph = fan().compile(backend="local", interrupt_before=["last"])
    for run, status in ((options(), "interrupted"), (options(interrupt_before=()), "done")):
        play = Play(graph, run)
        play.start({"items": []})
        assert play.finish().status == status


def test_a_breakpoint_before_everything_starts_nothing() -> None:
    play = playing(fan(), interrupt_before="*")
    assert play.result == Finish("interrupted", {"items": []})
    assert play.started == []


# --- interrupts -----------------------------------------------------------------------------------


def test_an_interrupt_waits_for_its_step_and_ends_the_run() -> None:
    play = playing(fan())
    play.end_node("a", status="interrupt", interrupts=interrupts("why?"))
    assert not play.machine.finished
    play.end_node("b")
    play.end_node("c")
    assert play.result.status == "interrupted"
    assert play.result.interrupts == interrupts("why?")
    assert {"__interrupt__": interrupts("why?")} in play.payloads("updates")
    assert "last" not in [start.request.node for start in play.started]
    check_order(play)


@pytest.mark.parametrize("order", ["abc", "bca", "cba"])
def test_of_an_interrupted_step_the_others_writes_are_kept(order: str) -> None:
    play = playing(fan())
    for name in order:
        outcome = {"status": "interrupt", "interrupts": interrupts("?")} if name == "b" else {}
        play.end_node(name, **outcome)
    assert play.result.value == {"items": ["a", "c"]}


def test_an_interrupt_in_a_subgraph_ends_the_graphs_around_it() -> None:
    play = playing(nested())
    for name in ("o1", "m1", "i1"):
        play.end_node(name)
    play.end_node("i2", status="interrupt", interrupts=interrupts("deep"))
    assert play.result.status == "interrupted"
    assert play.result.interrupts == interrupts("deep")
    check_order(play)


def test_every_interrupt_of_a_step_is_told() -> None:
    play = playing(fan())
    for name in "cab":
        play.end_node(name, status="interrupt", interrupts=interrupts(name))
    assert {i.value for i in play.result.interrupts} == set("abc")


# --- subgraphs and commands -----------------------------------------------------------------------


def test_nodes_of_subgraphs_are_attempts_of_the_same_run() -> None:
    play = playing(nested())
    assert sorted(play.names()) == ["i1", "i2", "m1", "o1"]
    by_name = {s.request.node: s.request for s in play.running.values()}
    assert by_name["i1"].graph_path == ("middle", "inner")
    assert by_name["m1"].graph_path == ("middle",)
    assert by_name["o1"].ns == ()
    assert [part.split(":")[0] for part in by_name["i1"].ns] == ["middle", "inner"]
    assert by_name["i1"].ns == (*by_name["m1"].ns, by_name["i1"].ns[1])


def test_a_subgraph_that_is_left_takes_its_siblings_with_it_and_nobody_else() -> None:
    play = playing(to_parent())
    siblings = {play.of(name).request.task_id for name in ("s1", "s2")}
    out = play.end_node("leave")
    assert {i.task_id for i in out if isinstance(i, CancelTask)} == siblings
    assert play.names() == ["beside"]
    play.end_node("beside")
    assert play.names() == ["target"]
    assert play.finish().value == {"items": ["beside", "left", "target"]}


def test_leaving_the_root_ends_the_run_where_a_node_has_started_it() -> None:
    command = Command(graph=Command.PARENT, goto="there")
    play = playing(fan(), has_parent=True, ns=("outer:1",))
    out = play.end_node("a", status="command", value=command)
    assert len([i for i in out if isinstance(i, CancelTask)]) == 2
    assert play.result == Finish("command", command)


def test_leaving_the_root_is_an_error_elsewhere() -> None:
    play = playing(fan())
    play.end_node("a", status="command", value=Command(graph=Command.PARENT))
    assert isinstance(play.result.error, ParentCommand)
    assert "no subgraph" in str(play.result.error)


def test_a_subgraph_with_a_conditional_edge_behind_it_is_finished_on_a_worker() -> None:
    inner = builder("i").add_edge(START, "i").compile(backend="local")
    made = builder("x").add_node("inner", inner).add_edge(START, "inner")
    made.add_conditional_edges("inner", lambda state: "x" if state["items"] else END)
    play = playing(made)
    play.end_node("i")
    request = play.of("inner").request
    assert (request.kind, request.input) == ("writers", {"items": ["i"]})
    assert request.ns == () and request.reads is None
    play.end_node("inner")
    assert play.names() == ["x"]
    assert play.finish().value == {"items": ["i", "x"]}
    check_order(play)


# --- what the caller looks at ---------------------------------------------------------------------


def test_only_what_is_looked_at_is_emitted() -> None:
    play = playing(fan(), modes=frozenset({"custom"}))
    play.finish()
    assert play.emitted() == []
    assert play.result.value == {"items": ["a", "b", "c", "last"]}


def test_subgraphs_are_silent_unless_they_are_asked_for() -> None:
    play = playing(nested(), subgraphs=False)
    play.finish()
    assert {emit.ns for emit in play.emitted()} == {()}
    loud = playing(nested())
    loud.finish()
    assert {key: v for key, v in by_step(loud).items() if key[0] == ()} == by_step(play)


def test_output_keys_choose_what_values_and_updates_show() -> None:
    play = playing(fan(), output_keys="items", modes=frozenset({"values", "updates"}))
    finish = play.finish()
    assert finish.value == ["a", "b", "c", "last"]
    assert play.payloads("values")[-1] == finish.value
    assert play.payloads("updates")[0] == {"a": ["a"]}


def test_a_step_that_changes_nothing_shown_gives_no_values() -> None:
    made = StateGraph(State).add_node("a", lambda s: None).add_edge(START, "a")
    play = playing(made)
    assert play.finish().value == {"items": []}
    assert play.payloads("values") == [{"items": []}]
    assert play.payloads("updates") == [{"a": None}]


def test_the_caller_s_metadata_is_on_every_task_those_of_subgraphs_included() -> None:
    play = playing(nested(), metadata={"user": "u", "langgraph_step": "no"}, tags=("t",))
    play.finish()
    for start in play.started:
        metadata = start.request.metadata
        assert metadata["user"] == "u"
        assert metadata["langgraph_step"] == start.request.step
        assert metadata["langgraph_node"] == start.request.node
    shown = [e.payload["metadata"] for e in play.emitted("tasks") if e.debug_type == "task"]
    assert shown and all(entry == {"user": "u", "tags": ["t"]} for entry in shown)


def test_a_node_s_metadata_is_on_its_own_tasks() -> None:
    made = builder("plain").add_node("own", adds("own"), metadata={"team": "x"})
    made.add_edge(START, "plain").add_edge(START, "own")
    play = playing(made, metadata={"team": "all", "user": "u"})
    teams = {s.request.node: s.request.metadata["team"] for s in play.started}
    assert teams == {"plain": "all", "own": "x"}


def test_sends_carry_their_own_input_and_no_state() -> None:
    play = playing(map_reduce())
    play.end_node("split")
    sent = [s.request for s in play.running.values() if s.request.node == "square"]
    assert [r.input for r in sent] == [{"n": 3}, {"n": 1}, {"n": 2}]
    assert [r.reads for r in sent] == [None] * 3
    assert [r.state for r in sent] == [{}] * 3
    assert [r.metadata["langgraph_path"] for r in sent] == [
        ("__pregel_push", i, False) for i in range(3)
    ]


@dataclass
class Point:
    items: list[Any]
    n: int = 0


def test_a_task_s_input_is_shown_as_its_node_gets_it() -> None:
    made = StateGraph(Point).add_node("a", lambda s: {"n": len(s.items)}).add_edge(START, "a")
    play = playing(made, {"items": [1, 2]})
    (shown,) = (e.payload["input"] for e in play.emitted("tasks"))
    assert shown == Point([1, 2])
    assert isinstance(play.started[0], StartTask)
    assert play.finish().value == {"items": [1, 2], "n": 2}


def test_an_answer_to_an_interrupt_is_refused_without_a_checkpointer() -> None:
    graph = StateGraph(dict).add_node("a", lambda s: None).add_edge(START, "a")
    with pytest.raises(RuntimeError, match="without checkpointer"):
        graph.compile(backend="local").invoke(Command(resume="yes"))


# --- the limit of a superstep ---------------------------------------------------------------------


def test_each_superstep_has_the_whole_limit() -> None:
    graph = fan().compile(backend="local")
    graph.step_timeout = 5
    play = Play(graph)
    play.start({"items": []})
    for name in "abc":
        play.end_node(name)
    first, second = (key for key, wake in play.wakes.items() if wake.seconds == 5)
    assert play.wake(first) == []
    assert play.names() == ["last"]
    out = play.wake(second)
    assert isinstance(out[0], CancelTask)
    assert isinstance(play.result.error, TimeoutError)


def test_a_retry_waits_within_the_limit_of_its_superstep() -> None:
    made_up = StateGraph(State).add_node("a", lambda s: {}, retry_policy=RetryPolicy())
    graph = made_up.add_edge(START, "a").compile(backend="local")
    graph.step_timeout = 5
    play = Play(graph, random=lambda: 0.0)
    play.start({"items": []})
    play.end_node("a", status="error", error=capture_error(OSError("no")), verdicts=(0,))
    limit = next(key for key, wake in play.wakes.items() if wake.seconds == 5)
    play.wake(limit)
    assert isinstance(play.result.error, TimeoutError)


def test_a_graph_without_a_limit_asks_for_no_timer() -> None:
    graph = fan().compile(backend="local")
    graph.step_timeout = 0
    play = Play(graph)
    play.start({"items": []})
    assert play.wakes == {}


@pytest.mark.parametrize("given", [-1, "5", True])
def test_a_limit_that_is_no_number_of_seconds_is_refused(given: Any) -> None:
    graph = fan().compile(backend="local")
    with pytest.raises(ValueError, match="step_timeout takes seconds or None, got"):
        graph.step_timeout = given
