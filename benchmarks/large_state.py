"""A large state: many nodes that read it in one step, and many steps that leave it as it is."""

from __future__ import annotations

import operator
import pickle
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, TypedDict

import ray

from benchmarks.engines import Engine, engines
from benchmarks.floor import floor
from benchmarks.harness import RAY, Case, Contender, Family, Metric, Plan, check

READERS = 8
WALL = Metric("wall", "ms")


class State(TypedDict):
    documents: list[str]
    until: int
    number: Annotated[int, operator.add]


class Shown(TypedDict):
    number: int


@cache
def documents() -> list[str]:
    """Return 10 MB of text, a kilobyte a document."""
    return [f"{number:08d}" + "x" * 1016 for number in range(10_240)]


def read(state: State) -> dict[str, int]:
    return {"number": bool(len(state["documents"]))}


def onward(state: State) -> str:
    return "again" if state["number"] < state["until"] else "enough"


def wide(engine: Engine) -> Any:
    """Return a graph of one step in which several nodes read the state."""
    builder = engine.StateGraph(State, output_schema=Shown)
    for number in range(READERS):
        engine.add(builder, f"read_{number}", read)
        builder.add_edge("__start__", f"read_{number}")
    return engine.compile(builder)


def long(engine: Engine) -> Any:
    """Return a graph of one node that reads the state, over and over."""
    builder = engine.StateGraph(State, output_schema=Shown)
    engine.add(builder, "read", read)
    builder.set_entry_point("read")
    builder.add_conditional_edges("read", onward, {"again": "read", "enough": "__end__"})
    return engine.compile(builder)


def run(graph: Any, reads: int) -> Mapping[str, float]:
    """Return the milliseconds of one run."""
    given = {"documents": documents(), "until": reads, "number": 0}
    begin = time.perf_counter()
    result = graph.invoke(given, {"recursion_limit": reads + 5})
    spent = (time.perf_counter() - begin) * 1e3
    check("reads", result["number"], reads)
    return {WALL.name: spent}


def raw(method: str, reads: int) -> Mapping[str, float]:
    """Return the milliseconds of an actor that is sent the state, puts it, and runs readers."""
    begin = time.perf_counter()
    ray.get(getattr(floor(), method).remote(reads, pickle.dumps(documents(), 5)))
    return {WALL.name: (time.perf_counter() - begin) * 1e3}


def _case(name: str, build: Any, method: str, reads: int) -> Case:
    contenders = []
    for engine in engines():
        graph = build(engine)
        measured = partial(run, graph, reads)
        contenders.append(Contender(engine.name, measured, measured))
    measured = partial(raw, method, reads)
    contenders.append(Contender(RAY, measured, measured))
    return Case(name, (WALL,), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    steps = plan.pick(20, 5)
    return (
        _case(f"{READERS} readers in one step", wide, "fan_reading", READERS),
        _case(f"{steps} steps", long, "chain_beside", steps),
    )


FAMILY = Family(
    "large",
    "A state of 10 MB that nodes only read",
    "10,240 strings of a kilobyte each, read by nodes that return one number; whole runs, the way "
    "of the input to the driver included. Raw Ray: an actor is sent the pickled state, puts it "
    "into the object store once, and runs tasks that unpickle it.",
    cases,
)
