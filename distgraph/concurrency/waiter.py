"""Park and wake: one consumer, a thread or a coroutine, waits for what any thread changes."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop
from contextlib import suppress


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

    def wake(self) -> None:
        """Wake the consumer and all others that wait for the condition. The lock is held."""
        self._changed.notify_all()
        if self._parked:
            assert self._loop is not None and self._event is not None
            self._parked = False
            if _get_running_loop() is self._loop:
                self._event.set()
                return
            with suppress(RuntimeError):  # the consumer's loop was closed under its run
                self._loop.call_soon_threadsafe(self._event.set)
