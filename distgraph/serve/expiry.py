"""The time to live of threads: what requests and ``langgraph.json`` say, and the sweep."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple, cast

from distgraph.serve.checkpoints import Checkpoints
from distgraph.serve.errors import RequestError
from distgraph.serve.registry import Registry
from distgraph.serve.repeating import repeat

__all__ = ("Expiry", "Strategy", "ThreadExpiry", "TimeToLive", "time_to_live")

logger = logging.getLogger("distgraph")

Strategy = Literal["delete", "keep_latest"]

_STRATEGIES = ("delete", "keep_latest")


class TimeToLive(NamedTuple):
    """The time to live of a thread."""

    minutes: float
    """Minutes without a change after which it ends."""
    strategy: Strategy = "delete"
    """What is deleted then: the thread, or all of its checkpoints but the newest."""

    def columns(self) -> dict[str, Any]:
        """Return the columns of a thread that has it."""
        return {"ttl": self.minutes, "ttl_strategy": self.strategy}


class Expiry(NamedTuple):
    """The key ``checkpointer.ttl`` of ``langgraph.json``."""

    default: TimeToLive | None = None
    """The time to live of new threads; None: they are kept."""
    sweep_interval_minutes: float = 5.0
    sweep_limit: int = 1000
    """Threads that one sweep deletes or shortens at most."""


def time_to_live(given: Any, default: Strategy = "delete") -> TimeToLive | None:
    """Return the time to live that a request or ``checkpointer.ttl`` gives a thread.

    Args:
        given: Minutes, or ``{"ttl": minutes, "strategy": "delete" | "keep_latest"}``; None: none.
        default: The strategy where none is given.

    Raises:
        RequestError: 422: it is neither.
    """
    strategy: Any = default
    if isinstance(given, Mapping):
        strategy = given.get("strategy") or default
        if strategy not in _STRATEGIES:
            raise RequestError(
                422, f"ttl.strategy must be delete or keep_latest, got {strategy!r}"[:200]
            )
        given = given.get("ttl")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < 1e8:
        raise RequestError(422, f"ttl must be a positive number of minutes, got {given!r}"[:200])
    return TimeToLive(float(given), cast(Strategy, strategy))


class ThreadExpiry:
    """Deletes threads whose time to live has passed since their last change, or their checkpoints
    but the newest.

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
        """Delete threads and checkpoints, until cancelled."""
        seconds = self._expiry.sweep_interval_minutes * 60
        await repeat(self.sweep, seconds, "threads whose time has passed cannot be deleted")

    async def sweep(self) -> None:
        """Delete what the time of threads has passed for."""
        limit, time = self._expiry.sweep_limit, datetime.now(timezone.utc)
        for chore in await self._registry.chores.take(time, limit):
            if chore.work == "shorten":
                await self._checkpoints.keep_latest(chore.thread_id)
            elif await self._registry.thread(chore.thread_id) is None:  # else made again meanwhile
                await self._checkpoints.delete_thread(chore.thread_id)
            await self._registry.chores.done(chore)
