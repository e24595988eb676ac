"""Caches: what a node with a cache policy has returned before is not computed again."""

import asyncio
import operator
import os
import uuid
from typing import Annotated, TypedDict

import pytest

from distgraph import StateGraph
from distgraph.graph import START
from distgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt
from tests.support.differential import run
from tests.support.normalise import normalise

MODES = ["values", "updates", "tasks"]


class State(TypedDict, total=False):
    items: Annotated[list, operator.add]
    topic: str


@pytest.fixture(params=["memory", "sqlite"])
def cache(request, tmp_path):
    if request.param == "memory":
        from langgraph.cache.memory import InMemoryCache

        return InMemoryCache()
    from langgraph.cache.sqlite import SqliteCache

    return SqliteCache(path=str(tmp_path / "cache.sqlite"))


def once(state):
    """Returns something else each time that it runs."""
    return {"items": [uuid.uuid4().hex]}


def one(node=once, **policy):
    builder = StateGraph(State).add_node("once", node, cache_policy=CachePolicy(**policy))
    return builder.add_edge(START, "once")


def test_the_second_run_has_the_result_of_the_first(ours, cache):
    graph = ours.compile(one(), cache=cache)
    first = graph.invoke({"topic": "a"})
    chunks = list(graph.stream({"topic": "a"}, stream_mode=["updates", "values"]))
    assert chunks[1:] == [
        ("updates", {"once": {"items": first["items"]}, "__metadata__": {"cached": True}}),
        ("values", first),
    ]
    assert graph.invoke({"topic": "b"})["items"] != first["items"]


def test_the_async_face_has_it_too(ours, cache):
    graph = ours.compile(one(), cache=cache)

    async def twice():
        return [await graph.ainvoke({"topic": "a"}) for _ in range(2)]

    first, second = asyncio.run(twice())
    assert first == second


def test_a_cleared_cache_knows_nothing(ours, cache):
    graph = ours.compile(one(), cache=cache)
    first = graph.invoke({})
    graph.clear_cache(["elsewhere"])
    assert graph.invoke({}) == first
    graph.clear_cache()
    second = graph.invoke({})
    assert second != first
    asyncio.run(graph.aclear_cache(["once"]))
    assert graph.invoke({}) != second


def test_a_graph_without_a_cache_computes_anew_and_has_none_to_clear(ours):
    graph = ours.compile(one())
    assert graph.invoke({}) != graph.invoke({})
    with pytest.raises(ValueError, match="No cache is set for this graph"):
        graph.clear_cache()


def test_a_key_function_says_what_is_the_same(ours, cache):
    graph = ours.compile(one(key_func=lambda state: state["topic"][0]), cache=cache)
    assert graph.invoke({"topic": "ant"})["items"] == graph.invoke({"topic": "ape"})["items"]
    assert graph.invoke({"topic": "ant"})["items"] != graph.invoke({"topic": "bee"})["items"]


def test_a_key_function_that_fails_is_told(ours, cache):
    graph = ours.compile(one(key_func=lambda state: state["absent"]), cache=cache)
    with pytest.raises(KeyError, match="absent"):
        graph.invoke({"topic": "a"})


def test_an_entry_lives_as_long_as_its_policy_says(cache):
    graph = one(ttl=0).compile(cache=cache, backend="local")
    assert graph.invoke({}) != graph.invoke({})


def test_each_send_has_an_entry_of_its_own(ours, cache):
    def fan(state):
        return [Send("once", {"topic": topic}) for topic in state["topic"]]

    builder = StateGraph(State).add_node("once", once, cache_policy=CachePolicy())
    graph = ours.compile(builder.add_conditional_edges(START, fan, ["once"]), cache=cache)
    first = graph.invoke({"topic": "ab"})
    second = graph.invoke({"topic": "bca"})
    assert first["items"] == [second["items"][2], second["items"][0]]


