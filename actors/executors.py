"""The executors of a session: processes that many waiting attempts share."""

from __future__ import annotations

import threading
import time
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.tasks import EXECUTOR_CALLS, AsyncExecutorActor
from actors.untyped import alive_nodes

_CROWDED = 64
"""Attempts in one executor from which another machine gets one too."""

_NODES_FOR = 5.0
"""Seconds for which the list of machines is trusted."""


class _Executor:
    __slots__ = ("handle", "load", "node")

    def __init__(self, node: str | None) -> None:
        strategy = NodeAffinitySchedulingStrategy(node, soft=True) if node else "DEFAULT"
        self.handle: Any = AsyncExecutorActor.options(
            max_concurrency=EXECUTOR_CALLS, scheduling_strategy=strategy
        ).remote()
        self.node = node
        self.load = 0


class Executors:
    """At most one executor a machine; a further machine joins when the others are crowded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[_Executor] = []
        self._nodes: list[str] = []
        self._nodes_until = 0.0

    @property
    def count(self) -> int:
        """Executors that exist."""
        return len(self._all)

    def pick(self) -> _Executor:
        """Return the executor with the least load, counted one higher; ``release`` undoes that."""
        with self._lock:
            least = min(self._all, key=lambda e: e.load, default=None)
            if least is None or least.load >= _CROWDED:
                free = self._free_node()
                if least is None or free is not None:
                    least = _Executor(free)
                    self._all.append(least)
            least.load += 1
            return least

    def release(self, executor: _Executor, *, lost: bool) -> None:
        """Give back what ``pick`` returned. A lost executor is not used again."""
        with self._lock:
            executor.load -= 1
            if lost and executor in self._all:
                self._all.remove(executor)

    def _free_node(self) -> str | None:
        now = time.monotonic()
        if now > self._nodes_until:
            self._nodes = alive_nodes()
            self._nodes_until = now + _NODES_FOR
        taken = {e.node for e in self._all}
        return next((n for n in self._nodes if n not in taken), None)
