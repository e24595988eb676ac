"""Which form of a Runnable runs, and what the writers of a node say about the graph."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send
from pydantic import BaseModel

from distgraph import distribute
from distgraph.langgraphs.sync_or_async import async_only, runs_async
from distgraph.serde.pickling import dumps_code


class State(BaseModel):
    items: Annotated[list[str], operator.add] = []


def sync(state: Any) -> Any:
    return state


async def waits(state: Any) -> Any:
    return state


def bound(action: Any) -> Any:
    """Return what LangGraph makes of a node's action."""
    return StateGraph(MessagesState).add_node("n", action).nodes["n"].runnable


@pytest.mark.parametrize(
    ("action", "awaited"),
    [
        (sync, False),
        (waits, True),
        (RunnableLambda(sync), False),
        (RunnableLambda(waits), True),
        (RunnableLambda(sync, waits), True),
        (RunnableLambda(sync) | RunnableLambda(waits), True),
        (RunnableLambda(sync) | RunnableLambda(sync), False),
    ],
    ids=["function", "coroutine function", "lambda", "async lambda", "both", "sequence", "sync"],
)
def test_a_node_waits_where_it_has_a_form_that_waits(action, awaited):
    assert runs_async(bound(action)) is awaited


def test_both_forms_are_not_only_one():
    assert not async_only(RunnableLambda(sync, waits))
    assert async_only(RunnableLambda(waits))


# --- writers ------------------------------------------------------------------------------------


def spec(graph: StateGraph) -> Any:
    return distribute(graph, backend="local").spec.nodes


def one() -> StateGraph:
    return StateGraph(MessagesState).add_node("n", sync)


def test_the_entry_of_a_graph_needs_no_worker():
    start = spec(one().add_edge(START, "n"))["__start__"]
    assert start.inline is not None
    assert start.branch_channels == ()


def test_a_conditional_entry_does():
    def route(state: MessagesState) -> str:
        return "n"

    start = spec(one().add_conditional_edges(START, route, ["n"]))["__start__"]
    assert start.inline is None
    assert start.branch_channels == ("messages",)


def test_a_subgraph_needs_no_worker_for_its_writes_unless_an_edge_is_conditional():
    def route(state: MessagesState) -> list[Send]:
        return []

    child = one().add_edge(START, "n").compile()
    plain = StateGraph(MessagesState).add_node("child", child).add_edge(START, "child")
    assert spec(plain)["child"].inline is not None
    assert spec(plain.add_conditional_edges("child", route))["child"].inline is None


def test_the_driver_needs_no_langgraph_for_a_plain_graph():
    """Its half is pickled without naming anything of LangGraph's."""
    child = StateGraph(State).add_node("n", sync).add_edge(START, "n").compile()
    graph = StateGraph(State).add_node("child", child).add_node("n", sync)
    graph.add_edge(START, "child").add_conditional_edges("child", lambda state: "n", ["n"])
    assert b"langgraph." not in dumps_code(distribute(graph, backend="local").spec).replace(
        b"distgraph.langgraphs.", b""
    )
