"""The caches of a run's graphs, as plain calls that wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from distgraph.contract.events import CacheKey, LookUp, Remember
from distgraph.contract.spec import GraphProgram, Write
from distgraph.interop import for_saver, own_throughout
from distgraph.persistence import faces

__all__ = ("Caches", "caches_of")


def caches_of(program: GraphProgram) -> dict[tuple[str, ...], Any]:
    """Return the caches of a graph and of its subgraphs, by the path to the graph."""
    found: dict[tuple[str, ...], Any] = {} if program.cache is None else {(): program.cache}
    for name, child in program.subgraphs.items():
        found.update(((name, *path), cache) for path, cache in caches_of(child).items())
    return found


class Caches:
    """Looks up and stores what tasks wrote.

    Args:
        by_path: The caches, by the path to their graph.
        loop: The event loop of a caller that awaits the run: a cache's async methods run there.
    """

    def __init__(
        self,
        by_path: Mapping[tuple[str, ...], Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._by_path = by_path
        self._loop = loop

    def find(self, job: LookUp) -> dict[CacheKey, Sequence[Write]]:
        """Return the entries of a cache for the keys."""
        found = self._call(job.path, "get", list(job.keys))
        return {
            (tuple(ns), name): [(channel, own_throughout(value)) for channel, value in writes]
            for (ns, name), writes in found.items()
        }

    def keep(self, job: Remember) -> None:
        """Put a task's writes into its graph's cache."""
        # a deque, as LangGraph keeps it
        writes = deque((channel, for_saver(value)) for channel, value in job.writes)
        self._call(job.path, "set", {job.key: (writes, job.ttl)})

    def _call(self, path: tuple[str, ...], method: str, argument: Any) -> Any:
        cache = self._by_path[path]
        if self._loop is None or not faces.has_own(cache, "a" + method):
            return faces.call(cache, method, (argument,))
        loop = faces.loop_of(cache) or self._loop
        return faces.run_on(loop, partial(faces.acall, cache, method, (argument,), {}), cache)
