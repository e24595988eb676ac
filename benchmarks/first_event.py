"""A run of one trivial node: how long until its first event, and until its end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

from benchmarks.engines import Engine, engines
from benchmarks.floor import floor
from benchmarks.harness import RAY, Case, Contender, Family, Metric, Plan, check

FIRST = Metric("first event", "ms")
INVOKE = Metric("invoke", "ms", is_detail=True)


class State(TypedDict):
    number: int


def increment(state: State) -> dict[str, int]:
    return {"number": state["number"] + 1}


def graph_of(engine: Engine) -> Any:
    """Return a graph of one node."""
    builder = engine.StateGraph(State)
    engine.add(builder, "increment", increment)
    builder.set_entry_point("increment")
    builder.set_finish_point("increment")
    return engine.compile(builder)


def first_event(graph: Any) -> float:
    """Return the milliseconds from the call of ``stream`` to its first chunk."""
    begin = time.perf_counter()
    stream = graph.stream({"number": 1}, stream_mode="updates")
    chunk = next(stream)
    spent = (time.perf_counter() - begin) * 1e3
    check("chunks", [chunk, *stream], [{"increment": {"number": 2}}])
    return spent


def whole_run(graph: Any) -> float:
    """Return the milliseconds of one ``invoke``."""
    begin = time.perf_counter()
    result = graph.invoke({"number": 1})
    spent = (time.perf_counter() - begin) * 1e3
    check("result", result, {"number": 2})
    return spent


def one_task() -> float:
    """Return the milliseconds of one task that an actor submits for the caller."""
    import ray

    begin = time.perf_counter()
    ray.get(floor().chain.remote(1, b"1"))
    return (time.perf_counter() - begin) * 1e3


def _sampled(
    calls: Mapping[str, Callable[[], float]], samples: int, rest: float
) -> dict[str, float]:
    values: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(samples):
        for name, measured in calls.items():
            if rest:
                time.sleep(rest)
            values[name].append(measured())
    return {name: statistics.median(found) for name, found in values.items()}


def _case(name: str, samples: int, rest: float) -> Case:
    contenders = []
    for engine in engines():
        graph = graph_of(engine)
        calls = {FIRST.name: partial(first_event, graph), INVOKE.name: partial(whole_run, graph)}
        run = partial(_sampled, calls, samples, rest)
        contenders.append(Contender(engine.name, run, partial(_sampled, calls, 3, 0.0)))
    raw = {FIRST.name: one_task, INVOKE.name: one_task}
    run = partial(_sampled, raw, samples, rest)
    contenders.append(Contender(RAY, run, partial(_sampled, raw, 3, 0.0)))
    return Case(name, (FIRST, INVOKE), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    return (
        _case("warm", plan.pick(30, 10), 0.0),
        _case("after a second of rest", plan.pick(5, 1), 1.0),
    )


FAMILY = Family(
    "first",
    "A run of one trivial node",
    'From the call of `stream(..., stream_mode="updates")` to its first chunk, of a graph that has '
    "run before. Raw Ray: one call of an actor that runs one task.",
    cases,
)
