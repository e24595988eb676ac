"""Work that a server process does again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ("repeat",)

logger = logging.getLogger("distgraph")


async def repeat(work: Callable[[], Awaitable[None]], seconds: float, failure: str) -> None:
    """Do some work, and again ``seconds`` after its end, until cancelled.

    Args:
        work: The work. What it raises is logged.
        seconds: Seconds between its end and its next begin.
        failure: What the log says where it raises.
    """
    while True:
        try:
            await work()
        except Exception:
            logger.warning(failure, exc_info=True)
        await asyncio.sleep(seconds)
