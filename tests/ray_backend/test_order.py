"""The contract of a stream: nothing lost, nothing repeated, a task's events in their order."""

import asyncio
import time

import pytest

from tests.support.cluster import PATIENCE, eventually
from tests.support.graphs import Items

pytestmark = pytest.mark.ray

NODES, EVENTS = 8, 1_000


def writers(ns, is_async=False):
    def make(name):
        def node(state, writer):
            for i in range(EVENTS):
                writer({"node": name, "i": i, "pad": "x" * 100})
            return {"items": [name]}

        async def anode(state, writer):
            for i in range(EVENTS):
                writer({"node": name, "i": i, "pad": "x" * 100})
                if i % 100 == 0:
                    await asyncio.sleep(0)
            return {"items": [name]}

        return anode if is_async else node

    builder = ns.StateGraph(Items)
    names = [f"w{i}" for i in range(NODES)]
    for name in names:
        builder.add_node(name, make(name)).add_edge(ns.START, name)
    return builder.add_node("join", lambda s: {"items": ["join"]}).add_edge(names, "join")


def check(chunks):
    names = [f"w{i}" for i in range(NODES)]
    per_node = {name: [] for name in names}
    steps = []
    for mode, payload in chunks:
        if mode == "custom":
            per_node[payload["node"]].append(payload["i"])
        elif mode == "updates" and "join" not in payload:
            (name,) = payload
            per_node[name].append("updates")
        else:
            steps.append((mode, payload))
    assert per_node == {name: [*range(EVENTS), "updates"] for name in names}
    assert steps == [
        ("values", {"items": []}),
        ("values", {"items": names}),
        ("updates", {"join": {"items": ["join"]}}),
        ("values", {"items": [*names, "join"]}),
    ]
    assert len(chunks) == NODES * (EVENTS + 1) + 4


MODES = ["values", "updates", "custom"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync nodes", "async nodes"])
def test_a_consumer_that_sleeps_loses_nothing(on_ray, is_async):
    graph = on_ray.compile(writers(on_ray, is_async))
    chunks = []
    begin = time.perf_counter()
    for chunk in graph.stream({"items": []}, stream_mode=MODES):
        chunks.append(chunk)
        if len(chunks) % 200 == 0:
            time.sleep(0.05)
    print(f"{len(chunks)} chunks, consumed with pauses: {time.perf_counter() - begin:.2f} s")
    check(chunks)


def test_an_async_consumer_that_sleeps_loses_nothing(on_ray):
    graph = on_ray.compile(writers(on_ray))

    async def consume():
        chunks = []
        async for chunk in graph.astream({"items": []}, stream_mode=MODES):
            chunks.append(chunk)
            if len(chunks) % 200 == 0:
                await asyncio.sleep(0.05)
        return chunks

    check(asyncio.run(consume()))


def test_a_consumer_that_starts_late_loses_nothing(on_ray):
    graph = on_ray.compile(writers(on_ray))
    stream = graph.stream({"items": []}, stream_mode=MODES)
    first = next(stream)
    time.sleep(1.0)
    check([first, *stream])


def test_two_runs_at_once_do_not_mix(on_ray):
    graph = on_ray.compile(writers(on_ray))
    one, two = (graph.stream({"items": []}, stream_mode=MODES) for _ in range(2))
    chunks_one, chunks_two = [], []
    for chunk in one:
        chunks_one.append(chunk)
        if len(chunks_one) == 5:
            chunks_two += two
    check(chunks_one)
    check(chunks_two)


def test_large_events_come_through(on_ray):
    def node(state, writer):
        for i in range(20):
            writer((i, bytes([i]) * 1_000_000))
        return {"items": ["done"]}

    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    got = []
    for i, blob in on_ray.compile(builder).stream({"items": []}, stream_mode="custom"):
        assert blob == bytes([i]) * 1_000_000
        got.append(i)
    assert got == list(range(20))


def test_a_slow_consumer_slows_the_node_down(on_ray, tmp_path):
    trace = tmp_path / "written"
    events, size = 400, 1_000_000

    def node(state, writer):
        for i in range(events):
            writer((i, b"x" * size))
            with open(trace, "a") as file:
                file.write("x")
        return {"items": ["done"]}

    def written():
        return trace.stat().st_size if trace.exists() else 0

    def waits():
        before = written()
        time.sleep(0.5)
        return before > 0 and written() == before

    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    stream = on_ray.compile(builder).stream({"items": []}, stream_mode="custom")
    first, _ = next(stream)
    eventually(waits, "the node waits for its reader")
    print(f"the node was {written()} MB ahead of a reader that had stopped")
    assert written() < events
    assert [first, *(i for i, _ in stream)] == list(range(events))


def test_a_payload_is_taken_as_it_was_when_written(on_ray):
    def node(state, writer):
        payload = {"n": 0}
        for i in range(100):
            payload["n"] = i
            writer(payload)
        return {"items": []}

    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    chunks = list(on_ray.compile(builder).stream({"items": []}, stream_mode="custom"))
    assert chunks == [{"n": i} for i in range(100)]


def test_the_first_event_does_not_wait_for_the_node_to_end(on_ray, tmp_path):
    gate = tmp_path / "gate"

    def node(state, writer):
        writer("first")
        deadline = time.monotonic() + PATIENCE
        while not gate.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody read the first event")
            time.sleep(0.01)
        writer("second")
        return {"items": ["done"]}

    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    stream = on_ray.compile(builder).stream({"items": []}, stream_mode=["custom", "updates"])
    assert next(stream) == ("custom", "first")
    gate.touch()
    assert list(stream) == [("custom", "second"), ("updates", {"n": {"items": ["done"]}})]
