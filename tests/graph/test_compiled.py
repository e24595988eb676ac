from __future__ import annotations

import functools
import operator
import pickle
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import cloudpickle
import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel
from typing_extensions import TypedDict

from distgraph.constants import TAG_HIDDEN
from distgraph.graph import END, START, CompiledStateGraph, StateGraph
from distgraph.types import Command


class State(TypedDict):
    items: Annotated[list, operator.add]


class Model(BaseModel):
    items: Annotated[list, operator.add] = []


def node(state: Any) -> Any:
    return {"items": ["x"]}


async def anode(state: Any) -> Any:
    return {"items": ["x"]}


class Callable_:
    def __call__(self, state: Any) -> Any:
        return {}


def child() -> CompiledStateGraph:
    return StateGraph(State).add_node("inner", node).add_edge(START, "inner").compile(name="child")


def graph() -> CompiledStateGraph:
    b = StateGraph(State).add_node("a", node, metadata={"k": "v"}).add_node("b", anode)
    b.add_edge(START, "a").add_conditional_edges("a", lambda s: "b", ["b", END])
    return b.compile()


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (node, "node"),
        (lambda s: {}, "<lambda>"),
        (functools.partial(node), "partial"),
        (Callable_(), "Callable_"),
        (RunnableLambda(node), "node"),
        (RunnableLambda(node).with_config(run_name="mine"), "node"),
        (child(), "child"),
    ],
)
def test_a_node_without_a_name_is_called_as_on_langgraph(action: Any, name: str) -> None:
    theirs = pytest.importorskip("langgraph.graph")
    assert list(StateGraph(State).add_node(action).nodes) == [name]
    if not isinstance(action, CompiledStateGraph):
        assert list(theirs.StateGraph(State).add_node(action).nodes) == [name]


def test_the_start_runs_no_user_code_and_is_hidden() -> None:
    start = graph().spec.nodes[START]
    assert start.tags == (TAG_HIDDEN,)
    assert start.inline is not None
    assert start.inline.bound is None
    assert [w for writer in start.inline.writers for w in writer({"items": [1]}, None, None)] == [
        ("items", [1]),
        ("branch:to:a", None),
    ]


def test_the_start_writes_only_what_the_input_schema_has() -> None:
    class In(TypedDict):
        question: str

    b = StateGraph(State, input_schema=In).add_node("a", node).add_edge(START, "a")
    start = b.compile().program.nodes[START]
    assert list(start.writers[0]({"question": "q", "items": [1]}, None, None)) == [
        ("question", "q")
    ]


def test_the_writers_of_a_node_come_in_the_order_update_edges_joins_branches() -> None:
    b = StateGraph(State).add_node("a", node).add_node("b", node).add_node("c", node)
    b.add_conditional_edges("a", lambda s: END, [END])
    b.add_edge(START, "a").add_edge(["a", "b"], "c").add_edge("a", "b")
    writers = b.compile().program.nodes["a"].writers
    assert [type(w).__name__ for w in writers] == ["StateWriter", "EdgeWriter", "BranchWriter"]
    assert list(writers[1](None, None, None)) == [("branch:to:b", None), ("join:a+b:c", "a")]


def test_the_spec_says_what_the_driver_needs_to_know_of_a_node() -> None:
    spec = graph().spec
    assert spec.nodes["a"].metadata == {"k": "v"}
    assert (spec.nodes["a"].is_async, spec.nodes["b"].is_async) == (False, True)
    assert spec.nodes["a"].branch_channels == ("items",)
    assert spec.nodes["b"].branch_channels == ()
    assert spec.nodes["a"].inline is None


def test_the_drivers_half_holds_none_of_the_users_node_functions() -> None:
    def secret_function(state: Any) -> Any: ...
    def secret_route(state: Any) -> Any: ...

    b = StateGraph(State).add_node("a", secret_function).add_edge(START, "a")
    b.add_conditional_edges("a", secret_route)
    blob = cloudpickle.dumps(b.compile().spec)
    assert b"secret_function" not in blob
    assert b"secret_route" not in blob
    pickle.dumps(b.compile().spec)


def test_a_subgraph_is_part_of_its_parent() -> None:
    inner = child()
    b = StateGraph(State).add_node(inner).add_node("routed", inner)
    b.add_edge(START, "child").add_edge("child", "routed")
    b.add_conditional_edges("routed", lambda s: END, [END])
    outer = b.compile()
    assert outer.spec.nodes["child"].subgraph is inner.spec
    assert outer.program.subgraphs == {"child": inner.program, "routed": inner.program}
    assert outer.program.nodes["child"].bound is None
    assert outer.spec.nodes["child"].inline is outer.program.nodes["child"]
    assert outer.spec.nodes["routed"].inline is None
    assert outer.program.nodes["routed"].user_writers is True


def test_the_config_of_a_subgraph_reaches_the_graphs_inside() -> None:
    mid = child().with_config(tags=["in"], configurable={"a": 1, "b": 1}, max_concurrency=3)
    middle = StateGraph(State).add_node("mid", mid).add_edge(START, "mid").compile()
    middle = middle.with_config(
        tags=["out"], metadata={"by": "me"}, configurable={"a": 2}, max_concurrency=2
    )
    b = StateGraph(State).add_node("top", middle)
    spec = b.add_edge(START, "top").compile().spec
    assert (spec.nodes["top"].tags, spec.tags) == ((), ())
    outer = spec.nodes["top"].subgraph
    assert outer is not None
    assert (outer.tags, outer.metadata, outer.configurable) == (("out",), {"by": "me"}, {"a": 2})
    inner = outer.nodes["mid"].subgraph
    assert inner is not None
    assert inner.tags == inner.nodes["inner"].tags == ("out", "in")
    assert inner.configurable == {"a": 2, "b": 1}
    assert inner.metadata == {}  # its tasks inherit that of the task around
    assert (outer.max_concurrency, inner.max_concurrency) == (2, 2)


