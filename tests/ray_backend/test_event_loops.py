"""Readers on event loops, which receive by themselves while they are alone."""

import asyncio
import threading
import time

import pytest

from actors import sessions
from tests.support.graphs import Items

pytestmark = pytest.mark.ray

EVENTS = 300


def graph_of(ns):
    def node(state, writer):
        for i in range(EVENTS):
            writer(i)
            if i % 10 == 0:
                time.sleep(0.001)
        return {"items": ["done"]}

    builder = ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n")
    return ns.compile(builder)


def read(graph):
    return list(graph.stream({"items": []}, stream_mode="custom"))


async def aread(graph):
    return [event async for event in graph.astream({"items": []}, stream_mode="custom")]


async def receives(graph):
    """Read until this event loop receives."""
    loop, turn = asyncio.get_running_loop(), None
    while turn is None or turn.loop is not loop or not turn.taken:
        assert await aread(graph) == list(range(EVENTS))
        turn = sessions.current().receiver._reads.lead._event_loops._turn


def test_coroutines_of_one_event_loop_get_their_events_in_order(on_ray):
    graph = graph_of(on_ray)

    async def main():
        assert await asyncio.gather(*(aread(graph) for _ in range(3))) == 3 * [list(range(EVENTS))]
        await receives(graph)
        await graph.ainvoke({"items": []})

    for _ in range(2):
        asyncio.run(main())
    assert read(graph) == list(range(EVENTS))


def test_threads_and_event_loops_read_at_once(on_ray):
    graph = graph_of(on_ray)
    found = {}

    def note(name, call):
        found[name] = [call() for _ in range(3)]

    calls = {name: lambda: read(graph) for name in ("thread 1", "thread 2")}
    calls |= {name: lambda: asyncio.run(aread(graph)) for name in ("loop 1", "loop 2")}
    threads = [threading.Thread(target=note, args=each, daemon=True) for each in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {name: 3 * [list(range(EVENTS))] for name in calls}


def test_a_blocked_event_loop_stops_no_thread(on_ray):
    graph = graph_of(on_ray)

    async def main():
        await receives(graph)
        mine = asyncio.ensure_future(aread(graph))
        await asyncio.sleep(0)
        found = []
        thread = threading.Thread(target=lambda: found.append(read(graph)), daemon=True)
        thread.start()
        thread.join(60)  # blocks this event loop
        assert found == [list(range(EVENTS))]
        assert await mine == list(range(EVENTS))

    asyncio.run(main())
