"""Rate limiters of chat models: one limit for all processes, kept where the limiter was made."""

from __future__ import annotations

import asyncio
import time

from langchain_core.rate_limiters import BaseRateLimiter

from distgraph.persistence.placing import Placed
from distgraph.persistence.proxies import Remote
from distgraph.persistence.reach import Reach

__all__ = ("RemoteLimiter",)


class RemoteLimiter(Remote, BaseRateLimiter):
    """A rate limiter of another process. It waits here, and asks there."""

    def __init__(self, placed: Placed, reach: Reach) -> None:
        self._stand_for(placed, reach)

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take a token; wait for one, or tell whether there was one."""
        while not (taken := bool(self._call("acquire", blocking=False))) and blocking:
            time.sleep(self.distgraph_placed.traits["interval"])
        return taken

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """As ``acquire``."""
        while not (taken := bool(await self._acall("acquire", blocking=False))) and blocking:
            await asyncio.sleep(self.distgraph_placed.traits["interval"])
        return taken
