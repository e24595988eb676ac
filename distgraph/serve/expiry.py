"""The time to live of threads: what requests and ``langgraph.json`` say, and the sweep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from distgraph.serve.checkpoints import Checkpoints
from distgraph.serve.errors import RequestError
from distgraph.serve.registry import Registry

__all__ = ("Expiry", "ThreadExpiry", "minutes_of")

logger = logging.getLogger("distgraph")


class Expiry(NamedTuple):
    """The key ``checkpointer.ttl`` of ``langgraph.json``."""

    default_ttl: float | None = None
    """Minutes without a change after which a thread is deleted; None: it is kept."""
    sweep_interval_minutes: float = 5.0
    sweep_limit: int = 1000
    """Threads that one sweep deletes at most."""


def minutes_of(given: Any) -> float | None:
    """Return the time to live that a request or ``checkpointer.ttl`` gives a thread, in minutes.

    Args:
        given: Minutes, or ``{"ttl": minutes, "strategy": "delete"}``; None: none.

    Raises:
        RequestError: 422: it is neither.
    """
    if isinstance(given, Mapping):
        strategy = given.get("strategy") or "delete"
        if strategy != "delete":
            raise RequestError(
                422,
                f"ttl.strategy must be delete, got {strategy!r}. To shorten threads, call "
                "POST /threads/prune with the strategy keep_latest",
            )
        given = given.get("ttl")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < 1e8:
        raise RequestError(422, f"ttl must be a positive number of minutes, got {given!r}"[:200])
    return float(given)


class ThreadExpiry:
    """Deletes threads whose time to live has passed since their last change.

    A thread with an active run stays.

    Args:
        registry: The threads.
        checkpoints: Their checkpoints.
        expiry: How often it looks.
    """

    def __init__(self, registry: Registry, checkpoints: Checkpoints, expiry: Expiry) -> None:
        self._registry = registry
        self._checkpoints = checkpoints
        self._expiry = expiry

    async def serve(self) -> None:
        """Delete threads, until cancelled."""
        while True:
            await asyncio.sleep(self._expiry.sweep_interval_minutes * 60)
            try:
                await self.sweep()
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.warning("threads whose time has passed cannot be deleted", exc_info=True)

    async def sweep(self) -> None:
        """Delete the threads whose time has passed."""
        limit, time = self._expiry.sweep_limit, datetime.now(timezone.utc)
        for thread_id in await self._registry.delete_expired_threads(time, limit):
            await self._checkpoints.delete_thread(thread_id)
