"""A worker that dies with events which its result counts, but which never left it."""

import time
from dataclasses import replace

import pytest

from tests.support.cluster import wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray


def loses_its_last_put(state, writer):
    import os
    import threading
    from concurrent.futures import Future

    from actors.worker import process

    writer("arrives")
    lanes = process().publisher._lanes.values()

    def is_sending():
        return any(lane.in_flight is not None for lane in lanes)

    while is_sending():
        time.sleep(0.001)
    process().publisher._sending.puts.put = lambda run, segments: Future()
    writer("is lost")
    while not is_sending():  # before that, the event would travel with the result
        time.sleep(0.001)
    threading.Timer(1.0, os._exit, (1,)).start()  # behind its result
    return {"items": ["n"]}


SHORT = 2.0
"""Seconds that a commit waits for events: ``GATE`` is 10, as ``tests/streaming`` shows."""


@pytest.fixture
def short_gate(on_ray):
    """Let the session's broker wait for lost events less long than it does by default."""
    import ray

    from actors.sessions import current

    def set_gate(actor, seconds):
        broker = actor._host._broker
        before, broker._limits = broker._limits.gate, replace(broker._limits, gate=seconds)
        return before

    call = current().broker.__ray_call__
    before = ray.get(call.remote(set_gate, SHORT))
    yield
    ray.get(call.remote(set_gate, before))


def test_a_run_does_not_wait_for_ever_for_events_that_went_with_their_worker(on_ray, short_gate):
    from distgraph.errors import WorkerDied

    builder = on_ray.StateGraph(Items).add_node("n", loses_its_last_put).add_node("m", adds("m"))
    graph = on_ray.compile(builder.add_edge(on_ray.START, "n").add_edge("n", "m"))
    chunks = []
    with pytest.raises(WorkerDied, match=r"1 events of task .*, attempt 1, were lost"):
        for chunk in graph.stream({"items": []}, stream_mode=["custom", "updates"]):
            chunks.append(chunk)
    assert chunks == [
        ("custom", "arrives"),
        ("updates", {"n": {"items": ["n"]}}),
        ("updates", {"m": {"items": ["m"]}}),
    ]
    wait_for_free_cpus()
