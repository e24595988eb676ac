"""Tokens of models in child graphs: their namespace, and what the parent shows without it."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from tests.support.models import EchoModel, WholeModel

HI = {"messages": [HumanMessage("say hi", id="in")]}


def in_child(ns, model, as_node=True, is_async=False):
    def call(state):
        return {"messages": model.invoke(state["messages"])}

    async def acall(state):
        return {"messages": await model.ainvoke(state["messages"])}

    child = ns.StateGraph(ns.MessagesState).add_node("call", acall if is_async else call)
    child = child.add_edge(ns.START, "call").compile()

    def by_hand(state):
        return {"messages": child.invoke(state)["messages"][1:]}

    builder = ns.StateGraph(ns.MessagesState).add_node("child", child if as_node else by_hand)
    builder.add_node("after", lambda s: {"messages": AIMessage("after", id="a1")})
    return builder.add_edge(ns.START, "child").add_edge("child", "after")


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("as_node", [True, False], ids=["node", "invoked"])
@pytest.mark.parametrize("mode", ["messages", ["messages", "updates", "values"]], ids=str)
def test_a_model_in_a_child(differ, mode, as_node, subgraphs):
    differ.stream(
        lambda ns: in_child(ns, EchoModel(), as_node), HI, stream_mode=mode, subgraphs=subgraphs
    )


@pytest.mark.parametrize("subgraphs", [False, True])
def test_an_awaited_model_in_a_child(differ, subgraphs):
    differ.stream(
        lambda ns: in_child(ns, EchoModel(), is_async=True),
        HI,
        stream_mode=["messages", "updates"],
        subgraphs=subgraphs,
        reference_face="async",
    )


@pytest.mark.parametrize("subgraphs", [False, True])
def test_a_model_without_streaming_in_a_child(differ, subgraphs):
    differ.stream(
        lambda ns: in_child(ns, WholeModel()), HI, stream_mode=["messages"], subgraphs=subgraphs
    )


def test_without_subgraphs_the_childs_message_comes_once_and_whole(engine):
    graph = engine.compile(in_child(engine, EchoModel()))
    chunks = list(graph.stream(HI, stream_mode="messages"))
    assert [(type(m).__name__, m.content, meta["langgraph_node"]) for m, meta in chunks] == [
        ("AIMessage", "echo say hi", "child"),
        ("AIMessage", "after", "after"),
    ]


def with_inner_graph(ns):
    """A child graph, a later step of which is a graph too, and has the first step's message."""
    inner = ns.StateGraph(ns.MessagesState).add_node("look", lambda s: {})
    inner = inner.add_edge(ns.START, "look").compile()
    child = ns.StateGraph(ns.MessagesState)
    child.add_node("write", lambda s: {"messages": AIMessage("written", id="w1")})
    child.add_node("inner", inner).add_edge(ns.START, "write").add_edge("write", "inner")
    builder = ns.StateGraph(ns.MessagesState).add_node("child", child.compile())
    return builder.add_edge(ns.START, "child")


@pytest.mark.parametrize("subgraphs", [False, True])
def test_the_input_of_a_graph_that_is_not_shown_hides_no_message(differ, subgraphs):
    seen = differ.stream(with_inner_graph, HI, stream_mode=["messages"], subgraphs=subgraphs)
    assert len(seen.chunks) == 1
