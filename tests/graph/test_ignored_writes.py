"""What a graph ignores of a node's result: the run is as with LangGraph, and a warning says so."""

import logging

import pytest

from distgraph.types import Command, Send
from tests.support.graphs import Items, adds


@pytest.fixture
def warned(caplog):
    with caplog.at_level(logging.WARNING, "distgraph"):
        yield lambda: [r.message for r in caplog.records if r.name == "distgraph"]


def graph_of(engine, node, name, route=None):
    builder = engine.StateGraph(Items).add_node(name, node).add_node("search", adds("found"))
    builder.add_edge(engine.START, name)
    if route is not None:
        builder.add_conditional_edges(name, route)
    return engine.compile(builder, name="shop")


def test_a_typo_in_goto_is_warned_of_once(ours, warned):
    name = f"plan-{ours.name}"
    graph = graph_of(ours, lambda state: Command(goto="serach"), name)
    assert graph.invoke({"items": ["x"]}) == {"items": ["x"]}
    graph.invoke({"items": ["x"]})
    assert warned() == [
        f"graph 'shop': node {name!r} goes to the unknown node 'serach', which is ignored. "
        "Did you mean 'search'?"
    ]


def test_a_typo_in_a_conditional_edge_is_warned_of(ours, warned):
    name = f"branch-{ours.name}"
    graph = graph_of(ours, adds("a"), name, lambda state: "serach")
    assert graph.invoke({"items": []}) == {"items": ["a"]}
    assert warned() == [
        f"graph 'shop': node {name!r} goes to the unknown node 'serach', which is ignored. "
        "Did you mean 'search'?"
    ]


def test_a_send_to_an_unknown_node_is_warned_of(ours, warned):
    target = f"nowhere-{ours.name}"
    graph = graph_of(ours, adds("a"), "a", lambda state: [Send(target, {})])
    assert graph.invoke({"items": []}) == {"items": ["a"]}
    assert warned() == [
        f"graph 'shop': a Send goes to the unknown node {target!r}, which is ignored."
    ]


@pytest.mark.parametrize("wrapped", [False, True], ids=["dict", "command"])
def test_an_unknown_key_in_an_update_is_warned_of(ours, warned, wrapped):
    name = f"writes-{wrapped}-{ours.name}"
    update = {"items": ["a"], "itms": ["b"]}
    graph = graph_of(ours, lambda state: Command(update=update) if wrapped else update, name)
    assert graph.invoke({"items": []}) == {"items": ["a"]}
    assert warned() == [
        f"node {name!r} returned 'itms', which is no state key and is ignored. "
        "Did you mean 'items'?"
    ]
