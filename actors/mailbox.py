"""Where a run's deliveries wait for its consumer: a thread puts, a thread or a coroutine takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

from distgraph.streaming.envelope import Delivery


class Mailbox:
    """An unbounded queue of deliveries; what bounds it is the broker's window.

    Args:
        loop: The consumer's event loop, None for a synchronous consumer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._wake = asyncio.Event() if loop is not None else None
        self._parked = False
        self._items: list[Delivery] = []
        self._failure: BaseException | None = None

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries."""
        with self._changed:
            self._items.extend(deliveries)
            self._notify()

    def fail(self, error: BaseException) -> None:
        """Make ``get`` raise ``error`` once everything that came before it was taken."""
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._notify()

    def get(self) -> list[Delivery]:
        """Wait for deliveries and take them all."""
        with self._changed:
            while not (items := self._take()):
                self._changed.wait()
            return items

    async def aget(self) -> list[Delivery]:
        """As ``get``, without blocking the event loop."""
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
