from __future__ import annotations

import logging
import operator
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from distgraph.graph import END, START, StateGraph
from distgraph.types import CachePolicy, Command, RetryPolicy


class State(TypedDict):
    items: Annotated[list, operator.add]


def node(state: Any) -> Any:
    return {}


def route(state: Any) -> Any:
    return END


def builder() -> StateGraph:
    return StateGraph(State).add_node("search", node)


BUILDING: list[tuple[Callable[[], Any], str]] = [
    (lambda: builder().add_node("search", node), "Node `search` already present"),
    (lambda: builder().add_node(START, node), "Node `__start__` is reserved"),
    (lambda: builder().add_node(END, node), "Node `__end__` is reserved"),
    (lambda: builder().add_node("a|b", node), r"'\|' is a reserved character.*rename `a\|b`"),
    (lambda: builder().add_node("a:b", node), "':' is a reserved character"),
    (lambda: builder().add_node("a"), r"Node `a` needs an action: add_node\('a', function\)"),
    (lambda: builder().add_edge(END, "search"), "END cannot be a start node"),
    (lambda: builder().add_edge("search", START), "START cannot be an end node"),
    (lambda: builder().add_edge(["search", END], "search"), "END cannot be a start node"),
    (lambda: builder().add_edge(["search"], START), "START cannot be an end node"),
    (lambda: builder().add_edge(["search", "q"], "search"), "Need to add_node `q` first"),
    (lambda: builder().add_edge(["search"], "q"), "Need to add_node `q` first"),
    (lambda: builder().add_edge([], "search"), "list of nodes before `search` is empty"),
    (lambda: builder().add_conditional_edges(END, route), "END cannot be a start node"),
    (
        lambda: (
            builder().add_conditional_edges("search", route).add_conditional_edges("search", route)
        ),
        "Branch with name `route` already exists for node `search`",
    ),
    (lambda: builder().add_sequence([]), "Sequence requires at least one node"),
    (lambda: StateGraph(State).add_sequence([node, node]), "name 'node' already exists"),
    (
        lambda: builder().add_conditional_edges("search", lambda: END),
        "Conditional edge `condition` of `search` cannot be called with the state",
    ),
]


@pytest.mark.parametrize(("build", "message"), BUILDING)
def test_a_mistake_in_one_call_is_refused_by_that_call(
    build: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build()


COMPILING: list[tuple[Callable[[], Any], str]] = [
    (lambda: builder(), "must have an entrypoint: add at least one edge from START"),
    (
        lambda: builder().add_edge(START, "serach"),
        "ending at unknown node `serach`. Did you mean 'search'?",
    ),
    (
        lambda: builder().add_edge(START, "q"),
        r"ending at unknown node `q`. Add it with add_node\('q', function\)",
    ),
    (
        lambda: builder().add_edge(START, "search").add_edge("q", "search"),
        "starting at unknown node 'q'",
    ),
    (
        lambda: builder().add_edge(START, "search").add_conditional_edges("q", route),
        "starting at unknown node 'q'",
    ),
    (
        lambda: builder().add_conditional_edges(START, route, {"x": "q"}),
        "At '__start__' node, 'route' branch found unknown target 'q'",
    ),
    (
        lambda: builder().add_node("n", node, destinations=("q",)).add_edge(START, "n"),
        "ending at unknown node `q`",
    ),
]


@pytest.mark.parametrize(("build", "message"), COMPILING)
def test_a_graph_that_does_not_hold_together_is_refused_by_compile(
    build: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build().compile()


@pytest.mark.parametrize("option", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_at_an_unknown_node_is_refused(option: str) -> None:
    graph = builder().add_edge(START, "search")
    with pytest.raises(ValueError, match="Interrupt node `q` not found"):
        graph.compile(**{option: ["q"]})
    spec = graph.compile(**{option: ["search"]}).spec
    assert getattr(spec, option) == ("search",)
    assert getattr(graph.compile(**{option: "*"}).spec, option) == "*"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"retry_policy": 3}, "retry_policy takes a RetryPolicy or a sequence of them, got int"),
        ({"retry_policy": [CachePolicy()]}, "retry_policy takes .* got CachePolicy"),
        ({"cache_policy": RetryPolicy()}, "cache_policy takes a CachePolicy, got RetryPolicy"),
    ],
)
def test_a_policy_of_another_kind_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        StateGraph(State).add_node("n", node, **option)
    with pytest.raises(TypeError, match=message):
        StateGraph(State).set_node_defaults(**option)


@pytest.mark.parametrize("option", ["checkpointer", "cache"])
def test_a_compile_option_of_another_kind_is_refused(option: str) -> None:
    graph = builder().add_edge(START, "search")
    with pytest.raises(TypeError, match=f"Invalid {option} provided: it must be a Base"):
        graph.compile(**{option: InMemorySaver if option == "checkpointer" else object()})


@pytest.mark.parametrize("mode", [None, True, False])
def test_a_subgraph_may_say_how_it_is_saved(mode: bool | None) -> None:
    graph = builder().add_edge(START, "search").compile(checkpointer=mode)
    assert graph.checkpointer is mode
    assert graph.spec.persistence is mode


def test_two_actions_without_a_name_are_refused() -> None:
    with pytest.raises(TypeError, match="a name and an action, or an action alone"):
        StateGraph(State).add_node(node, node)


def test_a_path_map_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="path_map must be a dict or a list of node names"):
        builder().add_conditional_edges("search", route, 5)  # type: ignore[arg-type]


def test_a_change_after_compile_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    graph = builder().add_edge(START, "search")
    compiled = graph.compile()
    with caplog.at_level(logging.WARNING):
        graph.add_node("late", node).add_edge("search", "late")
    assert [r.message.split(" to a graph")[0] for r in caplog.records] == [
        "Adding a node",
        "Adding an edge",
    ]
    assert "late" not in compiled.spec.nodes


def test_a_node_may_have_the_name_of_a_state_key() -> None:
    graph = StateGraph(State).add_node("items", node).add_edge(START, "items").compile()
    assert list(graph.spec.nodes) == [START, "items"]


def test_every_builder_call_can_be_chained() -> None:
    def to_end(state: Any) -> Command:
        return Command(goto=END)

    graph = (
        StateGraph(State)
        .set_node_defaults()
        .add_sequence([("a", node), ("b", node)])
        .add_node(to_end)
        .set_entry_point("a")
        .set_conditional_entry_point(route, [END])
        .add_edge("b", "to_end")
        .set_finish_point("to_end")
        .validate()
        .compile()
    )
    assert list(graph.spec.nodes) == [START, "a", "b", "to_end"]
