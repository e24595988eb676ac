from __future__ import annotations

import json
import operator
from typing import Annotated, Any, Literal

import pytest
from langgraph.graph import END as THEIR_END
from langgraph.graph import START as THEIR_START
from langgraph.graph import StateGraph as Theirs
from typing_extensions import TypedDict

from distgraph.errors import UnsupportedError
from distgraph.graph import END, START, CompiledStateGraph, StateGraph


class State(TypedDict):
    items: Annotated[list, operator.add]


def node(state: Any) -> Any: ...


def agent() -> CompiledStateGraph:
    b = StateGraph(State).add_node("plan", node).add_node("search", node).add_node("write", node)
    b.add_edge(START, "plan").add_edge("search", "plan").add_edge("write", END)
    b.add_conditional_edges("plan", lambda s: "", {"needs facts": "search", "write": "write"})
    return b.compile()


def nested() -> CompiledStateGraph:
    inner = StateGraph(State).add_sequence([("p", node), ("q", node)]).add_edge(START, "p")
    middle = StateGraph(State).add_node("inner", inner.compile()).add_edge(START, "inner")
    middle.add_node("o", node).add_edge("inner", "o")
    outer = StateGraph(State).add_node("child", middle.compile()).add_edge(START, "child")
    return outer.compile()


def test_the_text_drawing_shows_forks_labels_and_cycles() -> None:
    assert agent().get_graph().draw_ascii() == "\n".join(
        [
            "__start__ --> plan",
            "  |..> [needs facts] search --> (plan)",
            "  '..> write --> __end__",
        ]
    )


def test_the_text_drawing_shows_nested_forks() -> None:
    b = StateGraph(State)
    for name in "abcd":
        b.add_node(name, node)
    b.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge(["b", "c"], "d")
    b.add_conditional_edges("d", lambda s: "", {"again": "a", "stop": END})
    assert str(b.compile().get_graph()) == "\n".join(
        [
            "__start__ --> a",
            "  |--> b --> d",
            "  |     |..> [stop] __end__",
            "  |     '..> [again] (a)",
            "  '--> c --> (d)",
        ]
    )


def test_a_node_that_no_edge_leads_to_is_drawn_by_itself() -> None:
    b = StateGraph(State).add_node("a", node).add_node("sent", node).add_edge(START, "a")
    assert str(b.compile().get_graph()).splitlines() == [
        "__start__ --> a --> __end__",
        "sent",
    ]


def test_mermaid_marks_conditional_edges_and_labels() -> None:
    text = agent().get_graph().draw_mermaid(with_styles=False)
    assert text.splitlines() == [
        "graph TD;",
        "\t__start__ --> plan;",
        "\tplan -. &nbsp;needs facts&nbsp; .-> search;",
        "\tplan -.-> write;",
        "\tsearch --> plan;",
        "\twrite --> __end__;",
    ]


def test_a_long_label_is_wrapped() -> None:
    b = StateGraph(State).add_node("a", node)
    b.add_conditional_edges(START, lambda s: "", {"one two three four": "a"})
    drawn = b.compile().get_graph().draw_mermaid(wrap_label_n_words=2)
    assert " -. &nbsp;one two&nbsp<br>&nbspthree four&nbsp; .-> " in drawn


def test_xray_expands_as_many_levels_as_asked_for() -> None:
    levels = {str(xray): list(nested().get_graph(xray=xray).nodes) for xray in (False, 1, 2, True)}
    assert levels == {
        "False": ["__start__", "child", "__end__"],
        "1": ["__start__", "__end__", "child:inner", "child:o"],
        "2": ["__start__", "__end__", "child:o", "child:inner:p", "child:inner:q"],
        "True": ["__start__", "__end__", "child:o", "child:inner:p", "child:inner:q"],
    }
    assert str(nested().get_graph(xray=True)) == (
        "__start__ --> child:inner:p --> child:inner:q --> child:o --> __end__"
    )


def test_subgraphs_of_one_name_are_different_boxes() -> None:
    inner = StateGraph(State).add_sequence([("p", node), ("q", node)]).add_edge(START, "p")
    middle = StateGraph(State).add_node("inner", inner.compile()).add_node("z", node)
    middle.add_edge(START, "inner").add_edge("inner", "z")
    compiled = middle.compile()
    outer = StateGraph(State).add_node("one", compiled).add_node("two", compiled)
    text = outer.add_edge(START, "one").add_edge("one", "two").compile().get_graph(xray=True)
    boxes = [x.strip() for x in text.draw_mermaid().splitlines() if "subgraph" in x]
    assert boxes == [
        "subgraph one",
        "subgraph inner",
        "subgraph two",
        r"subgraph two\3ainner [inner]",
    ]


class Chooses:
    def __call__(self, state: Any) -> Literal["b"]:
        return "b"

    def chosen(self, state: Any) -> Literal["b"]:
        return "b"


