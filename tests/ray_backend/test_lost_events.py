"""A worker that dies with events which its result counts, but which never left it."""

import time

import pytest

from distgraph.streaming.broker import GATE
from tests.support.cluster import wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = [pytest.mark.ray, pytest.mark.timeout(60)]


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
    process().publisher._puts.put = lambda run, segments: Future()
    writer("is lost")
    while not is_sending():  # before that, the event would travel with the result
        time.sleep(0.001)
    threading.Timer(1.0, os._exit, (1,)).start()  # behind its result
    return {"items": ["n"]}


def test_a_run_does_not_wait_for_ever_for_events_that_went_with_their_worker(on_ray):
    from distgraph.errors import WorkerDied

    builder = on_ray.StateGraph(Items).add_node("n", loses_its_last_put).add_node("m", adds("m"))
    graph = on_ray.compile(builder.add_edge(on_ray.START, "n").add_edge("n", "m"))
    chunks = []
    begin = None
    with pytest.raises(WorkerDied, match=r"1 events of task .*, attempt 1, were lost"):
        for chunk in graph.stream({"items": []}, stream_mode=["custom", "updates"]):
            begin = begin or time.monotonic()  # its process has started
            chunks.append(chunk)
    seconds = time.monotonic() - begin
    print(f"known after {seconds:.1f} s")
    assert chunks == [
        ("custom", "arrives"),
        ("updates", {"n": {"items": ["n"]}}),
        ("updates", {"m": {"items": ["m"]}}),
    ]
    assert seconds < GATE + 5
    wait_for_free_cpus()
