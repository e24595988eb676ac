"""A cold start by its parts: from ``stream()`` to the first event, each time in a fresh process.

``python -m benchmarks.cold_start`` starts a program of one trivial node again and again, on a local
Ray of its own, and beside it a program of one Ray task.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import one_table, pages
from benchmarks.harness import (
    CONNECTED,
    OURS,
    RAY,
    TITLES,
    Case,
    CaseResult,
    Contender,
    Metric,
    measure,
)
from benchmarks.progress import progress

ROOT = Path(__file__).parents[1]
REPEAT = 3
LIMIT = 180.0
"""Seconds for one program."""

ENDS = {
    "importing": "imported",
    "Ray's start": "ray",
    "driver and broker": "up",
    "worker start and imports": "loading",
    "graph": "node",
    "first event": "event",
}
"""Part → the instant that ends it. A part begins where the one before it has ended."""

ALL = "all"
METRICS = tuple(Metric(name, "s") for name in (*ENDS, ALL))

Instants = Mapping[str, float]
"""Seconds since 1970: ``called``, and what ``ENDS`` names."""


def parts(instants: Instants) -> dict[str, float]:
    """Return the seconds of each part, of which the sum is the time to the first event.

    What goes on beside an earlier part counts from the end of that part on. A part without an
    instant is left out: raw Ray has no driver and no broker.
    """
    found, at = {}, instants["called"]
    for part, name in ENDS.items():
        if name in instants:
            until = max(at, instants[name])
            found[part], at = until - at, until
    found[ALL] = at - instants["called"]
    return found


# --- in the fresh process -----------------------------------------------------------------------


def builder() -> Any:
    """Return a graph of one node."""
    from benchmarks.cold_node import State, report
    from distgraph.graph import StateGraph

    made = StateGraph(State).add_node("report", report)
    return made.set_entry_point("report").set_finish_point("report")


def ours(before: Callable[[], object] = lambda: None) -> Instants:
    """Do something ``before``, run a graph of one node, and note when what was done."""
    made = builder()
    noted = {"called": time.time()}
    graph = made.compile(backend="ray")
    from actors import session, sessions  # `stream` would import them now

    def note(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any) -> Any:
            result = function(*args)
            noted.setdefault(name, time.time())
            return result

        return noting

    start_ray = note("ray", vars(sessions)["ensure_ray"])

    def ensure_ray() -> None:
        noted.setdefault("imported", time.time())
        start_ray()

    vars(sessions)["ensure_ray"] = ensure_ray
    waits = note("up", session.Session.wait_until_up)
    session.Session.wait_until_up = waits  # type: ignore[method-assign]
    if before():
        noted["called"] = time.time()
    stream = graph.stream({"number": 1}, stream_mode="updates")
    chunk = next(stream)
    noted["event"] = time.time()
    list(stream)
    return {**noted, **chunk["report"]["seen"]}


def connected() -> bool:
    """Let Ray start while LangChain is imported."""
    import distgraph

    distgraph.connect("ray")
    with suppress(ImportError):
        import_module("langchain.agents")
    return True


def raw() -> Instants:
    """Run a Ray task, and note when what was done."""
    noted = {"called": time.time()}
    import ray

    noted["imported"] = time.time()
    ray.init(
        address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
    )
    noted["ray"] = time.time()
    from benchmarks.cold_node import seen

    found: Any = ray.get(ray.remote(max_retries=0, num_cpus=1)(seen).remote())
    noted["event"] = time.time()
    return {**noted, **found}


PROGRAMS: Mapping[str, Callable[[], Instants]] = {
    OURS: ours,
    CONNECTED: partial(ours, connected),
    RAY: raw,
}


# --- outside ------------------------------------------------------------------------------------


def started(name: str) -> Mapping[str, float]:
    """Run a program in a fresh process, and return its parts.

    Raises:
        RuntimeError: It failed.
    """
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cold_start", "--program", name],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return parts(json.loads(done.stdout.splitlines()[-1]))


def measured(repeat: int = REPEAT) -> CaseResult:
    """Start each program ``repeat`` times, in turn."""
    case = Case("cold start", METRICS, tuple(Contender(n, partial(started, n)) for n in PROGRAMS))
    with progress("cold", repeat * len(PROGRAMS)) as tell:
        [result] = measure([case], repeat, tell)
    return result


def as_markdown(result: CaseResult) -> str:
    """Return the table: the medians of the parts, in seconds."""
    from benchmarks.report import brief_cell, table

    rows = []
    for contender in result.case.contenders:
        found = [result.summary(contender.name, metric.name) for metric in result.case.metrics]
        cells = ["" if one is None else brief_cell(one) for one in found]
        rows.append([TITLES[contender.name], str(_count(result, contender.name)), *cells])
    failed = [f"{TITLES[name]} failed ({why})" for name, why in result.failures.items()]
    return "\n".join([*table(["s", "starts", *(m.name for m in METRICS)], rows), "", *failed])


def _count(result: CaseResult, contender: str) -> int:
    return len(result.samples.get((contender, ALL), ()))


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status: 1 where a program failed."""
    parser = one_table.parser("cold_start", __doc__, REPEAT, "starts of each")
    parser.add_argument("--program", choices=tuple(PROGRAMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.program:
        print(json.dumps(PROGRAMS[arguments.program]()))
        return 0
    result = measured(arguments.repeat)
    text = as_markdown(result)
    one_table.publish(text, pages.PAGE, "cold start", write=arguments.write_docs)
    return int(bool(result.failures))


if __name__ == "__main__":
    sys.exit(main())
