"""Code that blocks an executor does not keep other runs from theirs."""

import asyncio
import os
import time

import pytest

from distgraph.errors import NodeTimeoutError
from tests.ray_backend.test_stuck import alive, hold_the_lock
from tests.support.cluster import eventually
from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.faults]

BOUND = 40.0
"""Seconds for the end of a blocked process: noticed, retired, its grace; and slow test machines."""


def one(ns, node, **options):
    return ns.compile(ns.StateGraph(Items).add_node("n", node, **options).add_edge(ns.START, "n"))


@pytest.mark.parametrize("how", ["loop", "lock"])
def test_async_nodes_of_other_runs_go_on_beside_a_blocked_executor(on_ray, how):
    async def blocks(state, writer):
        writer(os.getpid())
        await asyncio.sleep(0.3)
        hold_the_lock() if how == "lock" else time.sleep(600)

    async def fine(state):
        return {"items": [os.getpid()]}

    stream = one(on_ray, blocks).stream({"items": []}, stream_mode="custom")
    pid = next(stream)
    time.sleep(0.5)  # until it is blocked: nothing tells of that
    stream.close()
    begin = time.perf_counter()
    (other,) = one(on_ray, fine).invoke({"items": []}, {"max_attempts": 3})["items"]
    print(f"{how}: another run went on after {time.perf_counter() - begin:.1f} s")
    assert other != pid
    eventually(lambda: not alive(pid), "the blocked process has ended", BOUND)
    print(f"{how}: the process ended after {time.perf_counter() - begin:.1f} s")


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_a_limit_of_time_holds_in_a_shared_process(on_ray, kind):
    async def anode(state):
        hold_the_lock()

    def node(state):
        hold_the_lock()

    options = {} if kind == "async" else {"ray_options": {"placement": "thread"}}
    with pytest.raises(NodeTimeoutError, match="run timeout of 1") as caught:
        one(on_ray, anode if kind == "async" else node, timeout=1, **options).invoke(
            {"items": []}, {"max_attempts": 3}
        )
    assert "hold_the_lock" in "".join(caught.value.__notes__)


def test_an_async_node_that_never_awaits_waits_for_its_reader_in_bounded_memory(on_ray):
    events, payload = 60_000, "x" * 1000

    async def writes(state, writer):
        writer(os.getpid())
        for i in range(events):
            writer((i, payload))
        return {"items": [os.getpid()]}

    stream = one(on_ray, writes).stream({"items": []}, stream_mode=["custom", "updates"])
    pid = next(stream)[1]
    before = resident(pid)
    time.sleep(9)  # long enough for the blocked process to be retired
    grown = resident(pid) - before
    chunks = list(stream)
    print(f"grew by {grown >> 20} MiB")
    assert grown < 16 << 20
    assert chunks[:-1] == [("custom", (i, payload)) for i in range(events)]
    assert chunks[-1] == ("updates", {"n": {"items": [pid]}})


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory and not shared."""
    with open(f"/proc/{pid}/statm") as file:
        pages = file.read().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")
