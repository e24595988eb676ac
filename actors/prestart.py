"""Worker processes that start beside driver and broker, and load the first graph of a session.

So first nodes wait neither for their process nor for the modules that their graph needs. Ray gives
the processes to the next tasks.
"""

from __future__ import annotations

from typing import Any

import ray

from actors.cluster import remote

__all__ = ("cpus_of", "start_workers", "warm_up")

MOST = 8
"""Processes at most: each takes memory, whether it is needed or not."""


def load() -> None:
    """Load what every attempt needs."""
    from actors.worker import process

    process()


def load_graph(digest: str, blob: Any, paths: tuple[str, ...]) -> None:
    """Load a graph."""
    from actors.worker import process

    programs = process().programs
    if digest not in programs.loaded:
        programs.load(digest, blob, paths)


# without a CPU: a cluster whose CPUs are taken is asked for nothing
_load_task: Any = remote(max_retries=0, num_cpus=0)(load)
_load_graph_task: Any = remote(max_retries=0, num_cpus=0)(load_graph)


def cpus_of(node: str) -> int:
    """Return the number of CPUs of a machine, by its id in Ray."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = next((known for known in nodes if known["NodeID"] == node), {})
    return int(found.get("Resources", {}).get("CPU", 0))


def start_workers(strategy: Any, processes: int) -> None:
    """Let Ray start worker processes, and do not wait for them.

    A failure here also occurs in driver and broker, which report it.

    Args:
        strategy: Where: a scheduling strategy of Ray that names this machine.
        processes: How many.
    """
    _spread(_load_task.options(scheduling_strategy=strategy), processes)


def warm_up(strategy: Any, processes: int, digest: str, blob: Any, paths: tuple[str, ...]) -> None:
    """Let worker processes load a graph, and do not wait for them.

    A failure here also occurs in the attempts of the graph, which report it.
    """
    task = _load_graph_task.options(scheduling_strategy=strategy)
    _spread(task, processes, digest, blob, paths)


def _spread(task: Any, times: int, *args: Any) -> None:
    for _ in range(min(MOST, times)):
        task.remote(*args).future().add_done_callback(lambda future: future.exception())
