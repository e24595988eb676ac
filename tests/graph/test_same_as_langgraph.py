"""The same builder calls on LangGraph and here: channels, triggers and inputs must be the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import NotRequired, TypedDict

import distgraph.graph
import distgraph.managed
import distgraph.types

their_graph = pytest.importorskip("langgraph.graph")
their_managed = pytest.importorskip("langgraph.managed.is_last_step")
their_types = pytest.importorskip("langgraph.types")

START, END = distgraph.graph.START, distgraph.graph.END


class State(TypedDict):
    items: Annotated[list, operator.add]
    name: NotRequired[str]


class Part(TypedDict):
    name: str
    private: int


class Model(BaseModel):
    items: Annotated[list, operator.add] = []
    name: str = "x"


@dataclass
class Data:
    items: Annotated[list, operator.add] = field(default_factory=list)
    name: str = "x"


def node(state: Any) -> Any:
    return {"items": ["x"]}


def reads_part(state: Part) -> Any:
    return {}


class Lib:
    """One of the two libraries."""

    def __init__(self, graph: Any, types: Any, managed: Any) -> None:
        self.StateGraph = graph.StateGraph
        self.Command = types.Command
        self.Send = types.Send
        self.RemainingSteps = managed.RemainingSteps
        self.IsLastStep = managed.IsLastStep


OURS = Lib(distgraph.graph, distgraph.types, distgraph.managed)
THEIRS = Lib(their_graph, their_types, their_managed)


def chain(lib: Lib) -> Any:
    return lib.StateGraph(State).add_sequence([("a", node), ("b", node)]).add_edge(START, "a")


def fan_out_and_join(lib: Lib) -> Any:
    b = lib.StateGraph(State)
    for name in ("a", "z", "b", "end"):
        b.add_node(name, node)
    b.add_edge(START, "a").add_edge("a", "z").add_edge("a", "b")
    return b.add_edge(["z", "b"], "end").add_edge("end", END)


def deferred_join(lib: Lib) -> Any:
    b = lib.StateGraph(State)
    b.add_node("a", node).add_node("b", node).add_node("end", node, defer=True)
    return b.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "end")


def deferred_edge(lib: Lib) -> Any:
    b = lib.StateGraph(State).add_node("a", node).add_node("end", node, defer=True)
    return b.add_edge(START, "a").add_edge("a", "end")


def join_to_the_end(lib: Lib) -> Any:
    b = lib.StateGraph(State).add_node("a", node).add_node("b", node)
    return b.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], END)


def branch_by_literal(lib: Lib) -> Any:
    def route(state: State) -> Literal["a", "__end__"]:
        return "a"

    return lib.StateGraph(State).add_node("a", node).add_conditional_edges(START, route)


def branch_by_map_on_another_schema(lib: Lib) -> Any:
    def route(state: Part) -> str:
        return "yes"

    b = lib.StateGraph(State).add_node("a", node).add_edge(START, "a")
    return b.add_conditional_edges("a", route, {"yes": "a", "no": END})


def destinations_of_a_command(lib: Lib) -> Any:
    def a(state: State) -> lib.Command[Literal["b", "__end__"]]:
        raise NotImplementedError

    a.__annotations__["return"] = lib.Command[Literal["b", "__end__"]]
    return lib.StateGraph(State).add_node(a).add_node("b", node).add_edge(START, "a")


def own_input_schema(lib: Lib) -> Any:
    b = lib.StateGraph(State).add_node(reads_part).add_node("given", node, input_schema=Part)
    return b.add_edge(START, "reads_part").add_edge("reads_part", "given")


def input_and_output_schemas(lib: Lib) -> Any:
    class In(TypedDict):
        name: str

    class Out(TypedDict):
        items: list

    b = lib.StateGraph(State, input_schema=In, output_schema=Out).add_node("a", node)
    return b.add_edge(START, "a")


def managed_values(lib: Lib) -> Any:
    Counted = TypedDict(  # noqa: UP013
        "Counted", {"items": list, "left": lib.RemainingSteps, "last": lib.IsLastStep}
    )
    return lib.StateGraph(Counted).add_node("a", node).add_edge(START, "a")


def root_state(lib: Lib) -> Any:
    b = lib.StateGraph(Annotated[list, operator.add]).add_node("a", lambda s: ["a"])
    return b.add_edge(START, "a").add_conditional_edges("a", lambda s: END, [END])


def pydantic_state(lib: Lib) -> Any:
    return lib.StateGraph(Model).add_node("a", node).add_edge(START, "a")


def dataclass_state(lib: Lib) -> Any:
    return lib.StateGraph(Data).add_node("a", node).add_edge(START, "a")


def subgraph(lib: Lib) -> Any:
    child = chain(lib).compile(name="child")
    b = lib.StateGraph(State).add_node(child).add_node("after", node)
    return b.add_edge(START, "child").add_edge("child", "after")


SHAPES: list[Callable[[Lib], Any]] = [
    chain,
    fan_out_and_join,
    deferred_join,
    deferred_edge,
    join_to_the_end,
    branch_by_literal,
    branch_by_map_on_another_schema,
    destinations_of_a_command,
    own_input_schema,
    input_and_output_schemas,
    managed_values,
    root_state,
    pydantic_state,
    dataclass_state,
    subgraph,
]

shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)


def listed(channels: Any) -> Any:
    return channels if isinstance(channels, str) else list(channels)


@shapes
def test_channels_have_the_same_names_and_kinds(shape: Callable[[Lib], Any]) -> None:
    ours, theirs = shape(OURS).compile().spec, shape(THEIRS).compile()
    managed = set(ours.managed)
    assert {k: type(c).__name__ for k, c in ours.channels.items()} == {
        k: type(c).__name__ for k, c in theirs.channels.items() if k not in managed
    }
    assert managed == {k for k, c in theirs.channels.items() if isinstance(c, type)}
    assert all(channel.key == key for key, channel in ours.channels.items())


@shapes
def test_empty_channels_have_the_same_checkpoint(shape: Callable[[Lib], Any]) -> None:
    ours, theirs = shape(OURS).compile().spec, shape(THEIRS).compile()
    for key, channel in ours.channels.items():
        assert channel.is_available() == theirs.channels[key].is_available(), key
        if channel.is_available():
            assert channel.checkpoint() == theirs.channels[key].checkpoint(), key


@shapes
def test_nodes_have_the_same_triggers_inputs_and_order(shape: Callable[[Lib], Any]) -> None:
    ours, theirs = shape(OURS).compile().spec, shape(THEIRS).compile()
    assert [(n.name, list(n.triggers), listed(n.channels)) for n in ours.nodes.values()] == [
        (name, list(n.triggers), listed(n.channels)) for name, n in theirs.nodes.items()
    ]
    assert {k: list(v) for k, v in ours.trigger_to_nodes.items()} == {
        k: list(v) for k, v in theirs.trigger_to_nodes.items()
    }


@shapes
def test_the_graph_has_the_same_inputs_and_outputs(shape: Callable[[Lib], Any]) -> None:
    ours, theirs = shape(OURS).compile().spec, shape(THEIRS).compile()
    assert listed(ours.input_channels) == listed(theirs.input_channels)
    assert listed(ours.output_channels) == listed(theirs.output_channels)
    assert listed(ours.stream_channels) == listed(theirs.stream_channels)
    assert ours.name == theirs.name


@shapes
def test_nodes_are_given_instances_of_the_same_schemas(shape: Callable[[Lib], Any]) -> None:
    ours, theirs = shape(OURS).compile().spec, shape(THEIRS).compile()
    for name, ours_node in ours.nodes.items():
        mapper = theirs.nodes[name].mapper
        assert (ours_node.mapper is None) == (mapper is None), name
        if ours_node.mapper is not None:
            assert ours_node.mapper({"items": [1]}) == mapper({"items": [1]})


@shapes
@pytest.mark.parametrize("xray", [False, True])
def test_the_mermaid_drawing_is_the_same(shape: Callable[[Lib], Any], xray: bool) -> None:
    ours, theirs = shape(OURS).compile(), shape(THEIRS).compile()
    assert ours.get_graph(xray=xray).draw_mermaid() == theirs.get_graph(xray=xray).draw_mermaid()