@pytest.mark.parametrize(
    "path", [lambda s: "b", Chooses(), Chooses().chosen], ids=["lambda", "object", "method"]
)
def test_a_path_is_drawn_as_by_langgraph_declared_or_not(path: Any) -> None:
    drawn = []
    for graph, start, end in ((StateGraph, START, END), (Theirs, THEIR_START, THEIR_END)):
        b = graph(State).add_node("a", node).add_node("b", node).add_edge(start, "a")
        b.add_conditional_edges("a", path).add_edge("b", end)
        drawn.append(b.compile().get_graph().draw_mermaid())
    assert drawn[0] == drawn[1]


def test_to_json_is_plain_data() -> None:
    def route(state: Any) -> Literal["a", "__end__"]: ...

    b = StateGraph(State).add_node("a", node, metadata={"k": 1}, defer=True)
    graph = b.add_conditional_edges(START, route).compile(interrupt_after="*").get_graph()
    function = ["distgraph", "worker", "user_functions", "FunctionNode"]
    assert json.loads(json.dumps(graph.to_json())) == {
        "nodes": [
            {
                "id": "__start__",
                "type": "runnable",
                "data": {"id": function, "name": "__start__"},
            },
            {
                "id": "a",
                "type": "runnable",
                "data": {"id": function, "name": "a"},
                "metadata": {"k": 1, "defer": True, "__interrupt": "after"},
            },
            {"id": "__end__"},
        ],
        "edges": [
            {"source": "__start__", "target": "__end__", "conditional": True},
            {"source": "__start__", "target": "a", "conditional": True},
            {"source": "a", "target": "__end__"},
        ],
    }


def test_an_edge_is_equal_to_langchains() -> None:
    langchain = pytest.importorskip("langchain_core.runnables.graph")
    edge = agent().get_graph().edges[1]
    assert edge == langchain.Edge("plan", "search", "needs facts", True)


def test_a_path_that_ends_early_leads_to_the_deferred_node_that_waits_for_it() -> None:
    b = StateGraph(State).add_node("a", node).add_node("side", node)
    b.add_node("late", node, defer=True).add_node("after", node)
    b.add_edge(START, "a").add_edge("a", "side").add_edge("a", "late").add_edge("late", "after")
    edges = [(e.source, e.target, e.conditional) for e in b.compile().get_graph().edges]
    assert edges == [
        ("__start__", "a", False),
        ("a", "late", False),
        ("a", "side", False),
        ("late", "after", False),
        ("side", "late", True),
        ("after", "__end__", False),
    ]


def test_a_graph_without_an_end_is_drawn_with_an_exit() -> None:
    b = StateGraph(State).add_node("a", node).add_node("b", node)
    b.add_edge(START, "a").add_edge("a", "b").add_edge("b", "a")
    edges = [(e.source, e.target, e.conditional) for e in b.compile().get_graph().edges]
    assert edges == [
        ("__start__", "a", False),
        ("a", "b", False),
        ("b", "a", False),
        ("b", "__end__", True),
    ]


def test_mermaid_draws_a_loop_of_one_node_after_the_other_edges() -> None:
    b = StateGraph(State).add_node("a", node).add_edge(START, "a")
    b.add_conditional_edges("a", lambda s: "", {"again": "a", "stop": END})
    assert b.compile().get_graph().draw_mermaid(with_styles=False).splitlines() == [
        "graph TD;",
        "\t__start__ --> a;",
        "\ta -. &nbsp;stop&nbsp; .-> __end__;",
        "\ta -. &nbsp;again&nbsp; .-> a;",
    ]


def test_an_image_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnsupportedError, match=r"Paste what draw_mermaid\(\) returns"):
        agent().get_graph().draw_mermaid_png()
    with pytest.raises(UnsupportedError, match="draws no images"):
        agent().get_graph().draw_png()


def test_the_default_error_handler_is_drawn_as_a_node() -> None:
    b = StateGraph(State).add_node("plan", node).add_edge(START, "plan")
    drawn = b.set_node_defaults(error_handler=node).compile().get_graph()
    assert list(drawn.nodes) == [START, "plan", "__default_error_handler__", END]


def test_what_is_added_after_compile_is_not_drawn() -> None:
    b = StateGraph(State).add_node("plan", node).add_edge(START, "plan")
    compiled = b.compile()
    b.add_node("late", node).add_edge("plan", "late")
    assert list(compiled.get_graph().nodes) == [START, "plan", END]


def test_options_of_mermaid_are_those_of_langchain() -> None:
    from langchain_core.runnables.graph import CurveStyle, NodeStyles

    options: Any = {
        "curve_style": CurveStyle.BASIS,
        "node_colors": NodeStyles(first="fill:#fff"),
        "frontmatter_config": {"config": {"theme": "neutral"}, "title": "t"},
    }
    theirs = Theirs(State).add_node("a", node).add_edge(THEIR_START, "a").compile()
    ours = StateGraph(State).add_node("a", node).add_edge(START, "a").compile()
    assert ours.get_graph().draw_mermaid(**options) == theirs.get_graph().draw_mermaid(**options)
