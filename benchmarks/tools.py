"""Tool calls of one message: those that compute, and those that wait."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from benchmarks.cpu import burn, calibrated
from benchmarks.engines import Engine, engines
from benchmarks.harness import ASYNCIO, Case, Contender, Family, Metric, Plan, check

COMPUTING = 8
WAIT = 0.1
WALL = Metric("wall", "s")
PROCESSES = Metric("processes", "that ran tools", compared=False, is_detail=True)


@tool
def compute(iterations: int) -> str:
    """Compute in pure Python."""
    burn(iterations)
    return str(os.getpid())


@tool
async def wait(seconds: float) -> str:
    """Wait, as for a network."""
    await asyncio.sleep(seconds)
    return str(os.getpid())


def graph_of(engine: Engine) -> Any:
    """Return a graph whose one node answers tool calls."""
    builder = engine.StateGraph(engine.MessagesState)
    engine.add(builder, "tools", engine.ToolNode([compute, wait]))
    builder.add_edge("__start__", "tools")
    return engine.compile(builder)


def message(name: str, count: int, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input: one message of a model with that many calls of a tool."""
    calls = [{"name": name, "args": dict(args), "id": str(number)} for number in range(count)]
    return {"messages": [AIMessage(content="", tool_calls=calls)]}


def run(invoke: Callable[[Any], Any], given: dict[str, Any]) -> Mapping[str, float]:
    """Return the seconds of one run, and the processes that its tools ran in."""
    begin = time.perf_counter()
    result = invoke(given)
    spent = time.perf_counter() - begin
    asked, *answers = result["messages"]
    found = [(answer.tool_call_id, answer.status) for answer in answers]
    check("answers", found, [(call["id"], "success") for call in asked.tool_calls])
    return {WALL.name: spent, PROCESSES.name: len({answer.content for answer in answers})}


def awaited(graph: Any) -> Callable[[Any], Any]:
    """Return the graph's ``ainvoke``, on an event loop of its own."""
    return lambda given: asyncio.run(graph.ainvoke(given))


def in_process(count: int) -> Mapping[str, float]:
    """Return the seconds of as many coroutines."""

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(wait.ainvoke({"seconds": WAIT}) for _ in range(count)))

    begin = time.perf_counter()
    found = asyncio.run(all_of_them())
    spent = time.perf_counter() - begin
    check("waits", len(found), count)
    return {WALL.name: spent, PROCESSES.name: len(set(found))}


def _contender(
    name: str, invoke: Callable[[Any], Any], given: dict[str, Any], warm: dict[str, Any]
) -> Contender:
    return Contender(name, partial(run, invoke, given), partial(run, invoke, warm))


def _computing(plan: Plan) -> Case:
    milliseconds = plan.pick(500, 50)
    given = message("compute", COMPUTING, {"iterations": calibrated(milliseconds)})
    # long enough for every worker process to take part, and so to load the graph
    warm = message("compute", COMPUTING, {"iterations": calibrated(20)})
    contenders = [_contender(e.name, graph_of(e).invoke, given, warm) for e in engines()]
    name = f"{COMPUTING} calls that compute for {milliseconds} ms"
    return Case(name, (WALL, PROCESSES), tuple(contenders))


def _waiting(plan: Plan) -> Case:
    count = plan.pick(200, 20)
    given = message("wait", count, {"seconds": WAIT})
    warm = message("wait", 10, {"seconds": 0.01})
    contenders = [_contender(e.name, awaited(graph_of(e)), given, warm) for e in engines()]
    contenders.append(Contender(ASYNCIO, partial(in_process, count)))
    return Case(f"{count} calls that wait for 100 ms", (WALL, PROCESSES), tuple(contenders))


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    return (_computing(plan), _waiting(plan))


FAMILY = Family(
    "tools",
    "Tool calls of one message",
    "A graph of one `ToolNode`, given a message with that many tool calls: of a plain function in "
    "pure Python with `invoke`, calibrated once for all; of an `async def` tool with `ainvoke`. "
    "asyncio: as many coroutines of the same tool, without a graph.",
    cases,
)
