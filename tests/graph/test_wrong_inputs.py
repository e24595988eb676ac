"""What is wrong is refused where it is given: the message names the node or option and a remedy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

import distgraph
from distgraph import START, RetryPolicy, StateGraph
from distgraph._internal import mistakes
from tests.support.graphs import Items, adds, one


def built(node: Any = None, **options: Any) -> Any:
    builder: Any = StateGraph(Items)
    return builder.add_node("f", adds("f") if node is None else node, **options).add_edge(
        START, "f"
    )


def graph(node: Any = None) -> Any:
    return built(node).compile(name="g", backend="local")


@dataclass
class User:
    name: str


def tools(*given: Any) -> Any:
    pytest.importorskip("langchain_core")
    from distgraph import ToolNode

    return ToolNode(*given)


def undescribed(x: int) -> int:
    return x


def remote() -> Any:
    import ray

    return ray.remote(undescribed)


def theirs() -> Any:
    pytest.importorskip("langgraph.graph")
    from langgraph.graph import StateGraph as Theirs

    return Theirs(Items).add_node("f", adds("f")).add_edge(START, "f").compile()


DICT_NODE = (
    "Node `f` is a dict, which is run as LangChain's RunnableParallel: its values must be "
    "functions or Runnables. Give the function itself, not the result of its call"
)
INPUT = (
    "Pass a dict of state keys, an object of the state's class, a Command, or None to continue a "
    "thread\nSee docs/errors.md#invalidupdateerror"
)
STREAM = (
    "pass graph.stream(...), graph.astream(...) or the handle that "
    "graph.start(..., progress=True) returned"
)
CASES: dict[str, tuple[Callable[[], object], str]] = {
    "the result of a node's call as the node": (lambda: built({"items": "x"}), DICT_NODE),
    "what ray.remote returns": (
        lambda: built(remote()),
        "Node `f` is what @ray.remote returns (RemoteFunction). Give the function or class itself: "
        "its calls are Ray tasks already. Ray's options go into ray_options",
    ),
    "retry_policy": (
        lambda: built(retry_policy=3),
        "Node `f`: retry_policy takes a RetryPolicy or a sequence of them, got int",
    ),
    "retry_on": (
        lambda: built(retry_policy=RetryPolicy(retry_on="ValueError")),  # type: ignore[arg-type]
        "Node `f`: retry_on must be an Exception class, a list or tuple of Exception classes, or "
        "a callable, got 'ValueError'",
    ),
    "max_attempts": (
        lambda: built(retry_policy=RetryPolicy(max_attempts="3")),  # type: ignore[arg-type]
        "Node `f`: RetryPolicy.max_attempts must be a number, got '3'",
    ),
    "initial_interval below 0": (
        lambda: built(retry_policy=[RetryPolicy(), RetryPolicy(initial_interval=-1)]),
        "Node `f`: RetryPolicy.initial_interval must be at least 0, got -1",
    ),
    "timeout": (
        lambda: built(timeout="3s"),
        "Node `f`: timeout must be a number of seconds, a timedelta or a TimeoutPolicy, got '3s'",
    ),
    "timeout below 0": (
        lambda: built(timeout=-1),
        "Node `f`: run_timeout must be greater than 0, got -1 s",
    ),
    "defaults": (
        lambda: built().set_node_defaults(cache_policy=5),
        "Node defaults: cache_policy takes a CachePolicy, got int",
    ),
    "a dict as a schema": (
        lambda: StateGraph({"a": str}),  # type: ignore[arg-type]
        "A schema is a class, such as a TypedDict, got {'a': <class 'str'>}. Write "
        "`class State(TypedDict): ...` with an annotation for each key",
    ),
    "a list as the input": (
        lambda: graph().invoke([1]),
        f"Input of the graph: Expected dict, got [1] (list). {INPUT}",
    ),
    "a dict as the inputs of a batch": (
        lambda: graph().batch({"items": []}),
        "batch takes a list of inputs, got dict",
    ),
    "recursion_limit": (
        lambda: graph().invoke({}, {"recursion_limit": "5"}),
        "config['recursion_limit'] must be an integer of at least 1, got '5'",
    ),
    "durability without a checkpointer": (
        lambda: graph().invoke({}, durability="synch"),
        "durability='synch': choose from 'sync', 'async', 'exit'. Did you mean 'sync'?",
    ),
    "distribute a builder of distgraph": (
        lambda: distgraph.distribute(built()),
        "distribute takes graphs of LangGraph; this StateGraph is distgraph's own. Call its "
        "compile(): what it returns runs on Ray",
    ),
    "ray_options that name no node": (
        lambda: distgraph.distribute(theirs(), ray_options={"num_cpus": 1}),  # type: ignore[dict-item]
        "ray_options: the graph has no node or tool 'num_cpus'. Give options by node: "
        "{'node': {'num_cpus': ...}}. Nodes and tools: f",
    ),
    "progress of a result": (
        lambda: distgraph.progress(graph().invoke({})),
        f"progress takes a stream, got dict: {STREAM}",
    ),
    "progress of a graph": (
        lambda: distgraph.progress(graph()),
        f"progress takes a stream, got CompiledStateGraph: {STREAM}",
    ),
    "timeline of a stream": (
        lambda: distgraph.timeline(graph().stream({})),
        "timeline takes what progress(...) returned, a started run or attempts, got RunStream: "
        "write run = distgraph.progress(stream), then timeline(run)",
    ),
    "a tool that is none": (lambda: tools([3]), "A tool is a tool, a function or a class, got 3"),
    "one tool in place of a list": (
        lambda: tools(undescribed),
        "ToolNode takes a list of tools, got function",
    ),
    "a tool without a docstring": (
        lambda: tools([undescribed]),
        "Tool `undescribed`: Function must have a docstring if description not provided.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_names_what_is_wrong_and_a_remedy(case: str) -> None:
    wrong, message = CASES[case]
    with pytest.raises((TypeError, ValueError, distgraph.errors.InvalidUpdateError)) as caught:
        wrong()
    assert str(caught.value) == message


def test_a_context_that_does_not_fit_its_schema_is_an_error_with_a_note() -> None:
    builder: Any = StateGraph(Items, context_schema=User)
    compiled = builder.add_node("f", adds("f")).add_edge(START, "f").compile(backend="local")
    with pytest.raises(TypeError, match="unexpected keyword argument 'nam'") as caught:
        compiled.invoke({}, context={"nam": "ada"})
    assert caught.value.__notes__ == [
        "context= of this run is a dict, from which User is made",
    ]


def test_an_error_of_a_reducer_names_step_key_and_node(ours: Any) -> None:
    compiled = ours.compile(one(ours, lambda state: {"items": 5}), name="g")
    with pytest.raises(TypeError, match="can only concatenate list") as caught:
        compiled.invoke({"items": [1]})
    note = "graph 'g', step 1: key 'items': its reducer failed on int, written by 'n'"
    assert note in caught.value.__notes__


@pytest.fixture
def warned(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    monkeypatch.setattr(mistakes, "_logged", {})
    caplog.set_level(logging.WARNING, logger="distgraph")
    return lambda: caplog.messages


def test_an_unknown_key_of_an_input_is_warned_of_once(ours: Any, warned: Any) -> None:
    compiled = ours.compile(one(ours, adds("n")), name="g")
    for _ in range(2):
        assert compiled.invoke({"items": [], "itms": ["x"]}) == {"items": ["n"]}
    assert warned() == [
        "graph 'g': the input has 'itms', which is no state key and is ignored. "
        "Did you mean 'items'?"
    ]


class Wider(TypedDict, total=False):
    items: list[Any]
    rest: str


def test_a_subgraph_takes_of_its_parent_s_state_what_it_knows(warned: Any) -> None:
    inner: Any = StateGraph(Items).add_node("n", adds("n"))
    inner.add_conditional_edges(START, lambda state: "n", ["n"])
    outer: Any = StateGraph(Wider).add_node("child", inner.compile()).add_edge(START, "child")
    compiled = outer.compile(backend="local")
    assert compiled.invoke({"items": [], "rest": "x"}) == {"items": ["n"], "rest": "x"}
    assert warned() == []


def test_an_unknown_key_of_update_state_is_warned_of(warned: Any) -> None:
    pytest.importorskip("langgraph.checkpoint.memory")
    from langgraph.checkpoint.memory import InMemorySaver

    compiled = built().compile(checkpointer=InMemorySaver(), backend="local")
    thread = {"configurable": {"thread_id": "1"}}
    compiled.update_state(thread, {"items": ["a"], "itms": ["b"]}, as_node="f")
    assert compiled.get_state(thread).values == {"items": ["a"]}
    assert warned() == [
        "node 'f' returned 'itms', which is no state key and is ignored. Did you mean 'items'?"
    ]