def test_a_compiled_graph_survives_pickling() -> None:
    restored = cloudpickle.loads(cloudpickle.dumps(graph()))
    assert list(restored.spec.channels) == list(graph().spec.channels)
    assert restored.program.nodes["a"].bound({"items": []}, None) == {"items": ["x"]}


class Attributes(dict[str, Any]):
    """A dict whose keys are attributes too: an unknown one is a ``KeyError``."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def test_a_node_may_use_an_object_whose_unknown_attributes_are_key_errors() -> None:
    settings = Attributes(word="hi")

    def say(state: Any) -> Any:
        return {"items": [settings.word]}

    graph = StateGraph(State).add_node(say).add_edge(START, "say").compile(backend="local")
    assert graph.invoke({"items": []}) == {"items": ["hi"]}


def test_compiling_twice_gives_graphs_that_share_no_channel_state() -> None:
    b = StateGraph(State).add_node("a", node).add_edge(START, "a")
    first, second = b.compile(), b.compile(name="second")
    assert (first.name, second.name) == ("LangGraph", "second")
    assert first.spec.channels["branch:to:a"] is not second.spec.channels["branch:to:a"]


def test_with_config_returns_a_copy_with_defaults() -> None:
    first = graph()
    second = first.with_config({"tags": ["a"], "metadata": {"x": 1}}, recursion_limit=5)
    third = second.with_config(tags=["b"], metadata={"y": 2})
    assert third.config["tags"] == ["a", "b"]
    assert third.config["metadata"] == {"x": 1, "y": 2}
    assert third.config["recursion_limit"] == 5
    assert second.config["tags"] == ["a"]
    assert first.config is None
    assert third.spec is first.spec
    assert third.builder is first.builder


def test_models_are_built_for_the_typed_form_of_results() -> None:
    compiled = StateGraph(Model).add_node("a", node).add_edge(START, "a").compile()
    assert compiled.output_mapper is not None
    assert compiled.output_mapper({"items": [1]}) == Model(items=[1])
    assert compiled.state_mapper is not None
    assert (graph().output_mapper, graph().state_mapper) == (None, None)


def test_destinations_are_read_off_the_return_type() -> None:
    def one(state: State) -> Command[Literal["b", "__end__"]]: ...
    def maybe(state: State) -> Command[Literal["b"]] | None: ...
    def other(state: State) -> dict: ...

    b = StateGraph(State).add_node(one).add_node(maybe).add_node(other)
    b.add_node("given", one, destinations={"b": "to b"})
    assert [b.nodes[n].ends for n in ("one", "maybe", "other", "given")] == [
        ("b", "__end__"),
        ("b",),
        (),
        {"b": "to b"},
    ]


def test_the_generic_form_can_be_subscripted() -> None:
    assert StateGraph[State](State).add_node("a", node).nodes.keys() == {"a"}
    assert StateGraph[State, None, State, State](State).state_schema is State


def test_json_schemas_of_input_and_output() -> None:
    assert graph().get_input_jsonschema()["properties"]["items"]["type"] == "array"
    assert (
        StateGraph(Model).add_node("a", node).add_edge(START, "a").compile().get_output_jsonschema()
        == Model.model_json_schema()
    )
    root = StateGraph(Annotated[list, operator.add]).add_node("a", node).add_edge(START, "a")
    assert root.compile(name="g").get_output_jsonschema() == {
        "default": None,
        "items": {},
        "title": "g_output",
        "type": "array",
    }


def test_names_and_repr() -> None:
    assert graph().get_name() == "LangGraph"
    assert graph().get_name("Input") == "LangGraphInput"
    assert repr(child()) == "CompiledStateGraph(name='child', nodes=[__start__, inner])"


def test_building_a_graph_imports_neither_ray_nor_langchain_nor_pydantic() -> None:
    import subprocess

    code = (
        "import sys, operator\n"
        "from typing import Annotated, TypedDict\n"
        "from distgraph.graph import START, MessagesState, StateGraph\n"
        "State = TypedDict('State', {'x': Annotated[list, operator.add]})\n"
        "StateGraph(State).add_node('a', lambda s: {}).add_edge(START, 'a').compile()\n"
        "StateGraph(MessagesState).add_node('a', lambda s: {}).add_edge(START, 'a').compile()\n"
        "heavy = {'ray', 'langchain_core', 'pydantic', 'langgraph'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@dataclass
class Order:
    item: str
    note: str | None
    count: int = 1
    tags: Annotated[list, operator.add] = field(default_factory=lambda: ["new"])


def test_keys_of_a_dataclass_that_may_be_none_are_not_required() -> None:
    b = StateGraph(Order).add_node("a", node).add_edge(START, "a")
    schema = b.compile(name="g").get_input_jsonschema()
    assert schema["required"] == ["item"]
    defaults = {key: value.get("default") for key, value in schema["properties"].items()}
    assert defaults == {"item": None, "note": None, "count": 1, "tags": ["new"]}
