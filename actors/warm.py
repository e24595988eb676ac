"""A worker process that starts beside driver and broker, so that a first node does not wait for
its own."""

from __future__ import annotations

from typing import Any

from actors.cluster import remote


def load() -> None:
    """Load what every attempt needs. Ray gives the process to the next task."""
    from actors.worker import process

    process()


# without a CPU: a cluster whose CPUs are taken is asked for nothing
_load_task: Any = remote(max_retries=0, num_cpus=0)(load)


def start_worker(strategy: Any) -> None:
    """Let Ray start a worker process, and do not wait for it.

    A failure here also occurs in driver and broker, which report it.

    Args:
        strategy: Where: a scheduling strategy of Ray.
    """
    started = _load_task.options(scheduling_strategy=strategy).remote()
    started.future().add_done_callback(lambda future: future.exception())
