"""A program that is killed, or left with open questions, and continued by another process.

python -m tests.durable.errand DATABASE FOLDER [start|go-on]
"""

from __future__ import annotations

import operator
import sys
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver

from distgraph.graph import START, StateGraph
from distgraph.types import interrupt

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "errand"}}
NAMES = ("a", "b", "c")


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


def build(folder: Path) -> StateGraph:
    """Three parallel tasks between two others; ``c`` waits until there is a file ``go``."""

    def first(state: Log) -> dict[str, Any]:
        note(folder, "first")
        return {"log": ["first"]}

    def last(state: Log) -> dict[str, Any]:
        note(folder, "last")
        return {"log": ["last"]}

    def worker(name: str) -> Any:
        def work(state: Log) -> dict[str, Any]:
            note(folder, name)
            while name == "c" and not (folder / "go").exists():
                time.sleep(0.02)
            return {"log": [name]}

        return work

    builder = StateGraph(Log)
    builder.add_node("first", first)
    builder.add_node("last", last)
    builder.add_edge(START, "first")
    for name in NAMES:
        builder.add_node(name, worker(name))
        builder.add_edge("first", name)
    builder.add_edge(list(NAMES), "last")
    return builder


def questions() -> StateGraph:
    """Eight parallel tasks that each put a question."""

    def asker(name: str) -> Any:
        def ask(state: Log) -> dict[str, Any]:
            return {"log": [f"{name}: {interrupt(name)}"]}

        return ask

    builder = StateGraph(Log)
    for number in range(8):
        builder.add_node(f"ask{number}", asker(f"ask{number}"))
        builder.add_edge(START, f"ask{number}")
    return builder


def note(folder: Path, name: str) -> None:
    """Leave a mark for each time that a task runs."""
    with (folder / f"ran-{name}").open("a") as file:
        file.write(".")


def main() -> None:
    database, folder, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with SqliteSaver.from_conn_string(database) as saver:
        if what == "ask":
            for chunk in questions().compile(checkpointer=saver).stream({"log": []}, CONFIG):
                print(chunk, flush=True)
            return
        graph = build(folder).compile(checkpointer=saver)
        print(graph.invoke({"log": ["in"]} if what == "start" else None, CONFIG), flush=True)


if __name__ == "__main__":
    main()
