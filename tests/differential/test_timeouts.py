"""Nodes that take too long: which limit it was, and what follows."""

import asyncio
import time
from datetime import timedelta

import pytest

from distgraph import StateGraph
from distgraph.errors import NodeTimeoutError
from distgraph.graph import START
from distgraph.types import RetryPolicy, TimeoutPolicy
from tests.support.graphs import Items, adds

MODES = ["values", "updates", "custom", "tasks"]


def waiting(seconds, *, beats=0, by="writer"):
    """An async node that waits, and tells ``beats`` times of it in equal steps."""

    async def wait(state, writer, runtime):
        for number in range(beats):
            await asyncio.sleep(seconds / (beats + 1))
            if by == "writer":
                writer({"node": "slow", "beat": number})
            else:
                runtime.heartbeat()
        await asyncio.sleep(seconds / (beats + 1))
        return {"items": ["done"]}

    return wait


def one(ns, node, **options):
    builder = ns.StateGraph(Items).add_node("slow", node, **options).add_node("next", adds("n"))
    return builder.add_edge(ns.START, "slow").add_edge("slow", "next")


def fails_alike(differ, build, **options):
    """Compare two runs that fail, less the time that they took."""
    from tests.support.differential import run

    shown = []
    for engine in (differ.reference, differ.contender):
        outcome = run(engine.compile(build(engine)), {"items": []}, "async", **options)
        error = outcome.error
        told = [error.node, error.kind, error.timeout, error.run_timeout, error.idle_timeout]
        # LangGraph's idle clock begins a moment before the clock of its elapsed time
        assert error.elapsed >= error.timeout or engine is differ.reference
        assert type(error).__name__ == "NodeTimeoutError"
        shown.append((told, [c for c in outcome.chunks if c[0] in ("custom", "updates")]))
    assert shown[0] == shown[1]


def test_an_attempt_that_takes_longer_than_its_run_timeout(differ):
    fails_alike(differ, lambda ns: one(ns, waiting(600, beats=0), timeout=0.1), stream_mode=MODES)


def test_an_attempt_without_progress_for_its_idle_timeout(differ):
    def build(ns):
        policy = ns.TimeoutPolicy(idle_timeout=timedelta(milliseconds=200), run_timeout=500)
        return one(ns, waiting(600), timeout=policy)

    fails_alike(differ, build, stream_mode=MODES)


@pytest.mark.parametrize("by", ["writer", "heartbeat"])
def test_progress_puts_the_idle_timeout_off(differ, by):
    def build(ns):
        policy = ns.TimeoutPolicy(idle_timeout=2.0)
        return one(ns, waiting(2.5, beats=100, by=by), timeout=policy)

    outcome = differ.stream(
        build, {"items": []}, stream_mode="values", faces=("async",), reference_face="async"
    )
    assert outcome.error is None


def test_with_refresh_on_heartbeat_nothing_else_is_progress(differ):
    def build(ns):
        policy = ns.TimeoutPolicy(idle_timeout=0.4, refresh_on="heartbeat")
        return one(ns, waiting(600.0, beats=12_000), timeout=policy)

    fails_alike(differ, build, stream_mode=["updates"])


def test_what_langchain_calls_in_the_node_is_progress(differ):
    def build(ns):
        async def node(state, config):
            from langchain_core.runnables import RunnableLambda

            for _ in range(50):
                await asyncio.sleep(0.05)
                await RunnableLambda(lambda value: value).ainvoke(1, config)
            return {"items": ["done"]}

        return one(ns, node, timeout=ns.TimeoutPolicy(idle_timeout=2.0))

    outcome = differ.stream(
        build, {"items": []}, stream_mode="values", faces=("async",), reference_face="async"
    )
    assert outcome.error is None


def test_a_timeout_is_tried_again_by_the_default_policy(differ):
    def build(ns):
        async def node(state, runtime):
            if runtime.execution_info.node_attempt == 1:
                await asyncio.sleep(600)
            return {"items": ["in time"]}

        retries = ns.RetryPolicy(initial_interval=0.01, jitter=False)
        return one(ns, node, timeout=0.2, retry_policy=retries)

    differ.stream(build, {"items": []}, stream_mode=["updates", "values"], reference_face="async")


def test_a_send_has_a_limit_of_its_own(differ):
    def build(ns):
        def fan(state):
            return [ns.Send("slow", {"items": []}, timeout=0.1)]

        builder = ns.StateGraph(Items).add_node("slow", waiting(600), timeout=500)
        return builder.add_conditional_edges(ns.START, fan, ["slow"])

    fails_alike(differ, build, stream_mode=MODES)


