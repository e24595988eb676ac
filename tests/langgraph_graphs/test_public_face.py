"""The public names of LangGraph's compiled graphs, on ours: compiled and distributed."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from typing import Any

import pytest
from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph as TheirGraph
from langgraph.pregel import Pregel
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

import distgraph
from distgraph.errors import UnsupportedError
from distgraph.graph import END, START, StateGraph
from distgraph.types import RetryPolicy


class State(TypedDict):
    a: int


class Context(TypedDict):
    user: str


def add_one(state: State) -> Any:
    return {"a": state["a"] + 1}


async def add_two(state: State) -> Any:
    return {"a": state["a"] + 2}


def build(builder: Any) -> Any:
    made = builder(State, context_schema=Context).add_node("one", add_one, metadata={"m": 1})
    made.add_node("two", add_two).add_edge(START, "one").add_edge("one", "two")
    return made.compile(name="Counter", interrupt_after=["two"])


THEIRS: Any = build(TheirGraph)
OURS: Any = build(lambda *a, **k: StateGraph(*a, **k))
DISTRIBUTED: Any = distgraph.distribute(THEIRS, backend="local")
NAMES = [name for name in dir(THEIRS) if not name.startswith("_")]

OTHERWISE = {
    "OutputType": "the output schema, where LangGraph has None for a graph with several keys",
    "builder": "the StateGraph that was compiled, of whichever library",
    "input_schema": "a model with a field for each key, where LangGraph has a RootModel",
    "output_schema": "a model that requires what the schema requires; LangGraph's has defaults",
}
"""Names with another value, and which."""


def plain(name: str, value: Any) -> Any:
    """Return what is to be the same of an attribute in both libraries."""
    if name == "channels":
        return {key: type(channel).__name__ for key, channel in value.items()}
    if name == "nodes":
        return {key: (n.triggers, n.metadata, type(n.tags)) for key, n in value.items()}
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return value


@pytest.mark.parametrize("graph", [OURS, DISTRIBUTED], ids=["compiled", "distributed"])
@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_the_same_kind_and_value(graph: Any, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = getattr(THEIRS, name), getattr(graph, name)
    is_method = inspect.ismethod(theirs)
    assert inspect.ismethod(ours) is is_method
    if not is_method and name not in OTHERWISE:
        got, expected = plain(name, ours), plain(name, theirs)
        if name == "nodes":  # tags are a tuple here
            got, expected = ({k: v[:2] for k, v in x.items()} for x in (got, expected))
        assert got == expected


_NOT_TAKEN = {
    ("transform", "kwargs"),
    ("get_prompts", "config"),
}


@pytest.mark.parametrize("graph", [OURS, DISTRIBUTED], ids=["compiled", "distributed"])
@pytest.mark.parametrize("name", [n for n in NAMES if inspect.ismethod(getattr(THEIRS, n, None))])
def test_a_method_takes_the_same_arguments(graph: Any, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = inspect.signature(getattr(THEIRS, name)).parameters
        ours = inspect.signature(getattr(graph, name)).parameters
    if any(p.kind is p.VAR_KEYWORD for p in ours.values()):
        return
    named = [n for n, p in theirs.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    missing = [n for n in named if n not in ours and (name, n) not in _NOT_TAKEN]
    assert missing == []


@pytest.mark.parametrize("graph", [OURS, DISTRIBUTED], ids=["compiled", "distributed"])
def test_a_graph_counts_as_langgraphs_and_as_a_runnable(graph: Any) -> None:
    assert isinstance(graph, Pregel)
    assert isinstance(graph, Runnable)
    assert not isinstance(graph, TheirGraph)


def test_a_graph_counts_as_langgraphs_when_that_is_loaded_later() -> None:
    code = (
        "import sys; from distgraph.graph import START, MessagesState, StateGraph\n"
        "g = StateGraph(MessagesState).add_node('n', lambda s: s).add_edge(START, 'n').compile()\n"
        "assert 'langgraph.pregel' not in sys.modules\n"
        "from langgraph.pregel import Pregel\n"
        "assert isinstance(g, Pregel) and type(g).__name__ == 'CompiledStateGraph'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("graph", [OURS, DISTRIBUTED], ids=["compiled", "distributed"])
def test_the_config_s_schema_is_that_of_langgraph(graph: Any) -> None:
    include = ["tags", "recursion_limit"]
    with pytest.warns(DeprecationWarning):
        ours = graph.get_config_jsonschema(include=include)
    with pytest.warns(DeprecationWarning):
        assert ours == THEIRS.get_config_jsonschema(include=include)
    with pytest.warns(DeprecationWarning):
        assert graph.config_schema().__name__ == "CounterConfig"
    assert graph.get_context_jsonschema() == THEIRS.get_context_jsonschema()


def test_validate_returns_the_graph() -> None:
    assert OURS.validate() is OURS


def test_a_step_timeout_can_be_set_and_copied() -> None:
    graph = build(StateGraph)
    assert graph.step_timeout is None
    graph.step_timeout = 3
    assert (graph.step_timeout, graph.spec.step_timeout, graph.program.spec) == (3, 3, graph.spec)
    assert graph.copy({"step_timeout": None}).step_timeout is None
    assert graph.step_timeout == 3


# --- settings that can be changed after compile ---------------------------------------------------


def test_a_store_that_is_set_later_reaches_the_nodes() -> None:
    def node(state: State, store: Any) -> Any:
        store.put(("n",), "k", {"v": state["a"]})
        return {}

    graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile(backend="local")
    graph.store = InMemoryStore()
    graph.invoke({"a": 5})
    found = graph.store.get(("n",), "k")
    assert found is not None
    assert found.value == {"v": 5}


def test_a_checkpointer_that_is_set_later_saves() -> None:
    graph = StateGraph(State).add_node("n", add_one).add_edge(START, "n").compile(backend="local")
    graph.checkpointer = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"a": 1}, config)
    assert graph.get_state(config).values == {"a": 2}


def test_a_name_and_a_stream_mode_that_are_set_later_count() -> None:
    graph = StateGraph(State).add_node("n", add_one).add_edge(START, "n").compile(backend="local")
    graph.name, graph.stream_mode = "Renamed", "values"
    assert graph.spec.name == graph.program.spec.name == "Renamed"
    assert list(graph.stream({"a": 1})) == [{"a": 1}, {"a": 2}]


def test_a_copy_with_other_settings_leaves_the_graph_alone() -> None:
    graph = StateGraph(State).add_node("n", add_one).add_edge(START, "n").compile(backend="local")
    other = graph.copy({"name": "Other", "checkpointer": InMemorySaver(), "stream_mode": "values"})
    assert (other.name, graph.name) == ("Other", "LangGraph")
    assert (graph.checkpointer, graph.stream_mode) == (None, "updates")


# --- nodes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [OURS, DISTRIBUTED], ids=["compiled", "distributed"])
def test_a_node_of_a_compiled_graph_is_run_by_itself(graph: Any) -> None:
    assert graph.nodes["one"].invoke({"a": 1}) == THEIRS.nodes["one"].invoke({"a": 1}) == {"a": 2}
    assert graph.nodes["one"].bound.invoke({"a": 1}) == {"a": 2}


def test_the_runnable_of_a_builder_s_node() -> None:
    inner = build(StateGraph)
    builder = StateGraph(State).add_node("f", add_one).add_node("af", add_two)
    builder.add_node("g", inner).add_node("r", OURS.as_runnable(), retry_policy=RetryPolicy())
    runnables = {name: node.runnable for name, node in builder.nodes.items()}
    assert runnables["f"].invoke({"a": 1}) == {"a": 2}
    assert (runnables["f"].func, runnables["f"].afunc) == (add_one, None)
    assert (runnables["af"].func, runnables["af"].afunc) == (None, add_two)
    assert runnables["g"] is inner
    assert isinstance(runnables["r"], Runnable)


# --- attaching ------------------------------------------------------------------------------------


def test_nodes_edges_and_branches_are_attached_to_a_compiled_graph() -> None:
    more = StateGraph(State).add_node("late", add_one).add_node("other", add_two)
    more.add_conditional_edges("late", lambda s: "other" if s["a"] < 10 else END, ["other", END])
    graph = StateGraph(State).add_node("n", add_one).add_edge(START, "n").compile(backend="local")
    graph.attach_node("late", more.nodes["late"])
    graph.attach_node("other", more.nodes["other"])
    graph.attach_edge("n", "late")
    ((name, branch),) = more.branches["late"].items()
    graph.attach_branch("late", name, branch)
    assert graph.invoke({"a": 0}) == {"a": 4}
    assert list(graph.get_graph().nodes) == [START, "n", "late", "other", END]


def test_nothing_is_attached_to_a_distributed_graph() -> None:
    with pytest.raises(UnsupportedError, match=r"Add to its StateGraph, and compile or distribute"):
        DISTRIBUTED.attach_edge("one", "two")


# --- one library's graph in the other's -----------------------------------------------------------


def test_our_graph_is_a_subgraph_of_a_distributed_one() -> None:
    inner = StateGraph(State).add_node("n", add_one).add_edge(START, "n").compile()
    outer: Any = TheirGraph(State).add_node("inner", inner).add_edge(START, "inner")
    graph = distgraph.distribute(outer.compile(), backend="local")
    assert list(graph.stream({"a": 1}, subgraphs=True, stream_mode="updates"))[-1] == (
        (),
        {"inner": {"a": 2}},
    )
    assert [name for name, _ in graph.get_subgraphs()] == ["inner"]
    assert len(list(graph.stream({"a": 1}, subgraphs=True, stream_mode="updates"))) == 2


def test_our_graph_is_a_node_of_langgraph_s_own_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")
    inner = StateGraph(State).add_node("n", add_one).add_edge(START, "n").compile()
    outer: Any = TheirGraph(State).add_node("inner", inner).add_edge(START, "inner")
    graph = outer.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert graph.invoke({"a": 1}, config) == {"a": 2}
    assert graph.get_state(config, subgraphs=True).values == {"a": 2}
