"""Which executor of a session runs an attempt: by load, or by the thread that it is pinned to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from actors.cluster import alive_nodes
from actors.executors import Executor, ExecutorHost
from distgraph.concurrency.timers import timers

__all__ = ("Executors", "ThreadExecutors")

_LOOK = 1.0
"""Seconds between two looks at the state of executors."""

_CROWDED = 64
"""Attempts in one executor from which another machine gets one too."""

_NODES_FOR = 5.0
"""Seconds for which the list of machines is trusted."""


class Executors:
    """At most one executor a machine; a further machine joins when the others are crowded."""

    def __init__(self, host: ExecutorHost) -> None:
        self._host = host
        self._looking = False
        self._retired: list[Executor] = []
        self._lock = threading.Lock()
        self._all: list[Executor] = []
        self._nodes: list[str] = []
        self._nodes_until = 0.0

    @property
    def count(self) -> int:
        """Executors that exist."""
        return len(self._all)

    def pick(self) -> Executor:
        """Return the executor with the least load."""
        with self._lock:
            able = [executor for executor in self._all if not executor.retirement.why]
            least = min(able, key=lambda e: e.load, default=None)
            if least is None or least.load >= _CROWDED:
                free = self._free_node()
                if least is None or free is not None:
                    least = self._host.start(free, self._forget)
                    self._all.append(least)
            if not self._looking:
                self._looking = True
                timers().after(_LOOK, self._look)
            return least

    @property
    def retired(self) -> list[str]:
        """Why executors that have not ended get no more attempts."""
        return [executor.retirement.why for executor in self._retired]

    def _look(self) -> None:
        """Retire executors whose code blocks them, and end those that have nothing to do."""
        with self._lock:
            executors = [*self._all, *self._retired]
        for executor in executors:
            if not executor.look():
                with self._lock:
                    if executor in self._all:
                        self._all.remove(executor)
                        if not executor.is_lost:
                            self._retired.append(executor)
        with self._lock:
            self._looking = bool(self._all or self._retired)
            if self._looking:
                timers().after(_LOOK, self._look)

    def _forget(self, executor: Executor) -> None:
        with self._lock:
            for known in (self._all, self._retired):
                if executor in known:
                    known.remove(executor)

    def _free_node(self) -> str | None:
        now = time.monotonic()
        if now > self._nodes_until:
            self._nodes = alive_nodes()
            self._nodes_until = now + _NODES_FOR
        taken = {e.node for e in self._all}
        return next((n for n in self._nodes if n not in taken), None)


@dataclass
class _Thread:
    executor: Executor
    runs: set[str] = field(default_factory=set)
    idle_since: float = 0.0


class ThreadExecutors:
    """One executor for each thread whose nodes are pinned to it, across the runs of a session.

    Args:
        idle: Seconds without a run after which a thread's process is ended.
        start: Starts a process.
    """

    def __init__(self, idle: float, start: Callable[[], Executor]) -> None:
        self._idle = idle
        self._start = start
        self._lock = threading.Lock()
        self._threads: dict[str, _Thread] = {}
        self._looking = False

    @property
    def count(self) -> int:
        """Executors that exist."""
        return len(self._threads)

    def join(self, thread: str, run_id: str) -> Executor:
        """Return the thread's executor for a run; another one if its process is gone."""
        with self._lock:
            found = self._threads.get(thread)
            if found is None or found.executor.is_lost:
                runs = set() if found is None else found.runs
                found = self._threads[thread] = _Thread(self._start(), runs)
            found.runs.add(run_id)
            return found.executor

    def leave(self, thread: str, run_id: str) -> None:
        """Report the end of a run that had joined; the values in its state are released."""
        with self._lock:
            found = self._threads.get(thread)
            if found is None:
                return
            found.runs.discard(run_id)
            found.idle_since = time.monotonic()
            if not self._looking:
                self._looking = True
                timers().after(min(self._idle, _LOOK), self._look)
        found.executor.drop(run_id)

    def _look(self) -> None:
        """End what is idle, and look again while something may become so without a word."""
        self.release()
        with self._lock:
            # a run that leaves its thread starts the look again
            self._looking = any(not found.runs for found in self._threads.values())
            if self._looking:
                timers().after(min(self._idle, _LOOK), self._look)

    def release(self) -> None:
        """End the processes of threads that have been idle for long enough."""
        until = time.monotonic() - self._idle
        with self._lock:
            idle = [
                thread
                for thread, found in self._threads.items()
                if not found.runs and (found.idle_since <= until or found.executor.is_lost)
            ]
            ended = [self._threads.pop(thread) for thread in idle]
        for found in ended:
            if not found.executor.is_lost:
                found.executor.end()