def test_the_default_of_a_graph_and_an_error_handler(differ):
    def build(ns):
        async def handler(state, error: ns.NodeError):
            return {"items": [type(error.error).__name__, error.error.kind]}

        builder = one(ns, waiting(600), error_handler=handler)
        return builder.set_node_defaults(timeout=0.1)

    def without_next(ns):
        builder = ns.StateGraph(Items)

        async def handler(state, error: ns.NodeError):
            return {"items": [type(error.error).__name__, error.error.kind]}

        builder.add_node("slow", waiting(600), error_handler=handler)
        return builder.add_edge(ns.START, "slow").set_node_defaults(timeout=0.1)

    del build
    outcome = differ.stream(
        without_next, {"items": []}, stream_mode=["updates", "values"], reference_face="async"
    )
    assert outcome.chunks[-1][1] == {"items": ["NodeTimeoutError", "run"]}


# --- where LangGraph refuses ------------------------------------------------------------------


def test_a_synchronous_node_has_a_limit_too(ours):
    def slow(state):
        time.sleep(30)

    graph = ours.compile(one_of_ours(slow, timeout=0.3))
    with pytest.raises(NodeTimeoutError) as caught:
        graph.invoke({"items": []})
    assert (caught.value.node, caught.value.kind, caught.value.timeout) == ("slow", "run", 0.3)


def test_a_synchronous_node_that_shows_progress(ours):
    def steady(state, writer):
        for _ in range(100):
            time.sleep(0.025)
            writer("going on")
        return {"items": ["done"]}

    graph = ours.compile(one_of_ours(steady, timeout=TimeoutPolicy(idle_timeout=2.0)))
    assert graph.invoke({"items": []}) == {"items": ["done", "n"]}


def test_a_graph_as_a_node_has_a_run_timeout(ours):
    inner = StateGraph(Items).add_node("wait", waiting(600)).add_edge(START, "wait").compile()
    retries = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=2)
    graph = ours.compile(one_of_ours(inner, timeout=0.3, retry_policy=retries))
    with pytest.raises(NodeTimeoutError, match="Node 'slow' exceeded its run timeout of 0.300s"):
        graph.invoke({"items": []})


def around(ns, node, **policy):
    """Return a builder of a graph with an idle limit, which runs ``node`` and then another one."""
    inner = ns.StateGraph(Items).add_node("wait", node).add_node("then", waiting(0.2))
    inner = inner.add_edge(ns.START, "wait").add_edge("wait", "then").compile()
    return one(ns, inner, timeout=ns.TimeoutPolicy(**policy))


def test_an_idle_timeout_of_a_graph_as_a_node(differ):
    fails_alike(
        differ, lambda ns: around(ns, waiting(600), idle_timeout=0.6), stream_mode="updates"
    )


def test_with_refresh_on_heartbeat_events_inside_a_graph_are_no_progress(differ):
    def build(ns):
        return around(ns, waiting(600, beats=6_000), idle_timeout=0.6, refresh_on="heartbeat")

    fails_alike(differ, build, stream_mode=["updates"])


@pytest.mark.parametrize("by", ["writer", "heartbeat"])
def test_progress_of_nodes_inside_a_graph_puts_its_idle_timeout_off(differ, by):
    refresh = "auto" if by == "writer" else "heartbeat"

    def build(ns):
        beating = waiting(1.5, beats=14, by=by)
        return around(ns, beating, idle_timeout=1.2, refresh_on=refresh)

    outcome = differ.stream(
        build,
        {"items": []},
        stream_mode=["values", "custom"],
        subgraphs=True,
        faces=("async",),
        reference_face="async",
    )
    assert outcome.error is None


def test_what_a_node_inside_a_graph_writes_to_nobody_is_no_progress_of_the_graph(differ):
    def build(ns):
        return around(ns, waiting(600, beats=6_000), idle_timeout=0.6)

    fails_alike(differ, build, stream_mode=["updates"])


def one_of_ours(node, **options):
    builder = StateGraph(Items).add_node("slow", node, **options).add_node("next", adds("n"))
    return builder.add_edge(START, "slow").add_edge("slow", "next")


@pytest.mark.parametrize("timeout", [0, -1.5, timedelta(0), TimeoutPolicy(idle_timeout=0)])
def test_a_limit_is_above_zero(timeout):
    with pytest.raises(ValueError, match="must be greater than 0"):
        StateGraph(Items).add_node("slow", waiting(1), timeout=timeout)


def test_what_refreshes_is_one_of_two():
    with pytest.raises(ValueError, match="refresh_on must be 'auto' or 'heartbeat'"):
        TimeoutPolicy.coerce(TimeoutPolicy(idle_timeout=1, refresh_on="never"))