def test_a_subgraph_as_a_node_is_cached_as_a_whole(ours, cache):
    inner = StateGraph(State).add_node("once", once).add_edge(START, "once").compile()
    graph = ours.compile(one(inner), cache=cache)
    assert graph.invoke({}) == graph.invoke({})


def test_a_subgraph_has_a_cache_of_its_own(ours, cache):
    inner = one().compile(cache=cache)
    outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner")
    graph = ours.compile(outer)
    assert graph.invoke({}) == graph.invoke({})


def test_a_failure_is_not_cached_nor_what_was_asked(ours, cache, tmp_path):
    from langgraph.checkpoint.memory import InMemorySaver

    flag = tmp_path / "asked"

    def node(state):
        if not flag.exists():
            flag.touch()
            raise ValueError("first")
        return {"items": [interrupt("?"), os.urandom(4).hex()]}

    config = {"configurable": {"thread_id": "1"}}
    graph = ours.compile(one(node), cache=cache, checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="first"):
        graph.invoke({}, config)
    assert graph.invoke(None, config)["__interrupt__"][0].value == "?"
    done = graph.invoke(Command(resume="yes"), config)
    again = graph.invoke({}, {"configurable": {"thread_id": "2"}})
    assert done["items"][0] == "yes"
    assert again == done


def test_the_result_of_a_later_attempt_is_cached(ours, cache):
    def node(state, runtime):
        if runtime.execution_info.node_attempt == 1:
            raise ConnectionError
        return once(state)

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.01, jitter=False)
    builder.add_node("once", node, cache_policy=CachePolicy(), retry_policy=policy)
    graph = ours.compile(builder.add_edge(START, "once"), cache=cache)
    assert graph.invoke({}) == graph.invoke({})


def test_the_default_of_a_graph_holds_for_its_nodes(ours, cache):
    builder = StateGraph(State).add_node("once", once).add_edge(START, "once")
    builder.set_node_defaults(cache_policy=CachePolicy())
    graph = ours.compile(builder, cache=cache)
    assert graph.invoke({}) == graph.invoke({})


def test_a_cache_that_fails_ends_the_run_with_its_error():
    from langgraph.cache.memory import InMemoryCache

    class Broken(InMemoryCache):
        def get(self, keys):
            raise OSError("no cache today")

    with pytest.raises(OSError, match="no cache today"):
        one().compile(cache=Broken(), backend="local").invoke({})


# --- beside LangGraph ---------------------------------------------------------------------------


def plain(state):
    return {"items": [state["topic"]]}


def build(engine):
    def fan(state):
        return [engine.Send("gen", {"topic": topic}) for topic in ("x", "y")]

    builder = engine.StateGraph(State)
    builder.add_node("plain", plain, cache_policy=engine.CachePolicy())
    builder.add_node("gen", plain, cache_policy=engine.CachePolicy(ttl=60))
    builder.add_edge(engine.START, "plain")
    return builder.add_conditional_edges("plain", fan, ["gen"])


def test_both_runs_stream_what_langgraphs_do(here, cache):
    del cache
    shown = {}
    for engine in (here.reference, here.contender):
        from langgraph.cache.memory import InMemoryCache

        graph = engine.compile(build(engine), cache=InMemoryCache())
        runs = [run(graph, {"topic": "a"}, stream_mode=MODES) for _ in range(2)]
        shown[engine] = [sorted(map(repr, normalise(outcome.chunks))) for outcome in runs]
    assert shown[here.reference] == shown[here.contender]


def test_what_langgraph_has_cached_is_found_and_the_other_way_round(here, cache):
    config = {"stream_mode": "updates"}
    first, second = (here.reference, here.contender)
    for writer, reader in ((first, second), (second, first)):
        cache.clear()
        writer.compile(build(writer), cache=cache).invoke({"topic": "a"})
        found = list(reader.compile(build(reader), cache=cache).stream({"topic": "a"}, **config))
        assert [chunk.get("__metadata__") for chunk in found] == [{"cached": True}] * 3
