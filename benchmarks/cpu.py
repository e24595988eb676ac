"""Nodes that compute: what a second core brings."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, TypedDict

import ray

from benchmarks.engines import Engine, engines
from benchmarks.floor import floor
from benchmarks.harness import RAY, Case, Contender, Family, Metric, Plan, check

NODES = 8
WALL = Metric("wall", "s")


class State(TypedDict):
    iterations: int
    sums: Annotated[list[int], operator.add]


def burn(iterations: int) -> int:
    """Compute in pure Python, holding the interpreter's lock."""
    total = 0
    for number in range(iterations):
        total = (total * 31 + number) & 0xFFFFFFFF
    return total


def node(state: State) -> dict[str, list[int]]:
    return {"sums": [burn(state["iterations"])]}


def graph_of(engine: Engine, nodes: int = NODES) -> Any:
    """Return a graph of parallel nodes that compute."""
    builder = engine.StateGraph(State)
    for number in range(nodes):
        name = f"node_{number}"
        engine.add(builder, name, node)
        builder.add_edge("__start__", name)
    return engine.compile(builder)


@cache
def calibrated(milliseconds: int) -> int:
    """Return how many iterations take so long here. The same number serves all contenders."""
    probe = 200_000
    fastest = min(_seconds(probe) for _ in range(5))
    return round(probe * milliseconds / 1e3 / fastest)


def _seconds(iterations: int) -> float:
    begin = time.perf_counter()
    burn(iterations)
    return time.perf_counter() - begin


def run(graph: Any, iterations: int, nodes: int = NODES) -> Mapping[str, float]:
    """Return the seconds of one run."""
    begin = time.perf_counter()
    result = graph.invoke({"iterations": iterations, "sums": []})
    spent = time.perf_counter() - begin
    check("sums", len(result["sums"]), nodes)
    return {WALL.name: spent}


def raw(iterations: int) -> Mapping[str, float]:
    """Return the seconds of as many raw tasks."""
    begin = time.perf_counter()
    sums = ray.get(floor().fan_calling.remote(burn, NODES, iterations))
    spent = time.perf_counter() - begin
    check("sums", len(sums), NODES)
    return {WALL.name: spent}


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    milliseconds = plan.pick(450, 50)
    iterations = calibrated(milliseconds)
    runs: dict[str, Callable[[int], Mapping[str, float]]] = {
        engine.name: partial(run, graph_of(engine)) for engine in engines()
    }
    runs[RAY] = raw
    # long enough for every worker process to take part, and so to load the graph
    contenders = tuple(
        Contender(name, partial(one_run, iterations), partial(one_run, calibrated(20)))
        for name, one_run in runs.items()
    )
    return (Case(f"{NODES} nodes of {milliseconds} ms", (WALL,), contenders),)


FAMILY = Family(
    "cpu",
    "Nodes that compute",
    f"{NODES} parallel nodes of pure Python. The number of iterations is that of the "
    "fastest of five trials before the start, the same for all.",
    cases,
)
