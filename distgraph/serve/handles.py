"""Handles of runs, by which any server process reads or cancels any run."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from distgraph.errors import RunError, RunNotFound
from distgraph.runs import RunHandle, attach
from distgraph.serve.records import Run
from distgraph.serve.registry import Registry

__all__ = ("Handles",)

_KEPT = 4096
"""Handles of runs that have ended."""

_STARTING = 30.0
"""Seconds for another process to start a run that it has claimed."""

_LOOK = 0.05
"""Seconds between two looks for such a run."""


class Handles:
    """The handles of runs, each found once.

    Args:
        registry: Says whether a run has started.
        backend: "local" or "ray".
    """

    def __init__(self, registry: Registry, backend: str) -> None:
        self._registry = registry
        self._backend = backend
        self._known: OrderedDict[str, RunHandle] = OrderedDict()
        self._starting: dict[str, asyncio.Future[RunHandle]] = {}

    def expect(self, run_id: str) -> None:
        """Note that this process starts the run."""
        self._starting[run_id] = asyncio.get_running_loop().create_future()

    def started(self, run_id: str, handle: RunHandle) -> None:
        """Note the handle of a run that this process has started."""
        self._keep(run_id, handle)
        future = self._starting.pop(run_id, None)
        if future is not None and not future.done():
            future.set_result(handle)

    def failed(self, run_id: str) -> None:
        """Note that the run did not start."""
        future = self._starting.pop(run_id, None)
        if future is not None and not future.done():
            future.cancel()

    async def get(self, run: Run) -> RunHandle:
        """Return the handle of a run that has been claimed.

        Raises:
            RunNotFound: The run did not start, or is no longer kept.
            RunError: The run is lost, or a stream broker that may know it does not answer.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _STARTING
        while True:
            future = self._starting.get(run.run_id)
            if future is not None:
                await asyncio.wait([future])
                if future.cancelled():
                    raise RunNotFound(f"run {run.run_id} did not start")
                return future.result()
            known = self._known.get(run.run_id)
            if known is not None:
                return known
            try:
                found = await asyncio.to_thread(attach, run.run_id, backend=self._backend)
            except RunError:  # not started yet; or a broker, which may be starting, is silent
                now = await self._registry.run(run.run_id)
                if now is None or not now.is_active or loop.time() > until:
                    raise
            else:
                self._keep(run.run_id, found)
                return found
            await asyncio.sleep(_LOOK)

    def _keep(self, run_id: str, handle: RunHandle) -> None:
        self._known[run_id] = handle
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
