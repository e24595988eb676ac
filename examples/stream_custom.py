"""Mode ``custom``: whatever a node writes, at the moment when it writes it."""

from __future__ import annotations

import os
from typing import TypedDict

from distgraph.config import get_stream_writer
from distgraph.graph import START, StateGraph
from distgraph.types import StreamWriter


class State(TypedDict, total=False):
    """The state of the run."""

    records: list[int]
    total: int


def fetch(state: State, writer: StreamWriter) -> State:
    """Take the writer as a parameter."""
    records = []
    for number in range(1, 4):
        records.append(number * number)
        writer({"progress": f"fetched {number}/3 records", "process": os.getpid()})
    return {"records": records}


def add_up(state: State) -> State:
    """Get the writer from the context, as functions deep inside a node do."""
    get_stream_writer()({"progress": "adding up", "process": os.getpid()})
    return {"total": sum(state["records"])}


graph = (
    StateGraph(State)
    .add_node(fetch)
    .add_node(add_up)
    .add_edge(START, "fetch")
    .add_edge("fetch", "add_up")
    .compile()
)

if __name__ == "__main__":
    print(f"the caller is process {os.getpid()}")
    for chunk in graph.stream({}, stream_mode="custom"):
        print(chunk)
