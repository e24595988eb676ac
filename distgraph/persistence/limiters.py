"""Rate limiters of chat models: one limit for all processes, kept where the limiter was made."""

from __future__ import annotations

import asyncio
import time

from langchain_core.rate_limiters import BaseRateLimiter

from distgraph.persistence.placed import Placed
from distgraph.persistence.proxies import Remote
from distgraph.persistence.remote_resources import Reach

__all__ = ("RemoteLimiter",)


class RemoteLimiter(Remote, BaseRateLimiter):
    """A rate limiter in another process. Waiting is done here; tokens are requested there."""

    def __init__(self, placed: Placed, reach: Reach) -> None:
        self._stand_for(placed, reach)

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take a token: wait for a token, or return whether one was available."""
        while not (taken := bool(self._call("acquire", blocking=False))) and blocking:
            time.sleep(self.distgraph_placed.traits["interval"])
        return taken

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Async variant of ``acquire``."""
        while not (taken := bool(await self._acall("acquire", blocking=False))) and blocking:
            await asyncio.sleep(self.distgraph_placed.traits["interval"])
        return taken
