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
    import ray

    from distgraph import attach
    from distgraph.errors import RunError

    run = attach(run_id)
    left_open = run.events(after=int(after))
    next(left_open)
    for item in run.events(after=int(after)):
        print(json.dumps(item), flush=True)
    ray.shutdown()
    try:
        run.result()
    except RunError as error:
        left_open.close()  # type: ignore[attr-defined]
        print(json.dumps([type(error).__name__, ray.is_initialized()]), flush=True)


if __name__ == "__main__":
    {"detach": _detach, "read": _read}[sys.argv[1]](*sys.argv[2:])
