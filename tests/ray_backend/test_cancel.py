"""Leaving a stream cancels its run and frees the CPUs."""

import asyncio
import gc
import os
import time

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from tests.support.cluster import all_cpus, eventually, free_cpus, wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray

FOREVER = 600.0
"""Seconds that a node would run if nobody ended it: beyond every bound below."""


def busy(ns, path, kind="sync"):
    """Two nodes that write and work until they are ended; each leaves a trace of being alive."""

    def make(name):
        trace = f"{path}/{name}"

        def node(state, writer):
            end = time.monotonic() + FOREVER
            while time.monotonic() < end:
                with open(trace, "a") as file:
                    file.write("x")
                writer({"node": name})
                time.sleep(0.02)
            return {"items": [name]}

        async def anode(state, writer):
            try:
                end = time.monotonic() + FOREVER
                while time.monotonic() < end:
                    with open(trace, "a") as file:
                        file.write("x")
                    writer({"node": name})
                    await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                with open(trace + ".cancelled", "w"):
                    raise
            return {"items": [name]}

        return anode if kind == "async" else node

    builder = ns.StateGraph(Items)
    for name in ("one", "two"):
        builder.add_node(name, make(name)).add_edge(ns.START, name)
    if kind == "subgraph":
        return ns.StateGraph(Items).add_node("child", builder.compile()).add_edge(ns.START, "child")
    return builder


def read_both(stream):
    """Read until both nodes have spoken: from then on both hold what they need."""
    seen = set()
    for chunk in stream:
        seen.add(chunk["node"])
        if len(seen) == 2:
            return


def assert_ended(path):
    wait_for_free_cpus()

    def sizes():
        return {p.name: p.stat().st_size for p in path.iterdir()}

    def quiet():
        before = sizes()
        time.sleep(0.3)
        return sizes() == before

    eventually(quiet, "the nodes are silent")


def options(kind):
    return {"stream_mode": "custom", **({"subgraphs": True} if kind == "subgraph" else {})}


def payloads(stream, kind):
    return ((chunk[1] if kind == "subgraph" else chunk) for chunk in stream)


KINDS = ["sync", "async", "subgraph"]


@pytest.mark.parametrize("kind", KINDS)
def test_close_ends_the_nodes(on_ray, tmp_path, kind):
    stream = on_ray.compile(busy(on_ray, tmp_path, kind)).stream({"items": []}, **options(kind))
    read_both(payloads(stream, kind))
    begin = time.perf_counter()
    stream.close()
    assert_ended(tmp_path)
    print(f"{kind}: ended after {time.perf_counter() - begin:.2f} s")
    assert next(stream, None) is None


@pytest.mark.parametrize("kind", ["updates", "values"])
def test_what_is_saved_can_be_seen_once_the_caller_has_left(on_ray, kind):
    def waits(state):
        time.sleep(FOREVER)

    builder = on_ray.StateGraph(Items).add_node("a", adds("a")).add_node("waits", waits)
    builder.add_edge(on_ray.START, "a").add_edge("a", "waits")
    graph = on_ray.compile(builder, checkpointer=InMemorySaver())
    for number in range(5):
        config = {"configurable": {"thread_id": f"{kind} {number}"}}
        for chunk in graph.stream({"items": []}, config, stream_mode=kind):
            if chunk in ({"a": {"items": ["a"]}}, {"items": ["a"]}):
                break
        state = graph.get_state(config)
        assert (state.values, state.next) == ({"items": ["a"]}, ("waits",))
        assert [s.metadata["step"] for s in graph.get_state_history(config)] == [1, 0, -1]


