"""Fan-outs: one step of many trivial tasks."""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, TypedDict

import ray

from benchmarks.engines import Engine, engines
from benchmarks.floor import floor
from benchmarks.harness import RAY, Case, Contender, Family, Metric, Plan, check

RATE = Metric("rate", "tasks/s", better="more")


class State(TypedDict):
    count: int
    done: Annotated[list[int], operator.add]


def one(number: int) -> dict[str, list[int]]:
    return {"done": [number]}


def spread_with(send: Any) -> Any:
    def spread(state: State) -> list[Any]:
        return [send("one", number) for number in range(state["count"])]

    return spread


def graph_of(engine: Engine) -> Any:
    """Return a graph that sends ``count`` numbers to a trivial node."""
    builder = engine.StateGraph(State)
    engine.add(builder, "one", one)
    builder.add_conditional_edges("__start__", spread_with(engine.Send), ["one"])
    builder.set_finish_point("one")
    return engine.compile(builder)


def run(graph: Any, count: int) -> None:
    """Run the graph once."""
    result = graph.invoke({"count": count, "done": []})
    check("results", result["done"], list(range(count)))


def raw(count: int) -> None:
    """Let an actor run that many tasks."""
    check("results", ray.get(floor().fan.remote(count, b"1")), count)


def rate(one_run: Callable[[int], None], count: int, times: int) -> Mapping[str, float]:
    """Return the tasks a second of the median of ``times`` runs."""
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        one_run(count)
        spent.append(time.perf_counter() - begin)
    return {RATE.name: count / statistics.median(spent)}


def _case(count: int, times: int) -> Case:
    once: dict[str, Callable[[int], None]] = {
        engine.name: partial(run, graph_of(engine)) for engine in engines()
    }
    once[RAY] = raw
    contenders = tuple(
        Contender(name, partial(rate, one_run, count, times), partial(rate, one_run, count, 1))
        for name, one_run in once.items()
    )
    return Case(f"{count:,}", (RATE,), contenders)


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    repeated = {
        1: plan.pick(50, 5),
        8: plan.pick(30, 5),
        64: plan.pick(10, 2),
        256: plan.pick(5, 1),
    }
    counts = (1, 8, 64, 256, 1_000, 10_000)
    return tuple(_case(count, repeated.get(count, plan.pick(3, 1))) for count in counts)


FAMILY = Family(
    "fanout",
    "Fan-outs of trivial tasks",
    "A conditional edge returns that many `Send`s, each to a node that returns one number; whole "
    "runs, the step of the conditional edge included. Raw Ray: an actor that submits a task each.",
    cases,
)
