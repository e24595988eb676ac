"""Nodes that wait, as for a model: what a thousand of them cost."""

from __future__ import annotations

import asyncio
import operator
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, TypedDict

import ray

from benchmarks.engines import Engine, engines
from benchmarks.floor import waiter
from benchmarks.harness import ASYNCIO, RAY, Case, Contender, Family, Metric, Plan, check

SECONDS = 0.1
WALL = Metric("wall", "s")
PROCESSES = Metric("processes", "that ran nodes", compared=False, is_detail=True)


class State(TypedDict):
    count: int
    pids: Annotated[list[int], operator.add]


async def wait(seconds: float) -> dict[str, list[int]]:
    await asyncio.sleep(seconds)
    return {"pids": [os.getpid()]}


def spread_with(send: Any) -> Any:
    def spread(state: State) -> list[Any]:
        return [send("wait", SECONDS) for _ in range(state["count"])]

    return spread


def graph_of(engine: Engine) -> Any:
    """Return a graph that sends ``count`` times to a node that waits."""
    builder = engine.StateGraph(State)
    engine.add(builder, "wait", wait)
    builder.add_conditional_edges("__start__", spread_with(engine.Send), ["wait"])
    builder.set_finish_point("wait")
    return engine.compile(builder)


def run(graph: Any, count: int) -> Mapping[str, float]:
    """Return the seconds of one run, and the processes that its nodes ran in."""
    begin = time.perf_counter()
    result = asyncio.run(graph.ainvoke({"count": count, "pids": []}))
    spent = time.perf_counter() - begin
    check("waits", len(result["pids"]), count)
    return {WALL.name: spent, PROCESSES.name: len(set(result["pids"]))}


def raw(count: int) -> Mapping[str, float]:
    """Return the seconds of as many calls of one asynchronous actor."""
    begin = time.perf_counter()
    ones = ray.get([waiter().wait.remote(SECONDS) for _ in range(count)])
    spent = time.perf_counter() - begin
    check("waits", sum(ones), count)
    return {WALL.name: spent, PROCESSES.name: 1}


def in_process(count: int) -> Mapping[str, float]:
    """Return the seconds of as many coroutines."""

    async def all_of_them() -> list[dict[str, list[int]]]:
        return await asyncio.gather(*(wait(SECONDS) for _ in range(count)))

    begin = time.perf_counter()
    found = asyncio.run(all_of_them())
    spent = time.perf_counter() - begin
    check("waits", len(found), count)
    return {WALL.name: spent, PROCESSES.name: 1}


def _case(count: int) -> Case:
    contenders = []
    for engine in engines():
        graph = graph_of(engine)
        contenders.append(
            Contender(engine.name, partial(run, graph, count), partial(run, graph, 10))
        )
    contenders.append(Contender(RAY, partial(raw, count), partial(raw, 10)))
    contenders.append(Contender(ASYNCIO, partial(in_process, count)))
    return Case(f"{count:,}", (WALL, PROCESSES), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    return tuple(_case(count) for count in (200, 1_000))


FAMILY = Family(
    "waiting",
    "Async nodes that wait 100 ms each",
    "A conditional edge returns that many `Send`s to an `async def` node, run with `ainvoke`. Raw "
    "Ray: as many calls of one asynchronous actor. asyncio: as many coroutines, without a graph.",
    cases,
)
