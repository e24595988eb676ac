"""What Ray prints about a dead worker process is one line with the path of its log."""

from __future__ import annotations

import io
import os
import queue
import sys
from pathlib import Path

import pytest
import ray

from actors import ray_messages
from distgraph import status
from distgraph.errors import WorkerDied
from distgraph.graph import START, StateGraph
from tests.support.graphs import Items

pytestmark = pytest.mark.ray


def test_each_death_of_a_worker_is_one_line_with_an_existing_log(on_ray, monkeypatch, capsys):
    lines = queue.Queue()
    monkeypatch.setattr(status, "note", lambda text: lines.put(text) or True)

    def node(state):
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    graph = on_ray.compile(StateGraph(Items).add_node("n", node).add_edge(START, "n"))
    logs = set()
    for _ in range(2):  # the second within the time in which Ray keeps back what looks the same
        with pytest.raises(WorkerDied):
            graph.invoke({"items": []})
        while not (line := lines.get(timeout=30)).startswith("worker process "):
            pass
        start, _, log = line.partition(" Log: ")
        assert start.endswith(" died: it was killed, it crashed, or its code ended it.")
        assert "last words" in Path(log).read_text()
        logs.add(log)
    assert len(logs) == 2
    assert "A worker died" not in capsys.readouterr().out


def test_rays_messages_that_its_user_lets_through_are_still_let_through():
    deduplicator = ray._private.ray_logging.LogDeduplicator(5, "mine|its", None)
    ray_messages._let_every_death_through(deduplicator)
    lines = ["mine 1", "A worker died or was killed while executing a task 1", "other 1"]
    batch = {"pid": "raylet", "ip": "x", "lines": lines}
    assert [each["lines"] for each in deduplicator.deduplicate(batch)] == [lines]
    assert [each["lines"] for each in deduplicator.deduplicate(batch)] == [lines[:2]]


def test_the_output_of_nodes_and_short_messages_stay_as_they_are(on_ray, caplog):
    ray_messages.shorten()
    printer = ray._private.worker.print_worker_logs
    out = io.StringIO()
    printer({"pid": 7, "ip": "x", "localhost": "x", "lines": ["y" * 600], "is_err": False}, out)
    printer({"pid": "autoscaler", "lines": ["Resized to 4 CPUs."], "is_err": False}, out, True)
    assert "y" * 600 in out.getvalue()
    out.seek(0)
    printer({"pid": "raylet", "lines": ["z" * 600, "", "short"], "is_err": False}, out, True)
    assert out.getvalue().startswith("short\n")
    assert caplog.messages[-1].startswith("Ray: zzz")
