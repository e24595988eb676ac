"""Park and wake: one consumer, a thread or a coroutine, waits for what any thread changes."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop
from collections.abc import Iterable
from contextlib import suppress


class Wakes:
    """Coroutines that are woken together: the loop of many is called once.

    Each such call wakes the loop's thread, which then competes for the interpreter.
    """

    def __init__(self) -> None:
        self._waiters: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, waiter: Waiter) -> None:
        """Add the coroutine of a waiter, on its loop."""
        self._waiters.setdefault(loop, []).append(waiter)

    def wake(self) -> None:
        """Wake all. Any thread may call this."""
        for loop, waiters in self._waiters.items():
            with suppress(RuntimeError):  # the loop was closed under the runs
                loop.call_soon_threadsafe(_go_on, waiters)


def _go_on(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        waiter.go_on()


class Waiter:
    """Where one consumer waits.

    The consumer checks under the lock whether there is anything for it, and parks if not. A thread
    changes something under the same lock, and wakes the consumer before releasing it.

    Args:
        changed: The condition whose lock guards what the consumer waits for.
        loop: The consumer's event loop, None for a consumer that is a thread.
    """

    def __init__(
        self, changed: threading.Condition, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._changed = changed
        self._loop = loop
        self._event = asyncio.Event() if loop is not None else None
        self._parked = False

    @property
    def is_sync(self) -> bool:
        """Whether the consumer is a thread."""
        return self._loop is None

    def wait(self, timeout: float | None = None) -> None:
        """Block the consumer's thread until ``wake``. The lock is held, and free meanwhile."""
        self._changed.wait(timeout)

    def park(self) -> asyncio.Event:
        """Return what the consumer's coroutine awaits once it has released the lock."""
        assert self._event is not None
        self._event.clear()
        self._parked = True
        return self._event

    def wake(self, together: Wakes | None = None) -> None:
        """Wake the consumer and all others that wait for the condition. The lock is held.

        ``together``: takes a consumer of another thread's loop, instead of a call of the loop.
        """
        self._changed.notify_all()
        if self._parked:
            assert self._loop is not None and self._event is not None
            if _get_running_loop() is self._loop:
                self.go_on()
            elif together is not None:
                together.add(self._loop, self)
            else:
                self._parked = False
                with suppress(RuntimeError):  # the consumer's loop was closed under its run
                    self._loop.call_soon_threadsafe(self._event.set)

    def go_on(self) -> None:
        """Let the consumer's coroutine go on. On its loop."""
        assert self._event is not None
        self._parked = False
        self._event.set()
