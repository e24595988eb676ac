"""LangChain's caches for models: one for all processes, kept where the cache was made."""

from __future__ import annotations

from typing import Any

from langchain_core.caches import BaseCache

from distgraph.persistence.placed import Placed
from distgraph.persistence.proxies import Remote
from distgraph.persistence.remote_resources import Reach

__all__ = ("RemoteLLMCache",)


class RemoteLLMCache(Remote, BaseCache):
    """A cache for models of another process."""

    def __init__(self, placed: Placed, reach: Reach) -> None:
        self._stand_for(placed, reach)

    def lookup(self, prompt: str, llm_string: str) -> Any:
        """Return the generations for a prompt, None where there are none."""
        return self._call("lookup", prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        """Keep the generations for a prompt."""
        self._call("update", prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Forget everything."""
        self._call("clear", **kwargs)

    async def alookup(self, prompt: str, llm_string: str) -> Any:
        """Async variant of ``lookup``."""
        return await self._acall("lookup", prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Any) -> None:
        """Async variant of ``update``."""
        await self._acall("update", prompt, llm_string, return_val)

    async def aclear(self, **kwargs: Any) -> None:
        """Async variant of ``clear``."""
        await self._acall("clear", **kwargs)
