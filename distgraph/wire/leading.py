"""Threads that wait for what some connections bring receive by themselves, one at a time.

The one that receives leads, on all of these connections. It takes frames for the others too, and
wakes those. When it goes on with what it has waited for, another one that waits takes its place: no
thread has to be woken for a frame of the thread that leads.
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf

from distgraph.wire.busy_polling import BusyPoll, window
from distgraph.wire.connection import Connection
from distgraph.wire.event_loops import EventLoops
from distgraph.wire.loop import loop, pair

__all__ = ("LOOK", "Lead")

LOOK = 1.0
"""Seconds between two looks at the threads that lead. Where none has begun to from one look to the
next, the loop's thread receives in their place."""

_PAUSE = 1.0
"""Seconds for which a thread that leads waits at once."""


class Lead:
    """The place of the thread that receives.

    A signal handler may raise at any point of the main thread. So what must not be left half done
    is one call of C: ``deque.extend`` takes the place and notes that, before any handler runs.

    Args:
        connections: Each returns an open connection, None where there is none. What has come by the
            first ones is taken first.
    """

    def __init__(self, *connections: Callable[[], Connection | None]) -> None:
        self._connections = connections
        self._loop = loop()
        self._place = threading.Lock()
        """Held by the thread that leads."""
        self._leader = 0
        """Which thread that is, 0 for none."""
        self._waiting: dict[threading.Lock, None] = {}
        """What threads wait for that do not lead."""
        self._is_shared = False
        """Whether others than threads wait: the loop's thread receives for them."""
        self._can_lead = False
        """Whether a thread could lead when one last tried."""
        self._times = 0
        """How often a thread has begun to lead."""
        self._looking = False
        """Whether the loop looks at those that lead."""
        self._look_due = False
        self._led: Sequence[Connection] = ()
        """The connections on which a thread has led last."""
        self._poll = select.poll()
        self._by_file: dict[int, Connection] = {}
        """The connections that are waited for, by their file descriptors."""
        self._busy_poll = BusyPoll(window())
        self._wakes, self._woken = pair()
        """Wake the thread that leads."""
        self._event_loops = EventLoops(
            self._loop, self._open, self._take_on_loop, lambda: bool(self._waiting)
        )

    def also(self, connection: Callable[[], Connection | None]) -> None:
        """Receive on another connection too: what has come by it is taken first."""
        self._connections = (connection, *self._connections)

    def waiter(self) -> tuple[threading.Lock, Callable[[], None]]:
        """Return what a thread waits for by ``wait``, and what ends that: any thread may call the
        latter, and again."""
        waiter = threading.Lock()
        waiter.acquire()
        return waiter, partial(self._end, waiter)

    def share(self, loops: Sequence[asyncio.AbstractEventLoop]) -> None:
        """Let no thread lead, because coroutines of these event loops wait; or no longer.

        A single event loop receives by itself while no thread waits.
        """
        was_shared, self._is_shared = self._is_shared, bool(loops)
        self._led = ()  # who leads next tells the loop's thread to receive no longer
        if loops and not was_shared and self._times:
            self._give_way()
        self._event_loops.wait(loops)

    def wait(self, waiter: threading.Lock, timeout: float | None) -> None:
        """Wait until ``waiter`` has ended, for ``timeout`` seconds at most.

        It returns earlier where the calling thread is to lead: by a further call.
        """
        until = inf if timeout is None else time.monotonic() + timeout
        try:
            self._waiting[waiter] = None  # first: who leaves the place looks for it behind that
            self._event_loops.stop()
            if not self._has_led(waiter, until):
                waiter.acquire(timeout=-1 if until == inf else max(0.0, until - time.monotonic()))
        finally:
            self._waiting.pop(waiter, None)
            self._follow()

    def _has_led(self, waiter: threading.Lock, until: float) -> bool:
        """Lead, where no other thread does. Return whether the wait is over."""
        took: deque[bool] = deque()
        try:
            took.extend(map(self._place.acquire, (False,)))
            if took[0]:
                return self._lead(waiter, until)
        finally:
            if took and took[0]:
                self._leader = 0
                self._place.release()
                if self._is_shared:
                    self._give_way()
        if self._leader == threading.get_ident():
            self._give_way()  # this is code that a signal handler runs
        return False

    def _lead(self, waiter: threading.Lock, until: float) -> bool:
        """Receive until ``waiter`` has ended. Return False where that is not possible."""
        found = [] if self._is_shared else self._open()
        try:
            led = [each for each in found if each.take_turn()]
            self._can_lead = bool(led)
            if not led:
                return False
            self._leader = threading.get_ident()
            self._times += 1
            self._begin_with(led)
            while not waiter.acquire(blocking=False):
                left = until - time.monotonic()
                if left <= 0:
                    return True
                if any(each.closed for each in led):
                    led = [each for each in led if not each.closed]
                    self._begin_with(led)
                if not led or self._is_shared:
                    return False
                self._receive(min(left, _PAUSE))
            return True
        finally:
            for each in found:
                each.return_turn()

    def _take_on_loop(self, connections: Sequence[Connection]) -> bool:
        """Take what has come, on the thread of an event loop. Return False where a thread leads."""
        took: deque[bool] = deque()
        try:
            took.extend(map(self._place.acquire, (False,)))
            if took[0]:
                self._leader = threading.get_ident()
                for each in connections:
                    each.take_frames()
            return took[0]
        finally:
            if took and took[0]:
                self._leader = 0
                self._place.release()

    def _open(self) -> list[Connection]:
        found = (connection() for connection in self._connections)
        return [each for each in found if each is not None]

    def _begin_with(self, led: Sequence[Connection]) -> None:
        """Wait for frames of these connections. On the thread that leads."""
        if led != self._led:
            self._led = ()  # until the rest is done: a signal handler may raise
            self._poll = select.poll()
            self._poll.register(self._woken, select.POLLIN)
            self._by_file = {each.watch_by(self._poll): each for each in led}
        elif self._looking:
            return
        self._looking = True
        self._led = led
        self._loop.soon(partial(self._begin, led))

    def _receive(self, seconds: float) -> None:
        """Wait for frames, and take them. On the thread that leads."""
        ready = [each for each, _ in self._busy_poll.wait(self._look_for_frames, seconds)]
        for number, connection in self._by_file.items():
            if number in ready or number < 0:
                connection.take_frames()
        if any(number not in self._by_file for number in ready):
            self._drain()

    def _look_for_frames(self, seconds: float | None) -> list[tuple[int, int]]:
        return self._poll.poll(None if seconds is None else seconds * 1000)

    def _follow(self) -> None:
        """Let a thread that waits lead, where none does."""
        if self._place.locked() or not self._can_lead:
            return
        for waiter in list(self._waiting):
            with suppress(RuntimeError):  # it has ended
                waiter.release()
                return

    def _end(self, waiter: threading.Lock) -> None:
        with suppress(RuntimeError):  # it has ended before
            waiter.release()
        if self._leader not in (0, threading.get_ident()):
            self._wake()

    def _give_way(self) -> None:
        """Let the loop's thread receive."""
        self._wake()
        for connection in self._open():
            if self._leader == threading.get_ident() and connection.is_read:
                connection.end_torn()  # what this thread does there goes on only behind this call
            else:
                self._loop.soon(partial(self._watch, connection))

    def _wake(self) -> None:
        with suppress(OSError):  # it is woken already
            self._wakes.send(b"\0")

    def _drain(self) -> None:
        with suppress(OSError):
            self._woken.recv(4096)

    # --- on the loop's thread -------------------------------------------------------------------

    def _begin(self, led: Sequence[Connection]) -> None:
        """Leave receiving to threads that lead."""
        if not self._is_shared:
            known = self._open()
            for connection in led:
                if connection in known:
                    connection.watch_less()
        if not self._look_due:
            self._look_later()

    def _watch(self, connection: Connection) -> None:
        """Receive on the loop's thread, unless an event loop does."""
        if not self._event_loops.holds(connection):
            connection.watch_again()

    def _look_later(self) -> None:
        self._look_due = True
        self._loop.after(LOOK, partial(self._look, self._times))

    def _look(self, seen: int) -> None:
        self._look_due = False
        if self._leader or self._times != seen:
            self._look_later()
            return
        self._looking = False
        for connection in self._open():
            self._watch(connection)
        if self._times != seen:  # one has begun just now, and relies on this look
            self._looking = True
            self._look_later()
