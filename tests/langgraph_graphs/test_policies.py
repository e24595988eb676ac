"""Policies that LangGraph compiled into a graph hold where we run it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, RetryPolicy
from typing_extensions import TypedDict

from distgraph import distribute
from tests.langgraph_graphs.support import VERSION


class State(TypedDict, total=False):
    made: str


def once(state: State) -> State:
    """Returns something else each time that it runs."""
    return {"made": uuid.uuid4().hex}


def test_a_cache_and_the_policy_of_a_node() -> None:
    from langgraph.cache.memory import InMemoryCache

    builder = StateGraph(State).add_node("once", once, cache_policy=CachePolicy())
    graph = distribute(
        builder.add_edge(START, "once").compile(cache=InMemoryCache()), backend="local"
    )
    first = graph.invoke({})
    assert graph.invoke({}) == first
    graph.clear_cache()
    assert graph.invoke({}) != first


@pytest.mark.parametrize("given", ["node", "graph"])
def test_retries_of_a_node_and_of_a_whole_graph(given: str) -> None:
    tried = []

    def flaky(state: State) -> State:
        tried.append(1)
        if len(tried) < 3:
            raise ConnectionError("not yet")
        return {"made": "at last"}

    policy = RetryPolicy(initial_interval=0.01, jitter=False)
    own = {"retry_policy": policy} if given == "node" else {}
    made = StateGraph(State).add_node("flaky", flaky, **own).add_edge(START, "flaky").compile()
    if given == "graph":
        made.retry_policy = (policy,)
    assert distribute(made, backend="local").invoke({}) == {"made": "at last"}


@pytest.mark.skipif(VERSION < (1, 2, 0), reason="new in LangGraph 1.2")
def test_errors_are_caught_as_langgraphs_own() -> None:
    import asyncio

    from langgraph.errors import GraphDrained, NodeError, NodeTimeoutError

    from distgraph.runtime import RunControl

    seen: list[Any] = []

    async def slow(state: State) -> State:
        await asyncio.sleep(30)
        return {}

    def handler(state: State, error: NodeError) -> State:
        seen.append(error.error)
        raise error.error

    builder = StateGraph(State).add_node("slow", slow, timeout=0.1, error_handler=handler)
    retries = RetryPolicy(
        initial_interval=0.01, jitter=False, retry_on=NodeTimeoutError, max_attempts=2
    )
    builder.set_node_defaults(retry_policy=retries)
    graph = distribute(builder.add_edge(START, "slow").compile(), backend="local")
    with pytest.raises(NodeTimeoutError, match="Node 'slow' exceeded its run timeout of 0.100s"):
        graph.invoke({})
    assert isinstance(seen[0], NodeTimeoutError)
    control = RunControl()
    control.request_drain("leaving")
    with pytest.raises(GraphDrained) as drained:
        graph.invoke({}, control=control)
    assert (drained.value.reason, str(drained.value)) == ("leaving", "Graph drained: leaving")
