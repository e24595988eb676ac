"""Node attempts as Ray tasks, and as coroutines or threads of an executor actor."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from actors.untyped import remote
from actors.worker import process

EXECUTOR_CALLS = 100_000
"""Attempts that may wait in one executor at the same time."""

_THREADS = 512


def run_attempts(packed: bytes, *snapshots: bytes) -> bytes:
    """Run a packet's attempts one after the other."""
    return process().run_batch(packed, snapshots)


run_attempts_task: Any = remote(max_retries=0, num_cpus=1)(run_attempts)
"""``run_attempts`` as a Ray task. The driver, not Ray, decides about another attempt."""


class AsyncExecutor:
    """Runs the attempts that wait more than they compute: one process for a thousand of them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="distgraph-node")

    async def run(self, packed: bytes, *snapshots: bytes) -> bytes:
        """Run an attempt of an async node on this loop."""
        return await process().run_one(packed, snapshots)

    async def run_in_thread(self, packed: bytes, *snapshots: bytes) -> bytes:
        """Run an attempt of a synchronous node in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, process().run_batch, packed, snapshots)


class PoolWorker:
    """Runs the attempts of one node or tool, whose class it constructs with the first."""

    def run(self, packed: bytes, *snapshots: bytes) -> bytes:
        """Run a packet's attempts."""
        return process().run_batch(packed, snapshots)


PoolWorkerActor: Any = remote(max_restarts=0, max_task_retries=0)(PoolWorker)
"""A pool's worker as a Ray actor."""

AsyncExecutorActor: Any = remote(num_cpus=0, max_restarts=0, max_task_retries=0)(AsyncExecutor)
"""The executor as a Ray actor."""
