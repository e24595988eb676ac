"""``messages`` mode and commands: what a node hands to the graph around it is no message of its."""

import pytest
from langchain_core.messages import AIMessage

START_TEXT = {"messages": [("user", "x")]}


def message(name):
    return AIMessage(f"from {name}", id=name)


SHAPES = {
    "list": lambda C, S: C(goto="bob", graph=C.PARENT, update={"messages": [message("m1")]}),
    "single": lambda C, S: C(goto="bob", graph=C.PARENT, update={"messages": message("m1")}),
    "pairs": lambda C, S: C(goto="bob", graph=C.PARENT, update=[("messages", [message("m1")])]),
    "without id": lambda C, S: C(
        goto="bob", graph=C.PARENT, update={"messages": [AIMessage("anonymous")]}
    ),
    "send": lambda C, S: C(
        goto=[S("bob", {"messages": [message("m3")]})],
        graph=C.PARENT,
        update={"messages": [message("m1")]},
    ),
    "list of commands": lambda C, S: [
        C(update={"messages": message("m1")}),
        C(goto="bob", graph=C.PARENT, update={"messages": message("m4")}),
    ],
    "own update": lambda C, S: C(update={"messages": [message("m1")]}),
    "own pairs": lambda C, S: C(update=[("messages", [message("m1")])]),
    "other keys": lambda C, S: {"messages": message("m1"), "other": message("m5")},
}


def handoff(ns, shape, called, routed):
    types = ns.module("types")

    def hand(state):
        return SHAPES[shape](types.Command, types.Send)

    def bob(state):
        return {"messages": [message("m2")]}

    inner = ns.StateGraph(ns.MessagesState).add_node("hand", hand).add_edge(ns.START, "hand")
    alice = inner.compile()
    builder = ns.StateGraph(ns.MessagesState).add_node(
        "alice", (lambda state: alice.invoke(state)) if called else alice, destinations=("bob",)
    )
    builder.add_node("bob", bob).add_edge(ns.START, "alice")
    if routed:
        builder.add_conditional_edges("alice", lambda state: "bob", ["bob"])
    return ns.compile(builder)


def shown(graph):
    """Text and node of what is streamed, with and without subgraphs."""
    flat = graph.stream(START_TEXT, stream_mode="messages")
    deep = graph.stream(START_TEXT, stream_mode="messages", subgraphs=True)
    return [
        [(m.content, told["langgraph_node"]) for m, told in flat],
        [(len(at), m.content, told["langgraph_node"]) for at, (m, told) in deep],
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("called", [False, True], ids=["node", "called"])
def test_messages_of_a_handoff_are_those_of_langgraph(differ, shape, called):
    ours, reference = (
        shown(handoff(ns, shape, called, False)) for ns in (differ.contender, differ.reference)
    )
    assert ours == reference


def test_a_conditional_edge_behind_a_subgraph_hides_no_message(engine):
    assert shown(handoff(engine, "own update", False, True))[0] == [
        ("from m1", "alice"),
        ("from m2", "bob"),
    ]
