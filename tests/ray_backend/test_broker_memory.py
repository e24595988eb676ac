"""What the broker's process holds of a stream that nobody reads is bounded, whatever is written."""

import os
import time

import pytest

from tests.support.cluster import eventually, pid_of_actor
from tests.support.graphs import Numbers

pytestmark = [pytest.mark.ray, pytest.mark.matrix]

LIMIT = 4 << 20
"""``DISTGRAPH_STREAM_BYTES`` here."""

GROWTH = 20 * LIMIT
"""What the process may grow by: the log, what is on its way, and what malloc keeps for threads."""

SIZE, EVENTS = 600_000, 400


@pytest.fixture
def small_session(on_ray, monkeypatch):
    """distgraph in a session whose broker may hold little."""
    import actors

    actors.end_session()
    monkeypatch.setenv("DISTGRAPH_STREAM_BYTES", str(LIMIT))
    yield on_ray
    actors.end_session()


def resident(pid):
    """Bytes of a process's own memory: without what it maps of the object store."""
    with open(f"/proc/{pid}/status") as status:
        (line,) = (line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def one_node_that_writes(ns):
    def node(state, writer):
        for i in range(EVENTS):
            writer((i, os.urandom(SIZE)))

    return ns.StateGraph(Numbers).add_node("n", node).add_edge(ns.START, "n"), "custom"


def async_nodes_that_write(ns):
    def make(start):
        async def node(state, writer):
            import asyncio

            for i in range(start, EVENTS, 4):
                writer((i, os.urandom(SIZE)))
                await asyncio.sleep(0)

        return node

    builder = ns.StateGraph(Numbers)
    for start in range(4):
        builder.add_node(f"n{start}", make(start)).add_edge(ns.START, f"n{start}")
    return builder, "custom"


def steps_with_large_states(ns):
    def node(state):
        return {"n": state["n"] + 1, "items": ns.Overwrite([os.urandom(SIZE)])}

    builder = ns.StateGraph(Numbers).add_node("n", node).add_edge(ns.START, "n")
    again = lambda state: "n" if state["n"] < EVENTS else ns.END  # noqa: E731
    return builder.add_conditional_edges("n", again, ["n", ns.END]), "updates"


def number(chunk):
    """Return which event it is, from 0, having checked its size."""
    if isinstance(chunk, tuple):
        index, data = chunk
    else:
        index, (data,) = chunk["n"]["n"] - 1, chunk["n"]["items"].value
    assert len(data) == SIZE
    return index


@pytest.mark.parametrize(
    "build", [one_node_that_writes, async_nodes_that_write, steps_with_large_states]
)
def test_a_stream_that_nobody_reads_does_not_fill_the_broker(small_session, build):
    builder, mode = build(small_session)
    graph = small_session.compile(builder)
    stream = graph.stream({"n": 0}, {"recursion_limit": EVENTS + 1}, stream_mode=mode)
    numbers = [number(next(stream))]
    pid = pid_of_actor("StreamBroker")
    sizes = [resident(pid)]

    def rests():
        for _ in range(5):
            time.sleep(0.1)
            sizes.append(resident(pid))
        return max(sizes[-5:]) - min(sizes[-5:]) < 100_000

    eventually(rests, "the broker takes no more")
    for chunk in stream:
        numbers.append(number(chunk))
        if len(numbers) % 32 == 0:
            sizes.append(resident(pid))
    megabytes = [size / 2**20 for size in (sizes[0], max(sizes))]
    print("broker: {:.0f} MiB at first, {:.0f} MiB at most".format(*megabytes))
    if build is async_nodes_that_write:  # four tasks, each in its own order
        assert all(
            [n for n in numbers if n % 4 == start] == list(range(start, EVENTS, 4))
            for start in range(4)
        )
        numbers.sort()
    assert numbers == list(range(EVENTS))
    assert max(sizes) - sizes[0] < GROWTH < EVENTS * SIZE / 2
