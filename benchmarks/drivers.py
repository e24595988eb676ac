"""What one superstep driver and one stream broker carry, and what a second pair gains here.

``python -m benchmarks.drivers`` runs many runs at once with one and with two drivers, and streams
events as fast as nodes write them. The processes of a local Ray share the cores of this machine:
``limit`` is what one driver or broker would carry with a core of its own, by its CPU time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import ray

import actors
from actors import sessions
from benchmarks import pages, runs, streaming
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


class Row(NamedTuple):
    """What many runs at once took."""

    drivers: int
    nodes: str
    runs: int
    cpu: float
    """Milliseconds of the drivers for a step."""
    rate: float
    """Steps a second."""


class Stream(NamedTuple):
    """What streams at once took, as many as there are drivers."""

    drivers: int
    cpu: float
    """Microseconds of the brokers for an event."""
    rate: float
    """Events a second."""


def many_runs(engine: Engine, counts: Sequence[int], drivers: int) -> list[Row]:
    """Print and return a row for each kind of node and number of runs."""
    rows = []
    for name, node in NODES.items():
        graph = runs.graph_of(engine, node)
        runs.run(graph, 20)
        for count in counts:
            took, found = used(partial(runs.run, graph, count))
            steps = count * runs.STEPS
            each = sum(took.drivers) / steps
            rows.append(Row(drivers, name, count, each * 1e3, steps / took.seconds))
            p50, p99 = found[runs.P50.name], found[runs.P99.name]
            print(
                f"{drivers:>7} {name:>12} {count:>6,} {took.seconds:>7.2f} "
                f"{steps / took.seconds:>7,.0f} {p50:>8.0f} {p99:>8.0f} "
                f"{each * 1e3:>12.2f} {1 / each:>7,.0f} {max(took.drivers) / took.seconds:>6.0%} "
                f"{sum(took.brokers) / took.seconds:>7.0%} {took.caller / took.seconds:>7.0%}",
                flush=True,
            )
    return rows


def events(engine: Engine, drivers: int) -> list[Stream]:
    """Print and return a row for as many streams at once as there are drivers."""
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
    return [Stream(drivers, each * 1e6, count / took.seconds)]


RUNS = (
    "drivers        nodes   runs       s steps/s p50, ms  p99, ms  CPU ms/step   limit driver  "
    "brokers  caller"
)
STREAMS = "drivers  events/s  CPU µs/event     limit brokers  caller"


# --- on the pages ---------------------------------------------------------------------------------


def _rounded(value: float) -> str:
    """Return a rate with two significant digits."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _cells(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f}" if values else ""


def carried(rows: Sequence[Row]) -> str:
    """Return what one driver carries, by the CPU time of its steps."""
    rates = sorted(1e3 / row.cpu for row in rows if row.drivers == 1)
    return f"One driver carries {_span(_rounded(rates[0]), _rounded(rates[-1]))} steps a second"


def as_table(rows: Sequence[Row]) -> str:
    """Return the table of many runs: the medians of all measurements with one and two drivers."""
    from benchmarks.report import table

    lines = []
    for nodes, runs_at_once in dict.fromkeys((row.nodes, row.runs) for row in rows):
        of = [
            [row for row in rows if row[:3] == (drivers, nodes, runs_at_once)] for drivers in (1, 2)
        ]
        cpu = [_cells([row.cpu for row in found], 2) for found in of]
        rate = [_cells([row.rate for row in found], 0) for found in of]
        alone = _cells([1e3 / row.cpu for row in of[0]], 0)
        lines.append([f"{runs_at_once:,}", nodes, *cpu, alone, *rate])
    heads = ["runs at once", "nodes", "CPU ms of drivers for a step: 1 driver", "2 drivers"]
    heads += ["one driver with a core of its own, steps/s", "measured steps/s: 1 driver"]
    return "\n".join(table([*heads, "2 drivers"], lines))


def as_sentences(rows: Sequence[Row], streams: Sequence[Stream]) -> str:
    """Return what the table and the streams mean."""
    one = [stream for stream in streams if stream.drivers == 1]
    two = [stream for stream in streams if stream.drivers == 2]
    gains = sorted(
        statistics.median(r.rate for r in rows if r[:3] == (2, *key))
        / statistics.median(r.rate for r in rows if r[:3] == (1, *key))
        - 1
        for key in dict.fromkeys((row.nodes, row.runs) for row in rows)
    )
    cpu = statistics.median(stream.cpu for stream in one)
    ratio = statistics.median(s.rate for s in two) / statistics.median(s.rate for s in one)
    return "\n".join(
        [
            f"- **{carried(rows)}** with a core of its own. All its runs share this rate.",
            f"- **One broker carries {_rounded(1e6 / cpu)} events a second**: an event takes "
            f"{cpu:.1f} µs of its CPU time. Two streams through two brokers had {ratio:.1f} times "
            "the rate of one stream.",
            f"- **A second driver** changed the rate of many runs by {gains[0] * 100:+.0f} to "
            f"{gains[-1] * 100:+.0f} %.",
        ]
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drivers", description=__doc__)
    parser.add_argument("--drivers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1_000], metavar="N")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measurements")
    parser.add_argument(
        "--write-docs", action="store_true", help="put medians for 1 and 2 drivers into the pages"
    )
    given = parser.parse_args()
    if given.write_docs and not {1, 2} <= {*given.drivers}:
        parser.error("--write-docs needs one and two drivers: leave --drivers out")
    ours = next(engine for engine in engines() if engine.name == OURS)
    rows: list[Row] = []
    streams: list[Stream] = []
    for _ in range(given.repeat):
        print(RUNS)
        for drivers in given.drivers:
            _with(drivers)
            rows += many_runs(ours, given.runs, drivers)
        print(STREAMS)
        for drivers in given.drivers:
            _with(drivers)
            streams += events(ours, drivers)
    actors.end_session()
    if given.write_docs:
        texts = {"drivers": as_table(rows), "what drivers carry": as_sentences(rows, streams)}
        pages.write(pages.SIZING, texts)
        limit = f"**{carried(rows)}** with a core of its own, all runs of a process together."
        pages.write(pages.LIMITS, {"one driver": limit})


def _with(drivers: int) -> None:
    """Let the next run start so many drivers."""
    os.environ["DISTGRAPH_DRIVERS"] = str(drivers)
    actors.end_session()


if __name__ == "__main__":
    main()
