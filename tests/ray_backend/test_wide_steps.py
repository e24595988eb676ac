"""Many attempts at once: ten thousand of one step, and those of a long run beside short ones."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from distgraph.engine.machine import Machine
from tests.support.graphs import Items, Numbers, one

pytestmark = pytest.mark.long

TASKS = 10_000

LONG = 400
"""Tasks of the long run."""


def fan_out(ns, node, tasks):
    builder = ns.StateGraph(Numbers).add_node("n", node)
    sends = [ns.Send("n", {"n": number}) for number in range(tasks)]
    return builder.add_conditional_edges(ns.START, lambda state: sends, ["n"])


def test_ten_thousand_tasks_of_one_step_arrive_once_and_in_order(ours, monkeypatch):
    monkeypatch.setattr(Machine, "validates", False)  # it would look at all tasks for each

    def node(state, writer):
        number = state["n"]
        writer([number, "begins"])
        writer([number, "ends"])
        return {"items": [number]}

    graph = ours.compile(fan_out(ours, node, TASKS))
    chunks = defaultdict(list)
    values = []
    for mode, chunk in graph.stream({"items": []}, stream_mode=["custom", "updates", "values"]):
        if mode == "values":
            values.append(chunk["items"])
        elif mode == "custom":
            chunks[chunk[0]].append(chunk[1])
        else:
            (number,) = chunk["n"]["items"]
            chunks[number].append("update")
    assert values == [[], list(range(TASKS))]
    assert set(chunks) == set(range(TASKS))
    assert set(map(tuple, chunks.values())) == {("begins", "ends", "update")}


@pytest.mark.ray
def test_short_runs_go_on_beside_a_run_of_many_tasks(on_ray):
    """No time is measured: were tasks served as they come, the long run would end first."""

    def slow(state):
        time.sleep(0.01)
        return {"items": [state["n"]]}

    long = on_ray.compile(fan_out(on_ray, slow, LONG))
    short = on_ray.compile(one(on_ray, lambda state: {"items": ["short"]}, Items))
    seen, begun = [], threading.Event()

    def read():
        for chunk in long.stream({"items": []}, stream_mode="updates"):
            seen.extend(chunk["n"]["items"])
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    counts = []
    for _ in range(5):
        assert short.invoke({"items": []}) == {"items": ["short"]}
        counts.append(len(seen))
    reader.join()
    print(f"tasks of the long run that had ended behind each short run: {counts}")
    assert counts[-1] < LONG
    assert sorted(seen) == list(range(LONG))
