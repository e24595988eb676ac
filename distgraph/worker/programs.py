"""The graphs of a worker process: offered or fetched, loaded once, kept by their hash."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from distgraph.concurrency.collecting import freeze, uncollected
from distgraph.concurrency.threads import in_thread
from distgraph.contract.spec import GraphProgram
from distgraph.serde.program import extend_path, load_program
from distgraph.serde.script_module import Names, names_of_load, show, stand_in_for_script

__all__ = ("Programs",)

_KEPT = 32
"""Graphs that stay loaded: those that were used last."""

Pickled = tuple[bytes, tuple[str, ...]]
"""A pickled graph, and where the caller's own modules lie."""


class Programs:
    """The graphs that a worker process has loaded. Any thread may call it.

    Args:
        fetch: Returns a graph by its hash, from the driver of a session.
        afetch: Async variant of ``fetch``.
        between_attempts: Whether graphs are loaded only while no attempt runs. If so, what is
            loaded is left out of garbage collections.
    """

    def __init__(
        self,
        fetch: Callable[[str, str], Pickled],
        afetch: Callable[[str, str], Awaitable[Pickled]],
        between_attempts: Callable[[], bool] = lambda: False,
    ) -> None:
        self._fetch = fetch
        self._afetch = afetch
        self._between_attempts = between_attempts
        self._lock = threading.Lock()
        self._programs: OrderedDict[str, GraphProgram] = OrderedDict()
        self._script_names: dict[str, Names] = {}
        self._shown = ""
        """Hash of the graph whose copies of functions the module of the script shows."""
        self._loading: dict[str, threading.Lock] = {}
        """Held while a graph is loaded, by hash: a second thread waits for the first."""
        self._offered: dict[str, Pickled] = {}
        """Graphs that were received and not loaded yet."""
        self._awaited: dict[str, asyncio.Future[GraphProgram]] = {}
        """Graphs that are being loaded, on an event loop."""

    @property
    def loaded(self) -> tuple[str, ...]:
        """Hashes of the graphs that are loaded."""
        with self._lock:
            return tuple(self._programs)

    def offer(self, digest: str, blob: bytes, paths: tuple[str, ...]) -> None:
        """Take a graph for attempts that follow. The first of them loads it."""
        self._offered[digest] = blob, paths

    def known(self, digest: str) -> GraphProgram | None:
        """Return the graph of attempts that follow if it is loaded."""
        with self._lock:
            program = self._programs.get(digest)
            if program is not None:
                self._programs.move_to_end(digest)
                if self._shown != digest:
                    self._shown = digest
                    show(self._script_names[digest])
            return program

    def get(self, digest: str, session: str) -> GraphProgram:
        """Return the graph of attempts that follow, fetched where it was not offered.

        Raises:
            SerializationError: A module that the graph needs cannot be imported here.
        """
        known = self.known(digest)
        if known is not None:
            return known
        offered = self._offered.pop(digest, None) or self._fetch(digest, session)
        return self.load(digest, *offered)

    async def aget(self, digest: str, session: str) -> GraphProgram:
        """Async variant of ``get``, for an event loop, which must not block. Attempts that need the
        same graph wait for one load of it."""
        known = self.known(digest)
        if known is not None:
            return known
        loading = self._awaited.get(digest)
        if loading is None:
            loading = self._awaited[digest] = asyncio.ensure_future(self._aload(digest, session))
            loading.add_done_callback(lambda _: self._awaited.pop(digest, None))
        return await asyncio.shield(loading)

    async def _aload(self, digest: str, session: str) -> GraphProgram:
        offered = self._offered.pop(digest, None) or await self._afetch(digest, session)
        return await in_thread(self.load, digest, *offered)

    def load(self, digest: str, blob: bytes, paths: tuple[str, ...]) -> GraphProgram:
        """Load a graph.

        Raises:
            SerializationError: A module that the graph needs cannot be imported here.
        """
        extend_path(paths)  # the state may hold classes of the caller's own modules too
        stand_in_for_script()
        with self._lock:
            turn = self._loading.setdefault(digest, threading.Lock())
        with turn:
            with self._lock:
                known = self._programs.get(digest)
            if known is not None:
                return known
            with uncollected(), names_of_load() as names:
                program = load_program(blob)
            with self._lock:
                self._loading.pop(digest, None)
                self._programs[digest], self._script_names[digest] = program, names
                self._shown = digest
                if len(self._programs) > _KEPT:
                    evicted, _ = self._programs.popitem(last=False)
                    del self._script_names[evicted]
                    gc.unfreeze()  # it may be garbage now
                if self._between_attempts() or len(self._programs) == 1:
                    freeze()
        return program
