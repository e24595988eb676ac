"""Values that a worker exchanges with Ray: those with references, and very large ones.

Ray waits without a bound of its own. If code of users has closed one of Ray's connections in the
process, it may wait for ever; another process gets the value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

__all__ = ("PATIENCE", "answered", "awaited", "value_of")

PATIENCE = 300.0
"""Seconds for Ray to bring one value. It may be large, and the network slow."""

End = Callable[[str], object]
"""Ends this process, and reports why. Its attempts are lost."""


def answered(asked: Any, what: str, end: End) -> Any:
    """Return the result of a call of an actor. Its attempt keeps its CPU meanwhile.

    Args:
        asked: Reference to the result.
        what: What is awaited, for the log.
        end: Called if it does not come.
    """
    future = asked.future()
    try:
        return future.result(PATIENCE)
    except FutureTimeout:
        if not future.done():
            end(_late(what))
        raise


def value_of(reference: Any, what: str, end: End) -> Any:
    """Return the value of a reference; see ``answered``."""
    try:
        return ray.get(reference, timeout=PATIENCE)
    except GetTimeoutError:
        end(_late(what))
        raise


async def awaited(asked: Any, what: str, end: End) -> Any:
    """Async variant of ``answered``, for references of any kind."""
    task = asyncio.ensure_future(asked)
    await asyncio.wait({task}, timeout=PATIENCE)
    if not task.done():
        task.cancel()
        end(_late(what))
        raise TimeoutError(_late(what))
    return task.result()


def _late(what: str) -> str:
    return f"Ray has not brought {what} for {PATIENCE:.0f} s"
