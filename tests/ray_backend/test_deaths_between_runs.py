"""A process of the session that dies between two runs does not fail the next run."""

import asyncio
import os
import signal

import pytest

from tests.support.cluster import pids_of_actors
from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.faults]


@pytest.fixture(autouse=True)
def by_default(on_ray, monkeypatch):
    monkeypatch.delenv("DISTGRAPH_MAX_ATTEMPTS")


class Pooled:
    def __call__(self, state):
        return {"items": [os.getpid()]}


async def waits(state):
    await asyncio.sleep(0)
    return {"items": [os.getpid()]}


def computes(state):
    return {"items": [os.getpid()]}


def one(ns, node):
    return ns.compile(ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n"))


@pytest.mark.parametrize("node", [waits, computes, Pooled], ids=["executor", "worker", "pool"])
def test_an_idle_process_that_died_is_replaced(on_ray, node):
    graph = one(on_ray, node)
    (pid,) = graph.invoke({"items": []})["items"]
    os.kill(pid, signal.SIGKILL)
    (other,) = graph.invoke({"items": []})["items"]
    assert other != pid


@pytest.mark.parametrize("actors", [["SuperstepDriver"], ["StreamBroker"]], ids=lambda a: a[0])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_session_that_died_is_replaced(on_ray, actors, is_async):
    graph = one(on_ray, waits)
    graph.invoke({"items": []})
    pids = [pid for actor in actors for pid in pids_of_actors(actor)]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    result = asyncio.run(graph.ainvoke({"items": []})) if is_async else graph.invoke({"items": []})
    assert len(result["items"]) == 1
