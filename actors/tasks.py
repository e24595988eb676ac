"""Node attempts as Ray tasks, and as coroutines or threads of an executor actor."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from actors.cluster import remote
from actors.lease_frames import WorkerTicket
from actors.worker import OpenPacket, process
from distgraph.concurrency.threads import DaemonExecutor
from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.worker.deadline import left_behind
from distgraph.worker.heartbeat import LoopLag
from distgraph.worker.pinned import drop

EXECUTOR_CALLS = 100_000
"""Attempts that may wait in one executor at the same time."""

_THREADS = 512

_CLEANUP = 5.0
"""Seconds that an attempt has to end after a cancel, for its cleanup code."""

_CANCELS = 20
"""Maximum number of cancels of an attempt that suppresses cancellation."""

_AGAIN = 0.1
"""Seconds between two of them."""

_REFUSED_KEPT = 4096


def run_attempts(ticket: bytes, packed: bytes, *snapshots: bytes) -> Any:
    """Run a packet's attempts one after the other."""
    process().enter(WorkerTicket.read(ticket))
    return process().run_batch(packed, snapshots)


run_attempts_task: Any = remote(max_retries=0, num_cpus=1)(run_attempts)
"""``run_attempts`` as a Ray task. The driver, not Ray, decides about another attempt."""


class AsyncExecutor:
    """Runs the attempts that wait more than they compute: one process for a thousand of them."""

    def __init__(self, ticket: bytes, pinned: bool = False, identity: str = "") -> None:
        process().identity = identity
        process().pinned = pinned
        process().role = "executor"
        process().enter(WorkerTicket.read(ticket))
        self._threads = DaemonExecutor(_THREADS, thread_name_prefix="distgraph-node")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._refused: OrderedDict[str, None] = OrderedDict()
        """Attempts that were cancelled and did not run: they may be on their way, or wait for
        their graph to be loaded."""
        self._ended: list[tuple[str, bytes | None, BaseException | None]] = []
        self._news = asyncio.Event()
        self._ending = asyncio.Event()

    async def prepare(self, digest: str, program: bytes, paths: tuple[str, ...]) -> None:
        """Load a graph for attempts that follow."""
        await asyncio.to_thread(process().load, digest, program, paths)

    async def submit(
        self, names: list[str], packed: bytes, thread: bool, *snapshots: bytes
    ) -> None:
        """Start a packet's attempts, each under its name; ``collect`` returns their outcomes."""
        if process().lag is None:
            process().lag = LoopLag(asyncio.get_running_loop())
        packet = await process().open(packed)
        # the reply to this call may come late: the first node may block this loop
        process().heartbeat.took(names[0])
        for at, name in enumerate(names):
            if name in self._refused:
                continue
            steps = self._run(name, packet, at, snapshots, thread)
            task = self._running[name] = asyncio.create_task(steps)
            task.add_done_callback(partial(self._over, name))

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        # not within the attempt: one that is cancelled before its first step never gets there
        self._running.pop(name, None)
        left_behind.discard(task)
        if task.cancelled():
            self._report(name)

    async def drop_pinned(self, run_id: str | None) -> None:
        """Let go of the values that a run, or all runs, left in this process."""
        await asyncio.to_thread(drop, run_id)
        if run_id is None:
            self._ending.set()

    async def watch(self) -> None:
        """Wait for the end of this process: callers that wait for this call are notified of its
        death."""
        await self._ending.wait()

    async def collect(self) -> Any:
        """Wait for outcomes, and return those there are: ``[(name, packed outcome, error)]``."""
        await self._news.wait()
        self._news.clear()
        ended, self._ended = self._ended, []
        return dumps_parcel(ended)

    async def deliver(self, packed: bytes) -> None:
        """Accept results of calls that attempts have made."""
        for name, result in loads(packed):
            process().deliver(name, result)

    async def cancel(self, names: list[str]) -> None:
        """Cancel attempts; repeat the cancel for attempts that suppress cancellation.

        A thread cannot be ended: its outcome is dropped, and it waits for no more calls.
        """
        for name in names:
            process().leave(name)
            if name not in self._running:
                self._refused[name] = None
                self._report(name)  # unless it has ended, it never starts
        while len(self._refused) > _REFUSED_KEPT:
            self._refused.popitem(last=False)
        for number in range(_CANCELS):
            tasks = [task for name in names if (task := self._running.get(name)) is not None]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_AGAIN if number else _CLEANUP)
        for name in names:
            task = self._running.get(name)
            if task is not None:  # nobody waits for it any longer
                left_behind.add(task)
                self._report(name)

    def _report(
        self, name: str, outcome: bytes | None = None, error: BaseException | None = None
    ) -> None:
        self._ended.append((name, outcome, error))
        self._news.set()

    async def _run(
        self, name: str, packet: OpenPacket, at: int, snapshots: tuple[bytes, ...], thread: bool
    ) -> None:
        outcome: bytes | None = None
        error: BaseException | None = None
        try:
            if thread:
                run = partial(process().run_attempt, name=name, lend=self._threads.lend)
                outcome = await self._in_thread(partial(run, packet, at, snapshots))
            else:
                outcome = await process().await_attempt(packet, at, snapshots, name)
        except asyncio.CancelledError:
            pass
        except Exception as failure:
            error = failure
        self._report(name, outcome, error)

    async def _in_thread(self, call: Callable[[], bytes]) -> bytes:
        """Make a call in a thread. One that is cancelled is left behind, and noted."""
        over = threading.Event()

        def run() -> bytes:
            try:
                return call()
            finally:
                over.set()
                left_behind.discard(over)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except asyncio.CancelledError:
            left_behind.add(over)
            if over.is_set():
                left_behind.discard(over)
            raise


AsyncExecutorActor: Any = remote(num_cpus=0, max_restarts=0, max_task_retries=0)(AsyncExecutor)
"""The executor as a Ray actor."""
