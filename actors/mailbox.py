"""Where a run's deliveries wait for its consumer: a thread puts, a thread or a coroutine takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

from distgraph.contract.stream import Delivery


class Mailbox:
    """A queue of deliveries. What bounds it is the broker's window.

    Args:
        loop: The consumer's event loop, None for a synchronous consumer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._wake = asyncio.Event() if loop is not None else None
        self._parked = False
        self._kicked = False
        self._items: list[Delivery] = []
        self.received = 0
        """``seq`` of the last event that was put."""
        self._failure: BaseException | None = None

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries."""
        with self._changed:
            self._items.extend(deliveries)
            last = deliveries[-1]
            self.received = last.seq + last.segment.count - 1
            self._notify()

    def fail(self, error: BaseException) -> None:
        """Make taking raise ``error`` once everything that came before it was taken."""
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._notify()

    @property
    def is_sync(self) -> bool:
        """Whether its consumer is a thread."""
        return self._loop is None

    def take(self) -> list[Delivery]:
        """Take what there is; raises what ``fail`` was given once nothing is left."""
        with self._changed:
            return self._take()

    def wait(self) -> None:
        """Wait until there is something to take, or ``kick`` was called."""
        with self._changed:
            if not self._items and self._failure is None and not self._kicked:
                self._changed.wait()
            self._kicked = False

    def kick(self) -> None:
        """Wake a thread that waits, though there may be nothing to take."""
        with self._changed:
            self._kicked = True
            self._changed.notify_all()

    async def aget(self) -> list[Delivery]:
        """Wait for deliveries without blocking the event loop, and take them all."""
        assert self._wake is not None
        while True:
            with self._changed:
                if items := self._take():
                    return items
                self._wake.clear()
                self._parked = True
            await self._wake.wait()

    def _take(self) -> list[Delivery]:
        items, self._items = self._items, []
        if not items and self._failure is not None:
            raise self._failure
        return items

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._parked:
            assert self._loop is not None and self._wake is not None
            self._parked = False
            with suppress(RuntimeError):  # the consumer's loop was closed under its run
                self._loop.call_soon_threadsafe(self._wake.set)
