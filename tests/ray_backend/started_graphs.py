"""Graphs for started runs, and processes that start and read them: run as a module."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from distgraph.graph import START, StateGraph
from tests.support.graphs import Items

EVENTS = 60


def _count(state: Items, writer: Any) -> Any:
    for number in range(EVENTS):
        time.sleep(0.05)
        writer(number)
    return {"items": [EVENTS]}


def counting(**options: Any) -> Any:
    """A graph that writes the numbers from 0, and takes some seconds for them."""
    return StateGraph(Items).add_node("count", _count).add_edge(START, "count").compile(**options)


def _go_on(state: Items, writer: Any) -> Any:
    writer("started")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.05)
        writer("alive")


def endless(**options: Any) -> Any:
    """A graph that writes for a minute."""
    return StateGraph(Items).add_node("go_on", _go_on).add_edge(START, "go_on").compile(**options)


def _detach(database: str) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    from distgraph.runs import Retention

    with SqliteSaver.from_conn_string(database) as saver:
        run = counting(backend="ray", checkpointer=saver).start(
            {"items": []},
            {"configurable": {"thread_id": "t"}},
            stream_mode="custom",
            detached=True,
            retention=Retention(seconds=6),
        )
        next(run.events())
        print(json.dumps([run.run_id]), flush=True)
        time.sleep(60)


def _read(run_id: str, after: str) -> None:
    from distgraph import attach

    for item in attach(run_id).events(after=int(after)):
        print(json.dumps(item), flush=True)


if __name__ == "__main__":
    {"detach": _detach, "read": _read}[sys.argv[1]](*sys.argv[2:])
