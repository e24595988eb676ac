"""``subgraphs=True``: what happens inside a graph that is a node, under that node's namespace."""

from __future__ import annotations

from typing import TypedDict

from distgraph.graph import START, StateGraph


class SubgraphState(TypedDict, total=False):
    """State of the inner graph; ``foo`` is shared with the outer one."""

    foo: str
    bar: str


def subgraph_node_1(state: SubgraphState) -> SubgraphState:
    """First step of the inner graph."""
    return {"bar": "bar"}


def subgraph_node_2(state: SubgraphState) -> SubgraphState:
    """Second step of the inner graph."""
    return {"foo": state["foo"] + state["bar"]}


subgraph = (
    StateGraph(SubgraphState)
    .add_node(subgraph_node_1)
    .add_node(subgraph_node_2)
    .add_edge(START, "subgraph_node_1")
    .add_edge("subgraph_node_1", "subgraph_node_2")
    .compile()
)


class ParentState(TypedDict, total=False):
    """State of the outer graph."""

    foo: str


def node_1(state: ParentState) -> ParentState:
    """First step of the outer graph."""
    return {"foo": "hi! " + state["foo"]}


graph = (
    StateGraph(ParentState)
    .add_node("node_1", node_1)
    .add_node("node_2", subgraph)
    .add_edge(START, "node_1")
    .add_edge("node_1", "node_2")
    .compile()
)

if __name__ == "__main__":
    print("the outer graph alone:")
    for chunk in graph.stream({"foo": "foo"}, stream_mode="updates"):
        print(chunk)

    print("with the inner graph:")
    for namespace, chunk in graph.stream({"foo": "foo"}, stream_mode="updates", subgraphs=True):
        print(namespace, chunk)
