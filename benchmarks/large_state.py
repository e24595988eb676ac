"""A large state: many nodes that read it in one step, and many steps that leave it as it is."""

from __future__ import annotations

import operator
import pickle
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import ray

from benchmarks.engines import Engine, engines
from benchmarks.floor import floor
from benchmarks.harness import RAY, Case, Contender, Family, Metric, Plan, check

READERS = 8
WALL, STEP = Metric("wall", "ms"), Metric("step", "ms")
FIRST = 5
"""Steps until a worker holds the state."""


class State(TypedDict):
    documents: list[str]
    until: int
    number: Annotated[int, operator.add]


class Shown(TypedDict):
    number: int


@cache
def documents(count: int = 10_240) -> list[str]:
    """Return text, a kilobyte a document: 10 MB."""
    return [f"{number:08d}" + "x" * 1016 for number in range(count)]


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


def step(graph: Any, steps: int, count: int) -> Mapping[str, float]:
    """Return the median of the milliseconds between two steps, the first ones left out."""
    given = {"documents": documents(count), "until": steps, "number": 0}
    config = {"recursion_limit": steps + 5}
    ends = [time.perf_counter() for _ in graph.stream(given, config, stream_mode="updates")]
    check("steps", len(ends), steps)
    gaps = [(following - end) * 1e3 for end, following in pairwise(ends[FIRST:])]
    return {STEP.name: statistics.median(gaps)}


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


def _held(name: str, steps: int, count: int) -> Case:
    contenders = []
    for engine in engines():
        graph = long(engine)
        warm = partial(step, graph, 2 * FIRST, count)
        contenders.append(Contender(engine.name, partial(step, graph, steps, count), warm))
    return Case(name, (STEP,), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    steps, more = plan.pick(20, 5), plan.pick(300, 40)
    return (
        _case(f"{READERS} readers in one step", wide, "fan_reading", READERS),
        _case(f"{steps} steps", long, "chain_beside", steps),
        _held("10 MB, once a worker holds it", more, 10_240),
        _held("1 KB, in the same way", more, 1),
    )


FAMILY = Family(
    "large",
    "A state of 10 MB that nodes only read",
    "10,240 strings of a kilobyte each, read by nodes that return one number; whole runs, the way "
    "of the input to the driver included. Raw Ray: an actor is sent the pickled state, puts it "
    "into the object store once, and runs tasks that unpickle it. Step: the median time between "
    "two events of one run, behind the first five.",
    cases,
)
