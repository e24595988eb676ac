"""Turns on a few shared threads, in the order in which they were asked for.

A driver has a thousand runs, each of which has something to do now and then. With a thread for each
of them, most of the time goes into handing the interpreter over from one to another, and a run can
wait for long while others go on.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from enum import Enum
from math import inf

from distgraph.concurrency.threads import daemon
from distgraph.concurrency.timers import timers

__all__ = ("Seat", "Turns")

logger = logging.getLogger("distgraph")

PATIENCE = 0.05
"""Seconds that others wait for a turn to end: code of users may take any time, or wait."""


class _State(Enum):
    IDLE = "idle"
    WAITING = "waiting"
    IN_TURN = "in turn"
    ASKED_AGAIN = "asked again"


class Seat:
    """Something that takes turns, one after the other: no two at the same time.

    Args:
        turns: The threads.
        turn: Does what is to be done now.
    """

    __slots__ = ("_turns", "state", "turn")

    def __init__(self, turns: Turns, turn: Callable[[], object]) -> None:
        self._turns = turns
        self.turn = turn
        self.state = _State.IDLE

    def ask(self) -> None:
        """Ask for a turn that begins after this call. Any thread may call this."""
        self._turns.ask(self)


class _Thread:
    """A thread that serves turns."""

    __slots__ = ("replaced", "since")

    def __init__(self) -> None:
        self.since = inf
        """When its turn began."""
        self.replaced = False
        """Whether another thread serves the turns behind this one."""


class Turns:
    """Serves turns on one thread, and on further threads beside turns that take long.

    Args:
        later: Makes a call after some seconds.
        spawn: Starts a thread.
        clock: The time in seconds, monotonic.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object] | None = None,
        spawn: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later = later or timers().after
        self._spawn = spawn or (lambda body: daemon(body, "distgraph-runs").start())
        self._clock = clock
        self._lock = threading.RLock()  # the garbage collector may ask at any moment
        self._ready: queue.SimpleQueue[Seat] = queue.SimpleQueue()
        self._unended = 0
        """Turns that were asked for, those that have begun included."""
        self._thread: _Thread | None = None
        """The one that is not replaced."""
        self._looking = False

    def ask(self, seat: Seat) -> None:
        """Ask for a turn that begins after this call. Any thread may call this."""
        with self._lock:
            if seat.state is _State.IDLE:
                self._add(seat)
            elif seat.state is _State.IN_TURN:
                seat.state = _State.ASKED_AGAIN

    def _add(self, seat: Seat) -> None:
        seat.state = _State.WAITING
        self._unended += 1
        self._ready.put(seat)
        if self._thread is None:
            self._start()
        self._look_soon()

    def _start(self) -> None:
        thread = _Thread()
        self._spawn(lambda: self._serve(thread))
        self._thread = thread

    def _look_soon(self) -> None:
        if self._unended > 1 and not self._looking:
            self._looking = True
            self._later(PATIENCE, self._look)

    def _look(self) -> None:
        """Let others go on beside a turn that takes long."""
        with self._lock:
            self._looking = False
            self._look_soon()
            thread = self._thread
            if thread is not None and self._clock() - thread.since >= PATIENCE:
                self._start()
                thread.replaced = True

    def _serve(self, thread: _Thread) -> None:
        """Body of a thread."""
        while not thread.replaced:
            seat = self._ready.get()
            thread.since = self._clock()
            seat.state = _State.IN_TURN
            try:
                seat.turn()
            except BaseException:  # the others go on
                logger.exception("a turn failed: %r", seat.turn)
            with self._lock:
                thread.since = inf
                self._unended -= 1
                if seat.state is _State.ASKED_AGAIN:
                    self._add(seat)
                else:
                    seat.state = _State.IDLE
            del seat  # it does not live on while the thread waits
