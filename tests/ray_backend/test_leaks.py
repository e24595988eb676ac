"""Runs leave nothing behind."""

import asyncio
import gc
import time

import pytest

from tests.support.cluster import Holdings, eventually, wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray


def everything(ns):
    """Sync, async, parallel and failing-over nodes, a subgraph and packets."""

    async def waits(state, writer):
        writer({"node": "waits"})
        await asyncio.sleep(0)
        return {"items": ["waits"]}

    child = ns.StateGraph(Items).add_node("c", adds("c", 1)).add_edge(ns.START, "c").compile()
    builder = ns.StateGraph(Items).add_node("waits", waits).add_node("a", adds("a", 3))
    builder.add_node("child", child).add_node("packet", lambda s: {"items": [s["i"]]})
    builder.add_edge(ns.START, "waits").add_edge(ns.START, "a").add_edge("a", "child")
    return builder.add_conditional_edges(
        "child", lambda s: [ns.Send("packet", {"i": i}) for i in range(3)], ["packet"]
    )


def settled(baseline, what):
    def check():
        gc.collect()
        return Holdings.now().within(baseline)

    try:
        eventually(check, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\nbefore: {baseline}\n after: {Holdings.now()}") from None


def wake_every_worker(ns):
    """Keep both CPUs busy at once: Ray then has the worker process for each that it will keep."""

    def busy(state):
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass

    builder = ns.StateGraph(Items).add_node("one", busy).add_node("two", busy)
    graph = ns.compile(builder.add_edge(ns.START, "one").add_edge(ns.START, "two"))
    graph.invoke({"items": []})


def rest():
    wait_for_free_cpus()
    gc.collect()
    return Holdings.now()


@pytest.mark.matrix
def test_two_hundred_runs_leave_no_actor_process_thread_or_object(on_ray):
    wake_every_worker(on_ray)
    graph = on_ray.compile(everything(on_ray))
    expected = graph.invoke({"items": []})
    for _ in range(5):
        list(graph.stream({"items": []}, stream_mode=["values", "custom"]))
    baseline = rest()
    for _ in range(200):
        chunks = list(graph.stream({"items": []}, stream_mode=["values", "custom"]))
        assert chunks[-1] == ("values", expected)
    settled(baseline, "200 runs left nothing")


def test_runs_that_fail_or_are_left_leave_nothing(on_ray):
    def boom(state):
        raise ValueError("boom")

    builder = everything(on_ray).add_node("boom", boom).add_edge("waits", "boom")
    graph, failing = on_ray.compile(everything(on_ray)), on_ray.compile(builder)

    def once():
        with pytest.raises(ValueError, match="boom"):
            failing.invoke({"items": []})
        for _ in graph.stream({"items": []}, stream_mode="custom"):
            break

    wake_every_worker(on_ray)
    for _ in range(3):
        once()
    wake_every_worker(on_ray)  # some were killed with what was left
    baseline = rest()
    for _ in range(10):
        once()
    settled(baseline, "failed and abandoned runs left nothing")


def test_large_states_leave_the_store(on_ray):
    def grow(state):
        return {"items": [b"x" * 5_000_000]}

    builder = on_ray.StateGraph(Items).add_node("grow", grow).add_node("next", lambda s: None)
    wake_every_worker(on_ray)
    graph = on_ray.compile(builder.add_edge(on_ray.START, "grow").add_edge("grow", "next"))
    graph.invoke({"items": []})
    baseline = rest()
    for _ in range(5):
        graph.invoke({"items": [b"y" * 5_000_000]})
    settled(baseline, "large states are gone")


def test_compiled_graphs_leave_nothing_when_they_go(on_ray):
    def one(i):
        builder = on_ray.StateGraph(Items).add_node("n", adds(f"n{i}")).add_edge(on_ray.START, "n")
        assert on_ray.compile(builder).invoke({"items": []}) == {"items": [f"n{i}"]}

    wake_every_worker(on_ray)
    for i in range(3):
        one(i)
    baseline = rest()
    for i in range(3, 13):
        one(i)
    after = rest()
    # what a session keeps of a graph it may run again is small, and it is no actor or process
    assert after.actors <= baseline.actors
    assert after.threads <= baseline.threads
    assert after.objects <= baseline.objects + 10
