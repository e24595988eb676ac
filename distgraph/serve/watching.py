"""Waiting for changes of threads, whichever server process makes them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from distgraph.serve.registry import Registry

__all__ = ("Changes",)

logger = logging.getLogger("distgraph")

POLL = 0.2
"""Seconds between two looks at the threads that somebody waits for."""


class Changes:
    """Tells those who wait that a thread's runs have changed.

    Changes that this process makes are reported at once. Those of other processes are found by one
    query for all threads, every ``POLL`` seconds while somebody waits.

    Args:
        registry: The registry.
        shared: Whether other processes change it too.
    """

    def __init__(self, registry: Registry, *, shared: bool) -> None:
        self._registry = registry
        self._shared = shared
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._known: dict[str, int] = {}
        self._polling: asyncio.Task[None] | None = None
        registry.on_change = self.tell

    def tell(self, thread_id: str) -> None:
        """Wake those who wait for a thread. Called on the event loop."""
        for event in self._waiting.get(thread_id, ()):
            event.set()

    def watch(self, thread_id: str) -> Watch:
        """Return what waits for changes from now on. Use it in a ``with`` statement."""
        return Watch(self, thread_id)

    def _add(self, thread_id: str, event: asyncio.Event) -> None:
        self._waiting.setdefault(thread_id, set()).add(event)
        if self._shared and self._polling is None:
            self._polling = asyncio.ensure_future(self._poll())

    def _remove(self, thread_id: str, event: asyncio.Event) -> None:
        events = self._waiting.get(thread_id, set())
        events.discard(event)
        if not events:
            self._waiting.pop(thread_id, None)
            self._known.pop(thread_id, None)

    async def _poll(self) -> None:
        try:
            while self._waiting:
                try:
                    versions = await self._registry.thread_versions(list(self._waiting))
                except Exception:
                    logger.warning("the registry cannot be read", exc_info=True)
                    versions = {}
                for thread_id, version in versions.items():
                    if self._known.get(thread_id) != version:
                        self._known[thread_id] = version
                        self.tell(thread_id)
                await asyncio.sleep(POLL)
        finally:
            self._polling = None

    async def close(self) -> None:
        """Stop looking."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling


class Watch:
    """One who waits for changes of a thread."""

    def __init__(self, changes: Changes, thread_id: str) -> None:
        self._changes = changes
        self._thread_id = thread_id
        self._event = asyncio.Event()

    def __enter__(self) -> Watch:
        self._changes._add(self._thread_id, self._event)
        return self

    def __exit__(self, *error: object) -> None:
        self._changes._remove(self._thread_id, self._event)

    async def changed(self, timeout: float | None = None) -> bool:
        """Wait for a change since the last call; return whether there was one within the time."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            return False
        self._event.clear()
        return True
