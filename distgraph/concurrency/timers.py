"""Calls that are due later, on one thread for the whole process."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from distgraph.concurrency.threads import daemon

__all__ = ("Timers", "timers")


class Timers:
    """Makes calls when their time has come. They must not wait for anything."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._serving = False

    def after(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Make a call after some seconds. Returns what takes it back."""
        entry = (time.monotonic() + seconds, next(self._numbers), call)
        with self._changed:
            heapq.heappush(self._due, entry)
            if not self._serving:
                self._serving = True
                daemon(self._serve, "distgraph-timers").start()
            self._changed.notify()

        def take_back() -> None:
            with self._changed:
                if entry in self._due:
                    self._due.remove(entry)
                    heapq.heapify(self._due)

        return take_back

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    wait = self._due[0][0] - time.monotonic() if self._due else None
                    self._changed.wait(wait)
                _, _, call = heapq.heappop(self._due)
            call()


@lru_cache(maxsize=1)
def timers() -> Timers:
    """Return this process's timers."""
    return Timers()
