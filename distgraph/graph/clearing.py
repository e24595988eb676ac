"""Emptying the cache of a compiled graph."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distgraph.contract.cache_names import namespace_of

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphSpec

__all__ = ("CacheMethods",)


class CacheMethods:
    """The methods of a compiled graph that empty its cache."""

    spec: GraphSpec
    cache: Any

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget the cached results of these nodes, of all by default.

        Raises:
            ValueError: The graph was compiled without a cache.
        """
        from distgraph.persistence import faces

        faces.call(self.cache, "clear", (self._namespaces(nodes),))

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """As ``clear_cache``, awaited."""
        from distgraph.persistence import faces

        namespaces = self._namespaces(nodes)
        if faces.has_own(self.cache, "aclear"):
            await self.cache.aclear(namespaces)
        else:
            await asyncio.to_thread(faces.call, self.cache, "clear", (namespaces,))

    def _namespaces(self, nodes: Sequence[str] | None) -> list[tuple[str, ...]]:
        if self.cache is None:
            raise ValueError(
                "No cache is set for this graph. Cannot clear cache. Compile it with cache=..."
            )
        specs = self.spec.nodes
        return [namespace_of(specs[name]) for name in nodes or specs if name in specs]
