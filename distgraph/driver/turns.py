"""Turns of the runs of one driver: few of many threads run at a time, in the order in which they
ask.

The threads of one process share the interpreter. Where a hundred of them are ready at once, most of
the time goes into handing the interpreter over, and a run can wait for long while others go on. So
a run asks for a turn, handles in it what has come, and asks again behind the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from distgraph.concurrency.timers import timers

__all__ = ("Seat", "Turns")

PATIENCE = 0.01
"""Seconds that others wait for a turn to end: reducers of users may take any time, or wait."""


class Seat:
    """The place of one thread."""

    __slots__ = ("_granted", "since", "state")

    def __init__(self) -> None:
        self._granted = threading.Semaphore(0)
        self.state = "idle"
        """``idle``, ``waiting``, ``running``, or ``over``: it goes on beside the others' turns."""
        self.since = 0.0
        """When its turn began."""

    def grant(self, now: float) -> None:
        """Let the thread of the seat run."""
        self.state, self.since = "running", now
        self._granted.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a turn that was asked for. Return whether it has come within the seconds."""
        return self._granted.acquire(timeout=timeout)


class Turns:
    """Turns of threads. Thread-safe.

    Args:
        most: Turns at the same time.
        patience: Seconds after which a turn counts no longer, so that others get theirs.
        clock: The time in seconds, monotonic.
        later: Makes a call after some seconds.
    """

    def __init__(
        self,
        most: int = 1,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._free = most
        self._patience = patience
        self._clock = clock
        self._later = later or timers().after
        self._lock = threading.Lock()
        self._waiting: deque[Seat] = deque()
        self._running: set[Seat] = set()
        self._looking = False

    def ask(self, seat: Seat) -> None:
        """Ask for a turn, unless the seat has one or waits for one: ``leave`` looks for more."""
        with self._lock:
            if seat.state == "idle":
                seat.state = "waiting"
                self._waiting.append(seat)
                self._grant()

    def leave(self, seat: Seat, more: Callable[[], bool] = lambda: False) -> None:
        """End a turn. Where there is ``more`` to do, the seat waits for its next one."""
        with self._lock:
            if seat in self._running:
                self._running.discard(seat)
                self._free += 1
            seat.state = "idle"
            if more():
                seat.state = "waiting"
                self._waiting.append(seat)
            self._grant()

    def _grant(self) -> None:
        while self._free > 0 and self._waiting:
            seat = self._waiting.popleft()
            self._free -= 1
            self._running.add(seat)
            seat.grant(self._clock())
        if self._waiting and not self._looking:
            self._looking = True
            self._later(self._patience, self._look)

    def _look(self) -> None:
        """Let others go on beside turns that take long."""
        with self._lock:
            self._looking = False
            until = self._clock() - self._patience
            for seat in [seat for seat in self._running if seat.since <= until]:
                self._running.discard(seat)
                seat.state = "over"
                self._free += 1
            self._grant()
