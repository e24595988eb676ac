"""A long thread: many steps that each add a message and are saved."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks.engines import Engine, engines, in_process
from benchmarks.harness import Case, Contender, Family, Metric, Plan, check

STEP = Metric("step", "ms")
STORED = Metric("stored", "KB/step", is_detail=True)

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "long"}}
TEXT = "x" * 200

Kept = tuple[Any, Callable[[], int]]
"""A saver, and what tells how many bytes it holds."""


def graph_of(engine: Engine, saver: Any, steps: int) -> Any:
    """Return a graph of one node that adds a message, until there are ``steps`` of them."""

    def talk(state: Any) -> dict[str, Any]:
        number = len(state["messages"])
        return {"messages": [AIMessage(TEXT, id=str(number))]}

    def onward(state: Any) -> str:
        return "again" if len(state["messages"]) < steps else "enough"

    builder = engine.StateGraph(engine.MessagesState)
    engine.add(builder, "talk", talk)
    builder.set_entry_point("talk")
    builder.add_conditional_edges("talk", onward, {"again": "talk", "enough": "__end__"})
    return engine.compile(builder, checkpointer=saver)


@contextmanager
def in_memory() -> Iterator[Kept]:
    """A saver in memory."""
    saver = InMemorySaver()

    def stored() -> int:
        blobs = sum(len(data) for _, data in saver.blobs.values())
        written = sum(len(w[2][1]) for by_task in saver.writes.values() for w in by_task.values())
        threads = (ns for thread in saver.storage.values() for ns in thread.values())
        return blobs + written + sum(len(c[1]) for ns in threads for c, *_ in ns.values())

    yield saver, stored


@contextmanager
def in_sqlite() -> Iterator[Kept]:
    """A saver on a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "threads.sqlite"
        with SqliteSaver.from_conn_string(str(path)) as saver:
            yield saver, lambda: sum(os.path.getsize(file) for file in Path(folder).iterdir())


def run(engine: Engine, kept: Callable[[], Any], steps: int) -> Mapping[str, float]:
    """Return the milliseconds a step, and the kilobytes that it left behind."""
    with kept() as (saver, stored):
        graph = graph_of(engine, saver, steps)
        begin = time.perf_counter()
        result = graph.invoke({"messages": []}, {**CONFIG, "recursion_limit": steps + 5})
        spent = time.perf_counter() - begin
        check("messages", len(result["messages"]), steps)
        check("last step saved", saver.get_tuple(CONFIG).metadata["step"], steps)
        return {STEP.name: spent / steps * 1e3, STORED.name: stored() / steps / 1024}


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    steps = plan.pick(1_000, 40)
    return tuple(
        Case(
            name,
            (STEP, STORED),
            tuple(
                Contender(
                    engine.name, partial(run, engine, kept, steps), partial(run, engine, kept, 3)
                )
                for engine in (*engines(), in_process())
            ),
        )
        for name, kept in (("in memory", in_memory), ("SQLite", in_sqlite))
    )


FAMILY = Family(
    "durable",
    "1,000 saved steps with a growing list of messages",
    "One node adds a message of 200 characters a step; every step is saved (durability `async`). "
    "The same saver for all: one in memory, which on Ray stays in the caller's process, and one on "
    "a SQLite file, which the driver opens.",
    cases,
)