def test_a_stream_that_is_collected_as_garbage_ends_its_nodes(on_ray, tmp_path):
    """The collector may run in any thread, with any lock held: it is not to wait."""
    graph = on_ray.compile(busy(on_ray, tmp_path), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    stream = graph.stream({"items": []}, config, stream_mode="custom")
    read_both(stream)
    circle = [iter(stream)]
    circle.append(circle)
    del stream, circle
    begin = time.perf_counter()
    gc.collect()
    assert time.perf_counter() - begin < 1.5
    assert_ended(tmp_path)


def test_break_ends_the_nodes(on_ray, tmp_path):
    graph = on_ray.compile(busy(on_ray, tmp_path))
    for i, _ in enumerate(graph.stream({"items": []}, stream_mode="custom")):
        if i == 5:
            break
    assert_ended(tmp_path)


def test_an_exception_in_the_loop_ends_the_nodes(on_ray, tmp_path):
    graph = on_ray.compile(busy(on_ray, tmp_path))

    def consume():
        for _ in graph.stream({"items": []}, stream_mode="custom"):
            raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        consume()
    assert_ended(tmp_path)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_aclose_ends_the_nodes(on_ray, tmp_path, kind):
    graph = on_ray.compile(busy(on_ray, tmp_path, kind))

    async def consume():
        stream = graph.astream({"items": []}, stream_mode="custom")
        seen = set()
        async for chunk in stream:
            seen.add(chunk["node"])
            if len(seen) == 2:
                break
        await stream.aclose()

    asyncio.run(consume())
    assert_ended(tmp_path)


def test_a_cancelled_asyncio_task_ends_the_nodes(on_ray, tmp_path):
    graph = on_ray.compile(busy(on_ray, tmp_path))

    async def caller():
        task = asyncio.create_task(graph.ainvoke({"items": []}))
        while not (tmp_path / "one").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(caller())
    assert_ended(tmp_path)


def test_an_async_node_gets_cancelled_error(on_ray, tmp_path):
    stream = on_ray.compile(busy(on_ray, tmp_path, "async")).stream(
        {"items": []}, stream_mode="custom"
    )
    read_both(stream)
    stream.close()
    for name in ("one", "two"):
        eventually((tmp_path / f"{name}.cancelled").exists, f"{name} was told")


def test_a_node_in_a_blocking_call_is_ended_too(on_ray, tmp_path):
    def node(state, writer):
        writer({"node": "blocked"})
        time.sleep(FOREVER)
        return {"items": []}

    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    stream = on_ray.compile(builder).stream({"items": []}, stream_mode="custom")
    assert next(stream) == {"node": "blocked"}
    eventually(lambda: free_cpus() < all_cpus(), "the node holds a CPU")
    stream.close()
    wait_for_free_cpus()


def test_tasks_that_wait_for_a_cpu_never_start_after_close(on_ray, tmp_path):
    def node(state, writer):
        (tmp_path / f"started-{state['i']}").touch()
        writer({"node": state["i"]})
        time.sleep(0.5)
        return {"items": [state["i"]]}

    builder = on_ray.StateGraph(Items).add_node("n", node)
    builder.add_conditional_edges(
        on_ray.START, lambda s: [on_ray.Send("n", {"i": i}) for i in range(20)], ["n"]
    )
    stream = on_ray.compile(builder).stream({"items": []}, stream_mode="custom")
    next(stream)
    # Ray reports resources with a delay: else the CPUs that were free before the run are seen below
    eventually(lambda: free_cpus() < all_cpus(), "a node holds a CPU")
    stream.close()
    wait_for_free_cpus()
    started = len(list(tmp_path.iterdir()))
    assert started < 20
    time.sleep(0.7)
    assert len(list(tmp_path.iterdir())) == started


def test_the_next_run_works_as_ever(on_ray, tmp_path):
    graph = on_ray.compile(busy(on_ray, tmp_path))
    for _ in range(3):
        stream = graph.stream({"items": []}, stream_mode="custom")
        read_both(stream)
        stream.close()
    wait_for_free_cpus()
    builder = on_ray.StateGraph(Items).add_node("n", lambda s: {"items": ["ok"]})
    assert on_ray.compile(builder.add_edge(on_ray.START, "n")).invoke({"items": []}) == {
        "items": ["ok"]
    }


@pytest.mark.parametrize("way", ["task", "twice", "aclose"])
def test_a_cancelled_caller_continues_when_its_coroutines_have_cleaned_up(on_ray, tmp_path, way):
    folder = str(tmp_path)

    async def node(state, writer):
        writer("started")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0.1)
            with open(os.path.join(folder, "cleaned"), "w"):
                raise

    builder = on_ray.StateGraph(Items).add_node("node", node).add_edge(on_ray.START, "node")
    graph = on_ray.compile(builder)

    async def main():
        started = asyncio.Event()

        async def read():
            async for _ in graph.astream({"items": []}, stream_mode="custom"):
                started.set()

        if way != "aclose":
            task = asyncio.create_task(read())
            await started.wait()
            task.cancel()
            if way == "twice":
                await asyncio.sleep(0)  # the first one is on its way
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            stream = graph.astream({"items": []}, stream_mode="custom")
            assert await stream.__anext__() == "started"
            await stream.aclose()
        assert [path.name for path in tmp_path.iterdir()] == ["cleaned"]

    asyncio.run(main())


def test_an_attempt_that_is_cancelled_in_an_executor_gives_its_slot_back(on_ray, tmp_path):
    folder = str(tmp_path)

    async def leave(state):
        return on_ray.Command(graph=on_ray.Command.PARENT, goto=["p", "q"])

    async def sibling(state):
        await asyncio.sleep(60)

    def meets(name):
        async def node(state):
            with open(os.path.join(folder, name), "w"):
                pass
            while len(os.listdir(folder)) < 2:
                await asyncio.sleep(0.01)
            return {"items": [name]}

        return node

    child = on_ray.StateGraph(Items).add_node("leave", leave).add_node("sibling", sibling)
    child.add_edge(on_ray.START, "leave").add_edge(on_ray.START, "sibling")
    builder = on_ray.StateGraph(Items).add_node("child", on_ray.compile(child))
    builder.add_node("p", meets("p")).add_node("q", meets("q")).add_edge(on_ray.START, "child")
    result = on_ray.compile(builder).invoke({"items": []}, {"max_concurrency": 2})
    assert result == {"items": ["p", "q"]}
