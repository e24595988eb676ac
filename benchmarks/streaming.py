"""Events on their way from a node to the caller's loop: latency at a pace, and throughput."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

import ray

from benchmarks import floor
from benchmarks.engines import Engine, engines
from benchmarks.harness import RAY, Case, Contender, Family, Metric, Plan, check, percentile

PACE = 50
"""Events a second of one publisher: a fast model's tokens."""

LATENCIES = (Metric("p50", "ms"), Metric("p95", "ms", is_detail=True), Metric("p99", "ms"))
THROUGHPUT = Metric("throughput", "events/s", better="more")

Event = tuple[float, int]
"""When it was written, by ``time.time()``, and its number."""


class State(TypedDict):
    publishers: int
    count: int


def publisher_with(get_writer: Callable[[], Callable[[Any], None]], gap: float) -> Any:
    """Return a node that writes ``count`` events, ``gap`` seconds apart."""

    def publish(count: int) -> None:
        write = get_writer()
        begin = time.monotonic()
        for number in range(count):
            if gap:
                time.sleep(max(0.0, begin + number * gap - time.monotonic()))
            write((time.time(), number))

    return publish


def async_publisher_with(get_writer: Callable[[], Callable[[Any], None]], gap: float) -> Any:
    """As ``publisher_with``, as a coroutine."""

    async def publish(count: int) -> None:
        write = get_writer()
        begin = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number * gap - time.monotonic()))
            write((time.time(), number))

    return publish


def spread_with(send: Any) -> Any:
    def spread(state: State) -> list[Any]:
        return [send("publish", state["count"])] * state["publishers"]

    return spread


def graph_of(engine: Engine, gap: float, *, is_async: bool) -> Any:
    """Return a graph of ``publishers`` parallel nodes that write."""
    builder = engine.StateGraph(State)
    make = async_publisher_with if is_async else publisher_with
    engine.add(builder, "publish", make(engine.get_stream_writer, gap))
    builder.add_conditional_edges("__start__", spread_with(engine.Send), ["publish"])
    builder.set_finish_point("publish")
    return engine.compile(builder)


# --- what arrives: (arrival, event) -------------------------------------------------------------

Arrivals = list[tuple[float, Event]]


def streamed(graph: Any, publishers: int, count: int) -> Arrivals:
    """Read a stream with ``for``."""
    clock = time.time
    given = {"publishers": publishers, "count": count}
    return [(clock(), event) for event in graph.stream(given, stream_mode="custom")]


def astreamed(graph: Any, publishers: int, count: int) -> Arrivals:
    """Read a stream with ``async for``."""

    async def read() -> Arrivals:
        clock = time.time
        given = {"publishers": publishers, "count": count}
        return [(clock(), event) async for event in graph.astream(given, stream_mode="custom")]

    return asyncio.run(read())


def _raw_events(expected: int) -> Iterator[Event]:
    sink = floor.sink()
    while expected > 0:
        items = ray.get(sink.take.remote())
        expected -= len(items)
        yield from items


def raw(gap: float, is_async: bool, publishers: int, count: int) -> Arrivals:
    """Read events that are put one by one into an actor, and taken out by calls."""
    sink = floor.sink()
    publish = floor.waiter().publish if is_async else floor.publish
    running = [publish.remote(sink, count, gap) for _ in range(publishers)]
    arrivals = [(time.time(), event) for event in _raw_events(publishers * count)]
    ray.get(running)
    return arrivals


# --- what is made of it -------------------------------------------------------------------------

Read = Callable[[int, int], Arrivals]


def latency(read: Read, publishers: int, count: int) -> Mapping[str, float]:
    """Return percentiles of the milliseconds from the writer's call to the reader's loop."""
    arrivals = read(publishers, count)
    check("events", len(arrivals), publishers * count)
    spent = [(arrival - written) * 1e3 for arrival, (written, _) in arrivals]
    return {metric.name: percentile(spent, float(metric.name[1:])) for metric in LATENCIES}


def throughput(read: Read, publishers: int, count: int) -> Mapping[str, float]:
    """Return events a second, from the call of ``stream`` to the last event."""
    begin = time.time()
    arrivals = read(publishers, count)
    check("events", len(arrivals), publishers * count)
    return {THROUGHPUT.name: len(arrivals) / (arrivals[-1][0] - begin)}


def _readers(gap: float, is_async: bool) -> dict[str, Read]:
    read = astreamed if is_async else streamed
    found: dict[str, Read] = {
        engine.name: partial(read, graph_of(engine, gap, is_async=is_async)) for engine in engines()
    }
    found[RAY] = partial(raw, gap, is_async)
    return found


def _paced(publishers: int, count: int, *, is_async: bool) -> Case:
    kind = ("async node" if is_async else "task") + ("s" if publishers > 1 else "")
    contenders = tuple(
        Contender(name, partial(latency, read, publishers, count), partial(read, publishers, 5))
        for name, read in _readers(1 / PACE, is_async).items()
    )
    return Case(f"{publishers} {kind}, {PACE}/s", LATENCIES, contenders)


def _flat_out(publishers: int, count: int, raw_count: int) -> Case:
    contenders = tuple(
        Contender(
            name,
            partial(throughput, read, publishers, raw_count if name == RAY else count),
            partial(read, publishers, 50),
        )
        for name, read in _readers(0.0, False).items()
    )
    kind = "tasks" if publishers > 1 else "task"
    return Case(f"{publishers} {kind}, flat out", (THROUGHPUT,), contenders)


def cases(plan: Plan) -> Sequence[Case]:
    """Return the cases."""
    paced = plan.pick(200, 30)
    return (
        _paced(1, paced, is_async=False),
        _paced(1, paced, is_async=True),
        _paced(8, paced, is_async=True),
        _flat_out(1, plan.pick(200_000, 20_000), plan.pick(5_000, 500)),
        _flat_out(8, plan.pick(25_000, 2_500), plan.pick(600, 100)),
    )


FAMILY = Family(
    "stream",
    "Custom events, from the node to the caller's loop",
    "Latency from the writer's call to the caller's loop, by the clock of one machine, at 50 "
    "events a second and publisher; and events a second, from the call of `stream` to the last "
    "event, of publishers that never pause. Raw Ray: an actor call for each event, into an actor "
    "from which the caller takes them. Tasks are synchronous nodes, of which as many run at once "
    "as there are cores; async nodes share one process.",
    cases,
)
