"""Many runs at once on one session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypedDict

from benchmarks.engines import Engine, engines
from benchmarks.harness import Case, Contender, Family, Metric, Plan, check, percentile

WALL = Metric("wall", "s")
P50, P99 = Metric("step p50", "ms"), Metric("step p99", "ms")
FIRST, LATER = Metric("first event p50", "ms"), Metric("later steps p99", "ms")

STEPS, SECONDS = 4, 0.005


class State(TypedDict):
    number: int


def wait(state: State) -> dict[str, int]:
    time.sleep(SECONDS)
    return {"number": state["number"] + 1}


async def await_it(state: State) -> dict[str, int]:
    await asyncio.sleep(SECONDS)
    return {"number": state["number"] + 1}


def graph_of(engine: Engine, node: Callable[..., Any], **ray_options: Any) -> Any:
    """Return a graph of nodes in a row that wait."""
    builder = engine.StateGraph(State)
    names = [f"step_{number}" for number in range(STEPS)]
    for name in names:
        engine.add(builder, name, node, **ray_options)
    builder.set_entry_point(names[0])
    for one, following in pairwise(names):
        builder.add_edge(one, following)
    builder.set_finish_point(names[-1])
    return engine.compile(builder)


def run(graph: Any, count: int) -> Mapping[str, float]:
    """Return the seconds of all runs, and percentiles of the time between their events."""
    firsts: list[float] = []
    later: list[float] = []

    async def one() -> None:
        last, gaps = time.perf_counter(), firsts
        async for _ in graph.astream({"number": 0}, stream_mode="updates"):
            now = time.perf_counter()
            gaps.append((now - last) * 1e3)
            last, gaps = now, later

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(count)))

    begin = time.perf_counter()
    asyncio.run(all_of_them())
    spent = time.perf_counter() - begin
    gaps = firsts + later
    check("events", len(gaps), STEPS * count)
    return {
        WALL.name: spent,
        P50.name: percentile(gaps, 50),
        P99.name: percentile(gaps, 99),
        FIRST.name: percentile(firsts, 50),
        LATER.name: percentile(later, 99),
    }


def _case(name: str, count: int, node: Callable[..., Any], **ray_options: Any) -> Case:
    contenders = []
    for engine in engines():
        graph = graph_of(engine, node, **ray_options)
        warm = partial(run, graph, min(count, 20))
        contenders.append(Contender(engine.name, partial(run, graph, count), warm))
    return Case(name, (WALL, P50, P99, FIRST, LATER), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    found = []
    for count in (1, 10, 100, plan.pick(1_000, 200)):
        found.append(_case(f"{count:,}, async nodes", count, await_it))
        if count <= 100:
            threads = {"placement": "thread"}
            found.append(_case(f"{count:,}, sync nodes in threads", count, wait, **threads))
    return tuple(found)


FAMILY = Family(
    "runs",
    "Concurrent runs",
    f"That many runs at once by `astream`, each of {STEPS} nodes in a row that wait 5 ms. Steps: "
    "the times between the events of a run, and up to its first one.",
    cases,
)
