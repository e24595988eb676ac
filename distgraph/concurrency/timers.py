"""Calls that are due later. Every scheduler of the project is a ``Timers``."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from weakref import WeakSet

from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import daemon

__all__ = ("Timers", "timers")

logger = logging.getLogger("distgraph")


class Timers:
    """Makes calls when their time has come, one after the other, on one thread.

    A call must only hand over: put into a queue, set a future, send a message. It must not wait,
    and must not run code of users, for it delays all other calls. The thread starts with the first
    call that is due later, and ends after a while without any.

    Args:
        name: Of the thread.
        clock: The time in seconds, monotonic.
        linger: Seconds without work after which the thread ends.
        spawn: Starts the thread; only tests, which call ``run_due`` themselves, replace it.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        linger: float = 2.0,
        spawn: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._clock = clock
        self._linger = linger
        self._spawn = spawn or (lambda body: daemon(body, name).start())
        self._numbers = itertools.count()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        # Entered as such, never as a Condition: that runs Python code which a signal can interrupt
        # with the lock held. Reentrant: the garbage collector may close a run at any moment.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._serving = False

    def after(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        """Make a call after some seconds. Return what takes it back."""
        return self.at(self._clock() + seconds, call)

    def at(self, when: float, call: Callable[[], object]) -> Callable[[], None]:
        """Make a call at a time of the clock. Return what takes it back."""
        entry = (when, next(self._numbers), call)
        with self._lock:
            heapq.heappush(self._due, entry)
            if not self._serving:
                self._spawn(self._serve)
                self._serving = True
            elif self._due[0] is entry:
                self._changed.notify()

        def take_back() -> None:
            with self._lock:
                if entry in self._due:
                    self._due.remove(entry)
                    heapq.heapify(self._due)

        return take_back

    def run_due(self) -> float | None:
        """Make the calls that are due. Return the seconds until the next is, None without any."""
        now = self._clock()
        while True:
            with self._lock:
                if not self._due:
                    return None
                if self._due[0][0] > now:
                    return self._due[0][0] - self._clock()
                _, _, call = heapq.heappop(self._due)
            try:
                call()
            except Exception:  # that of one owner is not to end the calls of the others
                logger.exception("a timer failed: %r", call)

    def _serve(self) -> None:
        while True:
            self.run_due()
            with self._lock:
                if not self._due:
                    if not self._changed.wait(self._linger) and not self._due:
                        self._serving = False
                        return
                elif (wait := self._due[0][0] - self._clock()) > 0:
                    self._changed.wait(wait)


_all: WeakSet[Timers] = WeakSet()


@in_forked_process
def _forget_threads() -> None:
    for each in list(_all):
        each._begin()


@lru_cache(maxsize=1)
def timers() -> Timers:
    """Return the timers that everything in this process shares."""
    return Timers("distgraph-timers")
