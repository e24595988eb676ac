"""What one superstep driver and one stream broker carry, and what a second pair gains here.

``python -m benchmarks.drivers`` runs many runs at once with one and with two drivers, and streams
events as fast as nodes write them. The processes of a local Ray share the cores of this machine:
``limit`` is what one driver or broker would carry with a core of its own, by its CPU time.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import ray

import actors
from actors import sessions
from benchmarks import runs, streaming
from benchmarks.engines import Engine, engines
from benchmarks.harness import OURS
from benchmarks.usage import cpu_of

T = TypeVar("T")

PUBLISHERS, EVENTS = 2, 100_000


async def add_one(state: runs.State) -> dict[str, int]:
    """Return at once."""
    return {"number": state["number"] + 1}


def add_one_sync(state: runs.State) -> dict[str, int]:
    """Return at once, in a worker of its own."""
    return {"number": state["number"] + 1}


NODES = {
    "async, 5 ms": runs.await_it,
    "async, 0 ms": add_one,
    "sync, 0 ms": add_one_sync,
}


class Used(NamedTuple):
    """What a piece of work took."""

    seconds: float
    drivers: list[float]
    """CPU seconds of each driver."""
    brokers: list[float]
    caller: float


def used(work: Callable[[], T]) -> tuple[Used, T]:
    """Do some work; return what it took, and its result."""
    found = sessions.usable()
    drivers = ray.get([one.driver.process.remote() for one in found])
    brokers = ray.get([one.broker.process.remote() for one in found])
    pids = [*drivers, *brokers, os.getpid()]
    before = [cpu_of(pid) for pid in pids]
    begin = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begin
    spent = [cpu_of(pid) - then for pid, then in zip(pids, before, strict=True)]
    return Used(seconds, spent[: len(found)], spent[len(found) : -1], spent[-1]), result


def many_runs(engine: Engine, counts: Sequence[int], drivers: int) -> None:
    """Print a row for each kind of node and number of runs."""
    for name, node in NODES.items():
        graph = runs.graph_of(engine, node)
        runs.run(graph, 20)
        for count in counts:
            took, found = used(partial(runs.run, graph, count))
            steps = count * runs.STEPS
            each = sum(took.drivers) / steps
            p50, p99 = found[runs.P50.name], found[runs.P99.name]
            print(
                f"{drivers:>7} {name:>12} {count:>6,} {took.seconds:>7.2f} "
                f"{steps / took.seconds:>7,.0f} {p50:>8.0f} {p99:>8.0f} "
                f"{each * 1e3:>12.2f} {1 / each:>7,.0f} {max(took.drivers) / took.seconds:>6.0%} "
                f"{sum(took.brokers) / took.seconds:>7.0%} {took.caller / took.seconds:>7.0%}",
                flush=True,
            )


def events(engine: Engine, drivers: int) -> None:
    """Print a row for as many streams at once as there are drivers."""
    graph = streaming.graph_of(engine, 0.0, is_async=True)
    streaming.streamed(graph, PUBLISHERS, 50)

    def read() -> None:
        streaming.streamed(graph, PUBLISHERS, EVENTS // drivers)

    def read_all() -> None:
        readers = [threading.Thread(target=read) for _ in range(drivers)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()

    (took, _), count = used(read_all), PUBLISHERS * EVENTS
    each = sum(took.brokers) / count
    print(
        f"{drivers:>7} {count / took.seconds:>9,.0f} {each * 1e6:>11.1f} {1 / each:>9,.0f} "
        f"{sum(took.brokers) / took.seconds:>7.0%} {took.caller / took.seconds:>7.0%}",
        flush=True,
    )


RUNS = (
    "drivers        nodes   runs       s steps/s p50, ms  p99, ms  CPU ms/step   limit driver  "
    "brokers  caller"
)
STREAMS = "drivers  events/s  CPU µs/event     limit brokers  caller"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drivers", description=__doc__)
    parser.add_argument("--drivers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1_000], metavar="N")
    given = parser.parse_args()
    ours = next(engine for engine in engines() if engine.name == OURS)
    many = partial(many_runs, ours, given.runs)
    for measure, header in ((many, RUNS), (partial(events, ours), STREAMS)):
        print(header)
        for drivers in given.drivers:
            os.environ["DISTGRAPH_DRIVERS"] = str(drivers)
            actors.end_session()
            measure(drivers)
    actors.end_session()


if __name__ == "__main__":
    main()
