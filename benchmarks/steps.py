"""Sequential steps: one node that goes around a loop, at several sizes of state."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

import ray

from benchmarks.engines import Engine, engines
from benchmarks.floor import echo, floor, length_of
from benchmarks.harness import RAY, RAY_CALLER, Case, Contender, Family, Metric, Plan, check

STEP = Metric("step", "ms")


class State(TypedDict):
    number: int
    until: int
    payload: bytes


class Shown(TypedDict):
    number: int


def rewrite(state: State) -> dict[str, Any]:
    payload = state["payload"]
    return {"number": state["number"] + 1, "payload": bytes([state["number"] & 255]) + payload[1:]}


def keep(state: State) -> dict[str, Any]:
    return {"number": state["number"] + bool(state["payload"])}


def onward(state: State) -> str:
    return "again" if state["number"] < state["until"] else "enough"


def graph_of(engine: Engine, node: Callable[[State], dict[str, Any]]) -> Any:
    """Return a graph of one node that loops by a conditional edge."""
    builder = engine.StateGraph(State, output_schema=Shown)
    engine.add(builder, "step", node)
    builder.set_entry_point("step")
    builder.add_conditional_edges("step", onward, {"again": "step", "enough": "__end__"})
    return engine.compile(builder)


def run(graph: Any, steps: int, size: int) -> Mapping[str, float]:
    """Return the milliseconds a step."""
    begin = time.perf_counter()
    result = graph.invoke(
        {"number": 0, "until": steps, "payload": bytes(size)}, {"recursion_limit": steps + 5}
    )
    spent = time.perf_counter() - begin
    check("steps", result["number"], steps)
    return {STEP.name: spent / steps * 1e3}


def from_actor(method: str, steps: int, size: int) -> Mapping[str, float]:
    """Return the milliseconds a task that an actor submits."""
    packed = bytes(size) if method == "chain" else pickle.dumps(bytes(size), 5)
    begin = time.perf_counter()
    ray.get(getattr(floor(), method).remote(steps, packed))
    return {STEP.name: (time.perf_counter() - begin) / steps * 1e3}


def from_caller(method: str, steps: int, size: int) -> Mapping[str, float]:
    """Return the milliseconds a task that this process submits."""
    packed: Any = bytes(size)
    begin = time.perf_counter()
    if method == "chain":
        for _ in range(steps):
            packed = ray.get(echo.remote(packed))
    else:
        reference = ray.put(pickle.dumps(packed, 5))
        for _ in range(steps):
            ray.get(length_of.remote(reference, 0))
    return {STEP.name: (time.perf_counter() - begin) / steps * 1e3}


def _case(name: str, node: Callable[[State], Any], method: str, steps: int, size: int) -> Case:
    contenders = []
    for engine in engines():
        graph = graph_of(engine, node)
        warm = partial(run, graph, 5, size)
        contenders.append(Contender(engine.name, partial(run, graph, steps, size), warm))
    for contender, chain in ((RAY, from_actor), (RAY_CALLER, from_caller)):
        warm = partial(chain, method, 5, size)
        contenders.append(Contender(contender, partial(chain, method, steps, size), warm))
    return Case(name, (STEP,), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    steps = plan.pick(1_000, 60)
    return (
        _case("1 KB, rewritten", rewrite, "chain", steps, 1 << 10),
        _case("1 MB, rewritten", rewrite, "chain", steps, 1 << 20),
        _case("1 MB, read only", keep, "chain_beside", steps, 1 << 20),
    )


FAMILY = Family(
    "steps",
    "1,000 steps in sequence",
    "One node loops by a conditional edge, and each time either rewrites the state's payload or "
    "only reads it. Raw Ray: a chain of tasks that take and return a payload of the same size, or "
    "read one that was put once; submitted by an actor, as our driver is.",
    cases,
)
