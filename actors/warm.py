"""Worker processes that start beside driver and broker, and load the first graph of a session.

So first nodes wait neither for their process nor for the modules that their graph needs. Ray gives
the processes to the next tasks.
"""

from __future__ import annotations

from typing import Any

import ray

from actors.cluster import remote

__all__ = ("start_workers", "warm_up")

MOST = 8
"""Processes at most: each takes memory, whether it is needed or not."""


def load() -> None:
    """Load what every attempt needs."""
    from actors.worker import process

    process()


def load_graph(digest: str, blob: Any, paths: tuple[str, ...]) -> None:
    """Load a graph."""
    from actors.worker import process

    if digest not in process().programs:
        process().load(digest, blob, paths)


# without a CPU: a cluster whose CPUs are taken is asked for nothing
_load_task: Any = remote(max_retries=0, num_cpus=0)(load)
_load_graph_task: Any = remote(max_retries=0, num_cpus=0)(load_graph)


def start_workers(strategy: Any) -> None:
    """Let Ray start a worker process for each CPU of this machine, and do not wait for them.

    A failure here also occurs in driver and broker, which report it.

    Args:
        strategy: Where: a scheduling strategy of Ray that names this machine.
    """
    _spread(_load_task.options(scheduling_strategy=strategy))


def warm_up(strategy: Any, digest: str, blob: Any, paths: tuple[str, ...]) -> None:
    """Let these processes load a graph, and do not wait for them.

    A failure here also occurs in the attempts of the graph, which report it.
    """
    _spread(_load_graph_task.options(scheduling_strategy=strategy), digest, blob, paths)


def _spread(task: Any, *args: Any) -> None:
    for _ in range(min(MOST, _cpus_here())):
        task.remote(*args).future().add_done_callback(lambda future: future.exception())


def _cpus_here() -> int:
    here = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = next((node for node in nodes if node["NodeID"] == here), {})
    return int(found.get("Resources", {}).get("CPU", 0))
