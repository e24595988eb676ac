"""Pools of actors for nodes and tools that are costly to set up.

A pool's workers construct the class once and serve many attempts. It grows to its upper size while
attempts wait, and is released when it has been idle for a while, or with the session.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.tasks import PoolWorkerActor
from distgraph.concurrency.timers import timers

_LOOK = 2.0
"""Seconds between two looks at what is idle."""

_AHEAD = 2
"""Attempts that a worker holds: one runs, the next is there already."""

_KILL = 1.0
"""Seconds that a cancelled attempt may go on before its worker is killed."""

Done = Callable[[Any, "BaseException | None"], None]


@dataclass(eq=False)
class Job:
    """One group of attempts in a pool."""

    packed: bytes
    snapshots: Sequence[Any]
    done: Done
    worker: _Worker | None = None
    ended: bool = False


@dataclass(eq=False)
class _Worker:
    handle: Any
    jobs: list[Job] = field(default_factory=list)
    up: bool = False
    """Whether the worker is running; a worker for which the cluster has no room gets no jobs."""


class Pool:
    """The workers of one node or tool.

    Args:
        ticket: What a worker needs to connect to the driver.
        size: Fewest and most workers.
        options: Options of ``ray.remote`` for a worker.
    """

    def __init__(self, ticket: bytes, size: tuple[int, int], options: Mapping[str, Any]) -> None:
        self._ticket = ticket
        self._fewest, self._most = size
        self._options = options
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._waiting: deque[Job] = deque()
        self._last_used = time.monotonic()

    @property
    def size(self) -> int:
        """Workers that exist."""
        return len(self._workers)

    def submit(self, packed: bytes, snapshots: Sequence[Any], done: Done) -> Job:
        """Queue a group of attempts; ``done(packed outcomes, error)`` is called once, with neither
        where the job is cancelled before it was sent."""
        job = Job(packed, snapshots, done)
        with self._lock:
            self._waiting.append(job)
            self._advance()
        return job

    def cancel(self, job: Job) -> bool:
        """Drop a job that waits. One that runs is given a moment, then its worker is killed.

        Return whether the job waited.
        """
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                job.ended = True
                job.done(None, None)
                return True
        timers().after(_KILL, partial(self._kill, job))
        return False

    def release(self, *, idle: float) -> None:
        """End the workers if nothing has run for ``idle`` seconds."""
        with self._lock:
            busy = self._waiting or any(w.jobs for w in self._workers)
            if busy or time.monotonic() < self._last_used + idle:
                return
            for worker in self._workers:
                ray.kill(worker.handle)
            self._workers.clear()

    @property
    def starves(self) -> bool:
        """Whether jobs wait and no worker runs: the cluster has no room for a worker."""
        with self._lock:
            return bool(self._waiting) and not any(w.up for w in self._workers)

    def _advance(self) -> None:
        self._last_used = time.monotonic()
        if self._waiting:
            idle = sum(1 for w in self._workers if not w.jobs)
            wanted = len(self._workers) + max(0, len(self._waiting) - idle)
            while len(self._workers) < min(self._most, max(self._fewest, wanted)):
                self._add()
        while self._waiting:
            worker = min(
                (w for w in self._workers if w.up), key=lambda w: len(w.jobs), default=None
            )
            if worker is None or len(worker.jobs) >= _AHEAD:
                return
            self._send(worker, self._waiting.popleft())

    def _add(self) -> None:
        worker = _Worker(PoolWorkerActor.options(**self._options).remote(self._ticket))
        self._workers.append(worker)
        worker.handle.ping.remote().future().add_done_callback(
            lambda future: self._is_up(worker, future.exception())
        )

    def _is_up(self, worker: _Worker, error: BaseException | None) -> None:
        with self._lock:
            if error is None:
                worker.up = True
            elif worker in self._workers:
                self._workers.remove(worker)
                if not self._workers:  # no worker can be started: fail the waiting jobs
                    waiting, self._waiting = self._waiting, deque()
                    for job in waiting:
                        job.ended = True
                        job.done(None, error)
            self._advance()

    def _send(self, worker: _Worker, job: Job) -> None:
        job.worker = worker
        worker.jobs.append(job)
        ref = worker.handle.run.remote(job.packed, *job.snapshots)
        ref.future().add_done_callback(lambda future: self._came_back(worker, job, future))

    def _came_back(self, worker: _Worker, job: Job, future: Any) -> None:
        error = future.exception()
        with self._lock:
            job.ended = True
            if job in worker.jobs:
                worker.jobs.remove(job)
            if isinstance(error, RayActorError) and worker in self._workers:
                self._workers.remove(worker)
            self._advance()
        job.done(None if error is not None else future.result(), error)

    def _kill(self, job: Job) -> None:
        with self._lock:
            if job.ended or job.worker is None:
                return
            worker = job.worker
            if worker in self._workers:
                self._workers.remove(worker)
            # jobs queued in this worker move to another worker
            for other in [j for j in worker.jobs if j is not job and not j.ended]:
                worker.jobs.remove(other)
                other.worker = None
                self._waiting.appendleft(Job(other.packed, other.snapshots, other.done))
                other.done = _nobody
        ray.kill(worker.handle)


def _nobody(packed: Any, error: BaseException | None) -> None:
    """Nobody waits for this any more."""


class Pools:
    """The pools of a session, by node or tool.

    Args:
        ticket: What workers need to connect to the driver.
        idle: Seconds without work after which a pool's workers are released.
    """

    def __init__(self, ticket: bytes, idle: float) -> None:
        self._ticket = ticket
        self._idle = idle
        self._lock = threading.Lock()
        self._pools: dict[Hashable, Pool] = {}
        self._serving = False

    @property
    def count(self) -> int:
        """Workers in all pools."""
        return sum(pool.size for pool in self._pools.values())

    def get(self, key: Hashable, size: tuple[int, int], options: Mapping[str, Any]) -> Pool:
        """Return the pool of a node, made with its first attempt."""
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = Pool(self._ticket, size, options)
            if not self._serving:
                self._serving = True
                timers().after(_LOOK, self._look)
            return pool

    def _look(self) -> None:
        """Release what is idle, and look again while there are pools."""
        with self._lock:
            pools = dict(self._pools)
        # a pool that gets no room, such as the only GPU, may have what others only keep
        starving = any(pool.starves for pool in pools.values())
        for key, pool in pools.items():
            pool.release(idle=min(self._idle, _LOOK) if starving else self._idle)
            with self._lock:
                if pool.size == 0:
                    self._pools.pop(key, None)
        with self._lock:
            self._serving = bool(self._pools)
            if self._serving:
                timers().after(_LOOK, self._look)
