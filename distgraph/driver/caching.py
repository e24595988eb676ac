"""The caches of a run's graphs, as plain calls that wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from distgraph.contract.cache_names import calls_of
from distgraph.contract.events import CacheKey, LookUp, Remember
from distgraph.contract.spec import GraphProgram, Write
from distgraph.errors import SerializationError
from distgraph.interop import for_saver, own_throughout
from distgraph.persistence import sync_or_async
from distgraph.serde.pickling import dumps_data
from distgraph.serde.references import ReferringBlob

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
        """Put a task's writes into its graph's cache.

        Raises:
            SerializationError: They hold a reference, and the cache keeps none.
        """
        # a deque, as LangGraph keeps it
        writes = deque((channel, for_saver(value)) for channel, value in job.writes)
        try:
            self._call(job.path, "set", {job.key: (writes, job.ttl)})
        except Exception as error:
            key = _refers(job.writes)
            if key is None:
                raise
            name = job.key[0][-1]
            holds = f"node {name!r}: its write of {key!r} holds"
            if job.key[0] == calls_of(name):
                holds = f"the result of task {name!r} holds"
            raise SerializationError(
                f"{holds} a reference to an object of the Ray cluster, which the cache of the "
                "graph cannot keep. Use an InMemoryCache, return the value itself or the path of a "
                "file, or leave out the cache_policy"
            ) from error

    def _call(self, path: tuple[str, ...], method: str, argument: Any) -> Any:
        cache = self._by_path[path]
        if self._loop is None or not sync_or_async.has_own(cache, "a" + method):
            return sync_or_async.call(cache, method, (argument,))
        loop = sync_or_async.loop_of(cache) or self._loop
        return sync_or_async.run_on(
            loop, partial(sync_or_async.acall, cache, method, (argument,), {}), cache
        )


def _refers(writes: Sequence[Write]) -> str | None:
    """Return the first state key whose write holds a reference, None if no write does."""
    for key, value in writes:
        with suppress(SerializationError):
            if isinstance(dumps_data(value), ReferringBlob):
                return key
    return None
