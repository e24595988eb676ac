"""Calls of tasks of the functional API, one after the other and at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import ray

from benchmarks.engines import engines
from benchmarks.floor import floor
from benchmarks.harness import OURS, RAY, Case, Contender, Family, Metric, Plan, check

CALL = Metric("call", "ms")


def workflows(name: str) -> tuple[Any, Any]:
    """Return two workflows of a library: one makes its calls in turn, and an async one at once."""
    library, options = ("distgraph", {"backend": "ray"}) if name == OURS else ("langgraph", {})
    func: Any = import_module(f"{library}.func")

    def follow(number: int) -> int:
        return number + 1

    async def afollow(number: int) -> int:
        return number + 1

    call, acall = func.task(follow), func.task(afollow)

    def in_turn(count: int) -> int:
        number = 0
        for _ in range(count):
            number = call(number).result()
        return number

    async def at_once(count: int) -> int:
        return sum(await asyncio.gather(*(acall(0) for _ in range(count))))

    return func.entrypoint(**options)(in_turn), func.entrypoint(**options)(at_once)


def run(invoke: Callable[[int], Any], count: int) -> Mapping[str, float]:
    """Return the milliseconds a call."""
    begin = time.perf_counter()
    found = invoke(count)
    spent = time.perf_counter() - begin
    check("calls", found, count)
    return {CALL.name: spent / count * 1e3}


def from_actor(method: str, count: int) -> Mapping[str, float]:
    """Return the milliseconds a task that an actor submits."""
    begin = time.perf_counter()
    ray.get(getattr(floor(), method).remote(count, b""))
    return {CALL.name: (time.perf_counter() - begin) / count * 1e3}


def _awaited(workflow: Any) -> Callable[[int], Any]:
    return lambda count: asyncio.run(workflow.ainvoke(count))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    count = plan.pick(200, 10)
    turns: list[Contender] = []
    at_once: list[Contender] = []
    for engine in engines():
        one, other = workflows(engine.name)
        for contenders, invoke in ((turns, one.invoke), (at_once, _awaited(other))):
            warm = partial(run, invoke, 5)
            contenders.append(Contender(engine.name, partial(run, invoke, count), warm))
    for contenders, method in ((turns, "chain"), (at_once, "fan")):
        warm = partial(from_actor, method, 5)
        contenders.append(Contender(RAY, partial(from_actor, method, count), warm))
    return (
        Case(f"{count} in turn", (CALL,), tuple(turns)),
        Case(f"{count} at once, async", (CALL,), tuple(at_once)),
    )


FAMILY = Family(
    "calls",
    "Calls of tasks",
    "An `@entrypoint` calls a trivial `@task` that often: a synchronous one waits for each result "
    "before the next call, an `async def` one awaits all of them with `asyncio.gather`. Raw Ray: "
    "an actor that submits as many tasks, in turn or at once.",
    cases,
)
