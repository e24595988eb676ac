"""Compiled graphs as nodes: what streams with and without ``subgraphs=True``."""

import pytest
from typing_extensions import TypedDict

from tests.support.graphs import Items, adds
from tests.support.normalise import normalise

MODES = ["values", "updates", "custom", "tasks", "debug", "checkpoints", "messages"]


class ChildState(TypedDict, total=False):
    foo: str
    bar: str


class ParentState(TypedDict, total=False):
    foo: str


def family(ns):
    def child_1(state, writer):
        writer("child_1 works")
        return {"bar": "bar"}

    def child_2(state):
        return {"foo": state["foo"] + state["bar"]}

    child = (
        ns.StateGraph(ChildState)
        .add_node("child_1", child_1)
        .add_node("child_2", child_2)
        .add_edge(ns.START, "child_1")
        .add_edge("child_1", "child_2")
        .compile()
    )

    def node_1(state, writer):
        writer("node_1 works")
        return {"foo": "hi! " + state["foo"]}

    return (
        ns.StateGraph(ParentState)
        .add_node("node_1", node_1)
        .add_node("node_2", child)
        .add_edge(ns.START, "node_1")
        .add_edge("node_1", "node_2")
    )


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_subgraph_in_each_mode(differ, mode, subgraphs):
    differ.stream(family, {"foo": "foo"}, stream_mode=mode, subgraphs=subgraphs)


@pytest.mark.parametrize("subgraphs", [False, True])
def test_a_subgraph_in_all_modes(differ, subgraphs):
    differ.stream(family, {"foo": "foo"}, stream_mode=MODES, subgraphs=subgraphs)


def test_namespaces_exactly(engine):
    graph = engine.compile(family(engine))
    assert normalise(graph.stream({"foo": "foo"}, stream_mode="updates", subgraphs=True)) == [
        ((), {"node_1": {"foo": "hi! foo"}}),
        (("node_2:<uuid-1>",), {"child_1": {"bar": "bar"}}),
        (("node_2:<uuid-1>",), {"child_2": {"foo": "hi! foobar"}}),
        ((), {"node_2": {"foo": "hi! foobar"}}),
    ]


def test_the_namespace_carries_the_parents_task_id(engine):
    graph = engine.compile(family(engine))
    chunks = list(graph.stream({"foo": "foo"}, stream_mode=["tasks", "updates"], subgraphs=True))
    parent = next(p for ns, mode, p in chunks if mode == "tasks" and p["name"] == "node_2")
    namespaces = {ns for ns, _, _ in chunks}
    assert namespaces == {(), (f"node_2:{parent['id']}",)}


def test_a_subgraph_of_the_same_schema(differ):
    def build(ns):
        child = ns.StateGraph(Items).add_node("c", adds("c", 2)).add_edge(ns.START, "c").compile()
        builder = ns.StateGraph(Items).add_node("a", adds("a", 2)).add_node("child", child)
        return builder.add_edge(ns.START, "a").add_edge("a", "child")

    differ.stream(build, {"items": ["i"]}, stream_mode=MODES, subgraphs=True)


def test_two_subgraphs_in_parallel(differ):
    def build(ns):
        builder = ns.StateGraph(Items)
        for name in ("right", "left"):
            child = (
                ns.StateGraph(Items)
                .add_node("one", adds(f"{name} one", 2))
                .add_node("two", adds(f"{name} two", 2))
                .add_edge(ns.START, "one")
                .add_edge("one", "two")
                .compile()
            )
            builder.add_node(name, child).add_edge(ns.START, name)
        return builder.add_node("join", adds("join")).add_edge(["right", "left"], "join")

    outcome = differ.stream(
        build,
        {"items": []},
        stream_mode=["values", "updates", "tasks", "custom"],
        subgraphs=True,
        parallel=True,
    )
    expected = ["left one", "left two", "right one", "right two", "join"]
    assert outcome.chunks[-1] == ((), "values", {"items": expected})


def test_parallel_nodes_inside_a_subgraph_join_before_the_parent_goes_on(engine):
    def build(ns):
        child = ns.StateGraph(Items)
        for name in "cab":
            child.add_node(name, adds(name)).add_edge(ns.START, name)
        builder = (
            ns.StateGraph(Items).add_node("child", child.compile()).add_node("end", adds("end"))
        )
        return builder.add_edge(ns.START, "child").add_edge("child", "end")

    graph = engine.compile(build(engine))
    assert graph.invoke({"items": ["x"]}) == {"items": ["x", "x", "a", "b", "c", "end"]}


def test_sends_to_a_subgraph(differ):
    def build(ns):
        child = (
            ns.StateGraph(Items).add_node("c", lambda s: {"items": ["c"]}).add_edge(ns.START, "c")
        )
        builder = ns.StateGraph(Items).add_node("child", child.compile())
        return builder.add_conditional_edges(
            ns.START, lambda s: [ns.Send("child", {"items": [i]}) for i in range(3)], ["child"]
        )

    differ.stream(build, {"items": []}, stream_mode="values")


def test_conditional_edges_behind_a_subgraph(differ):
    def build(ns):
        builder = family(ns)
        builder.add_node("yes", lambda s: {"foo": "yes"}).add_node("no", lambda s: {"foo": "no"})
        return builder.add_conditional_edges(
            "node_2", lambda s: "yes" if s["foo"].endswith("bar") else "no", ["yes", "no"]
        )

    differ.stream(build, {"foo": "foo"}, stream_mode=["values", "updates"], subgraphs=True)


def test_an_error_in_a_subgraph_reaches_the_caller(differ):
    def build(ns):
        def boom(state):
            raise LookupError("in the child")

        child = ns.StateGraph(Items).add_node("boom", boom).add_edge(ns.START, "boom").compile()
        return ns.StateGraph(Items).add_node("child", child).add_edge(ns.START, "child")

    outcome = differ.stream(
        build, {"items": []}, stream_mode=["values", "updates", "tasks"], subgraphs=True
    )
    assert type(outcome.error) is LookupError
