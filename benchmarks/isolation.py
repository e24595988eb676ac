"""What one run costs the others of its session: ``python -m benchmarks.isolation``.

A run of short supersteps and a run that streams are measured alone, and then beside another run of
the same session: with giant payloads, with a slow reader, with a reducer that fails again and
again, with a reducer that never ends. The last row is a process that computes and has nothing to do
with the session: a machine with few cores has less time for everything.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated, Any, TypedDict

import ray

import actors
from distgraph.errors import RunError
from distgraph.graph import START, StateGraph
from distgraph.types import StreamWriter

STEPS, TOKENS, PACE = 300, 200, 100
GIANT = 64 << 20
"""Bytes of a giant payload."""


class Quiet(TypedDict, total=False):
    number: int
    until: int


def step(state: Quiet) -> dict[str, int]:
    return {"number": state["number"] + 1}


def say(state: Quiet, writer: StreamWriter) -> None:
    begin = time.monotonic()
    for number in range(state["until"]):
        time.sleep(max(0.0, begin + number / PACE - time.monotonic()))
        writer(time.monotonic())


def steps_graph() -> Any:
    """Return a graph of one node that loops."""
    builder = StateGraph(Quiet).add_node("step", step, ray_options={"num_cpus": 0.5})
    builder.add_edge(START, "step")
    builder.add_conditional_edges(
        "step", lambda s: "step" if s["number"] < s["until"] else "__end__", ["step", "__end__"]
    )
    return builder.compile(backend="ray")


def tokens_graph() -> Any:
    """Return a graph of one node that streams."""
    builder = StateGraph(Quiet).add_node("say", say, ray_options={"num_cpus": 0.5})
    return builder.add_edge(START, "say").compile(backend="ray")


def measured(steps: Any, tokens: Any) -> tuple[float, float]:
    """Return the mean milliseconds of a superstep, and the median ones of an event."""
    given = {"number": 0, "until": STEPS}
    stream = steps.stream(given, {"recursion_limit": STEPS + 5}, stream_mode="updates")
    ends = [time.perf_counter() for _ in stream]
    written = tokens.stream({"until": TOKENS}, stream_mode="custom")
    ages = [time.monotonic() - then for then in written]
    return (ends[-1] - ends[0]) / (STEPS - 1) * 1e3, statistics.median(ages) * 1e3


# --- the other run --------------------------------------------------------------------------------


class Giant(TypedDict, total=False):
    number: int
    payload: bytes


class Failing(TypedDict, total=False):
    items: Annotated[list[int], lambda a, b: [*a, *b] if not b else 1 / 0]


def endless(a: list[int], b: list[int]) -> list[int]:
    """Never return, once there is something to add."""
    while b:
        pass
    return a


class Endless(TypedDict, total=False):
    items: Annotated[list[int], endless]


def giant(state_size: int, event_size: int) -> Any:
    """Return a graph whose state, or events, are giant."""

    def grow(state: Giant, writer: StreamWriter) -> dict[str, Any]:
        writer(bytes(event_size))
        return {"number": state["number"] + 1, "payload": bytes(state_size)}

    builder = StateGraph(Giant).add_node("grow", grow, ray_options={"num_cpus": 0.5})
    return builder.add_edge(START, "grow").add_edge("grow", "grow").compile(backend="ray")


def flood() -> Any:
    """Return a graph that writes as fast as it may."""

    def write(state: Quiet, writer: StreamWriter) -> None:
        for number in range(10**9):
            writer(number)

    builder = StateGraph(Quiet).add_node("write", write, ray_options={"num_cpus": 0.5})
    return builder.add_edge(START, "write").compile(backend="ray")


def adding(schema: Any) -> Any:
    """Return a graph whose reducer is called."""
    builder = StateGraph(schema)
    builder.add_node("add", lambda state: {"items": [1]}, ray_options={"num_cpus": 0.5})
    return builder.add_edge(START, "add").compile(backend="ray")


Left = threading.Event


def with_giants(state_size: int, event_size: int, left: Left) -> None:
    graph = giant(state_size, event_size)
    stream = graph.stream({"number": 0}, {"recursion_limit": 10**9}, stream_mode="custom")
    while not left.is_set():
        next(stream)
    stream.close()


def read_slowly(left: Left) -> None:
    stream = flood().stream({"until": 0}, stream_mode="custom")
    while not left.wait(0.05):
        next(stream)
    stream.close()


def fail(left: Left) -> None:
    graph = adding(Failing)
    while not left.is_set():
        with suppress(ZeroDivisionError):
            graph.invoke({"items": []})


def reduce_for_ever(left: Left) -> None:
    run = adding(Endless).start({"items": []})
    left.wait()
    run.cancel()
    with suppress(RunError):
        run.result()


def compute(left: Left) -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    left.wait()
    process.kill()
    process.wait()


OTHERS: Mapping[str, Callable[[Left], None]] = {
    "events of 64 MiB": partial(with_giants, 1, GIANT),
    "a state of 64 MiB": partial(with_giants, GIANT, 1),
    "a slow reader": read_slowly,
    "a failing reducer": fail,
    "an endless reducer": reduce_for_ever,
    "a process that computes": compute,
}


@contextmanager
def beside(other: Callable[[Left], None]) -> Iterator[None]:
    """Let something go on meanwhile."""
    left = Left()
    thread = threading.Thread(target=other, args=[left], daemon=True)
    thread.start()
    time.sleep(2.0)  # it is under way
    try:
        yield
    finally:
        assert thread.is_alive(), "the other run has ended too early"
        left.set()
        thread.join()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--only", action="append", choices=tuple(OTHERS), metavar="NAME")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    given = parser.parse_args()
    ray.init(
        address="local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
    )
    logging.getLogger("distgraph").setLevel(logging.ERROR)
    steps, tokens = steps_graph(), tokens_graph()
    measured(steps, tokens)
    print("| beside | a superstep, ms | | an event, ms | |")
    print("|---|---|---|---|---|")
    for name in given.only or OTHERS:
        alone, other = [], []
        for _ in range(given.repeat):
            alone.append(measured(steps, tokens))
            with beside(OTHERS[name]):
                other.append(measured(steps, tokens))
        shown = [name]
        for before, now in zip(zip(*alone, strict=True), zip(*other, strict=True), strict=True):
            quiet, busy = statistics.median(before), statistics.median(now)
            shown += [f"{quiet:.2f} → {busy:.2f}", f"{busy / quiet:.1f}x"]
        print(f"| {' | '.join(shown)} |", flush=True)
    actors.end_session()
    ray.shutdown()


if __name__ == "__main__":
    main()
