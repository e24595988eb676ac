"""``python -m distgraph doctor`` on Ray: asks a worker of every machine, and runs one node."""

from __future__ import annotations

import os
import time
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import sessions
from actors.cluster import get, remote
from actors.connect import ensure_ray
from distgraph import START, StateGraph, doctor, status
from distgraph.doctor import Machine
from distgraph.errors import DistgraphError, UnsupportedClusterError

__all__ = ("examine",)

_ANSWER = 60.0
"""Seconds that a machine has to answer."""

_RUN = 120.0
"""Seconds that a node has to run: a cluster may have to start a machine for it."""


def look(names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions in a worker process, which may have no distgraph."""
    import platform
    from importlib import import_module, metadata

    found = {"Python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    try:
        found["distgraph"] = import_module("distgraph").__version__
    except ImportError:
        found.pop("distgraph", None)
    return found


look.__module__ = "__main__"  # travels by value, as distgraph may be missing there


def examine(address: str | None) -> int:
    """Print the report, and return the exit code: 0, or 1 where something does not fit."""
    if address:
        os.environ["RAY_ADDRESS"] = address
    versions = doctor.installed()
    _print(doctor.heading(versions), "extras:", *doctor.extras(versions))
    try:
        ensure_ray()
    except UnsupportedClusterError as error:
        _print(*doctor.verdict([str(error)]))
        return 1
    where = os.environ.get("RAY_ADDRESS") or "a local Ray"
    machines = ask_machines(versions)
    totals = [sum(m.resources.get(key, 0) for m in machines) for key in ("CPU", "GPU")]
    size = status.cluster_size(len(machines), *totals)
    _print(f"{where}: {size}", *doctor.table(machines))
    found = doctor.problems(versions, machines)
    if not found:
        if not totals[0]:
            _print(f"no machine has a CPU: one node waits {_RUN:.0f} s for a machine to join")
        try:
            first, second = round_trips()
            _print(
                f"one node: {second * 1000:.0f} ms there and back (the first run: {first:.1f} s)"
            )
        except TimeoutError:
            free = "no machine has a CPU" if not totals[0] else "no CPU became free"
            found = [
                f"one node did not run within {_RUN:.0f} s, because {free}: add a machine with "
                f"`ray start --address={where}`, or end other programs of the cluster"
            ]
        except (DistgraphError, RayError) as error:
            found = [f"one node could not be run: {error}"]
    _print(*doctor.verdict(found))
    return 1 if found else 0


def ask_machines(versions: dict[str, str]) -> list[Machine]:
    """Return what a worker of each machine says."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node for node in nodes if node["Alive"]]
    names = ("ray", *(name for name in versions if name not in ("Python", "distgraph", "ray")))
    asked = [
        remote(num_cpus=0, max_retries=0)(look)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(names)
        for node in alive
    ]
    machines = []
    for node, answer in zip(alive, asked, strict=True):
        name, found, error = (
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            {},
            None,
        )
        try:
            found = get(answer, _ANSWER)
        except RayError as failure:
            error = str(failure).strip().splitlines()[-1]
        machines.append(Machine(name, dict(node["Resources"]), found, error))
    return machines


def round_trips() -> tuple[float, float]:
    """Return the seconds that the first and the second run of a graph of one node take.

    Raises:
        TimeoutError: The node did not run within ``_RUN`` seconds.
    """
    builder = StateGraph(dict).add_node("node", _nothing).add_edge(START, "node")
    graph = builder.compile(backend="ray", name="doctor")
    graph.step_timeout = _RUN
    times = []
    try:
        for _ in range(2):
            started = time.perf_counter()
            graph.invoke({})
            times.append(time.perf_counter() - started)
    finally:
        sessions.end()
    return times[0], times[1]


def _nothing(state: dict[str, Any]) -> None:
    """Do nothing."""


def _print(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
