"""The log of a thread: the events of all its runs, numbered, for both protocols.

Runs of a thread take turns, so their logs follow each other. The registry gives each run the number
``base`` at its start: the run begins at ``base``, its event n has number ``base + n``, its terminal
event is the last, and the next run begins one later. Any server process reads any run through
``RunHandle.events`` and finds the same numbers. What is kept of a run's events is what its broker
keeps; nothing is copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distgraph.errors import DistgraphError, RunCancelled, RunNotFound, Truncated
from distgraph.serve.handles import Handles
from distgraph.serve.records import Run, RunStatus
from distgraph.serve.registry import Registry
from distgraph.serve.watching import Changes

__all__ = ("LogEntry", "LogTruncated", "RunBegan", "RunChunk", "RunEnded", "ThreadLog")

_NOTED = 20.0
"""Seconds for the end of a run to be noted in the registry."""

_OWNER = 2.0
"""Seconds for the run's own server process to do so. A reader does it then."""


class LogTruncated(Exception):
    """What follows a number is no longer kept."""

    def __init__(self, number: int, oldest: int | None) -> None:
        kept = "nothing is" if oldest is None else f"the oldest event that is kept is {oldest}"
        super().__init__(
            f"what follows event {number} of this thread is no longer kept ({kept}): read the "
            "thread's state, and follow the stream from now on"
        )
        self.number = number
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A run of the thread has started."""

    number: int
    run: Run


@dataclass(frozen=True, slots=True)
class RunChunk:
    """A chunk of a run, as ``stream`` with several modes and ``subgraphs=True`` yields it."""

    number: int
    run: Run
    ns: tuple[str, ...]
    mode: str
    payload: Any


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, and the registry has its status and what it left of the thread."""

    number: int
    run: Run
    """As the registry has it after the end."""
    status: RunStatus
    error: Mapping[str, Any] | None = None
    """``{"error": class, "message": text}`` of a run that failed."""


LogEntry = RunBegan | RunChunk | RunEnded


class ThreadLog:
    """Reads the logs of threads.

    Args:
        registry: Has the runs of a thread, and the numbers at which they begin.
        handles: Finds runs.
        changes: Says when a thread has another run.
    """

    def __init__(self, registry: Registry, handles: Handles, changes: Changes) -> None:
        self._registry = registry
        self._handles = handles
        self._changes = changes
        self.settle: Callable[[Run], Awaitable[None]] | None = None
        """Notes the end of a run in the registry."""

    async def last(self, thread_id: str) -> int:
        """Return the number of the thread's newest event; 0 without events."""
        thread = await self._registry.thread(thread_id)
        if thread is None:
            return 0
        newest = thread.next_number - 1
        for run in await self._registry.runs_from(thread_id, newest):
            base = run.base or 0
            if run.last is not None:  # it has ended since the thread was read
                newest = base + run.last
                continue
            try:
                handle = await self._handles.get(run)
                return base + (await handle.ainfo()).last
            except DistgraphError:
                return base
        return newest

    async def read(
        self, thread_id: str, after: int | None = 0, *, strict: bool = False
    ) -> AsyncIterator[LogEntry]:
        """Yield the thread's events that follow a number, and go on with its future runs.

        The thread need not exist yet. The iterator ends only when the thread is deleted.

        Args:
            thread_id: The thread.
            after: Number of the last event that is known; 0 for all that is kept; None for what
                comes from now on.
            strict: Raise where events after ``after`` are no longer kept, in place of beginning
                with the next that are.

        Raises:
            LogTruncated: The next events are no longer kept, because the reader is slower than
                what is kept; or, with ``strict``, because it comes too late.
        """
        number = await self.last(thread_id) if after is None else after
        existed = False
        with self._changes.watch(thread_id) as watch:
            while True:
                thread = await self._registry.thread(thread_id)
                if thread is None and existed:
                    return
                existed = existed or thread is not None
                advanced = False
                for run in await self._registry.runs_from(thread_id, number):
                    async for entry in self.read_run(run, number, strict=strict):
                        number = entry.number
                        yield entry
                    advanced = True
                    if run.last is not None and run.base is not None:
                        number = max(number, run.base + run.last)
                if not advanced:
                    await watch.changed()

    async def read_run(
        self, run: Run, after: int = 0, *, strict: bool = False
    ) -> AsyncIterator[LogEntry]:
        """Yield the events of one run that follow a number of its thread's log, up to its end.

        Args:
            run: A run that has been started (``base`` is set).
            after: Number of the last event that is known.
            strict: As for ``read``.

        Raises:
            LogTruncated: As for ``read``.
        """
        base = run.base
        assert base is not None, "a run that has not started has no log"
        known = max(after, base - 1)
        try:
            handle = await self._handles.get(run)
        except RunNotFound:
            async for entry in self._forgotten(run, known, strict):
                yield entry
            return
        except DistgraphError as error:
            yield await self._ended(run, None, error)
            return
        if known < base:
            yield RunBegan(base, run)
            known = base
        failure: Exception | None = None
        seq = begin = known - base
        while True:
            try:
                events = handle.aevents(seq)
                events.include_callbacks()
                async for each in events:
                    seq, chunk = each
                    ns = () if len(chunk) == 2 else chunk[0]  # a run without subgraphs
                    yield RunChunk(base + seq, run, ns, chunk[-2], chunk[-1])
            except Truncated as truncated:
                if strict or seq > begin:  # nothing is lost in the middle without a word
                    raise LogTruncated(base + seq, base + truncated.oldest) from None
                seq = truncated.oldest - 1
                continue
            except RunNotFound:
                async for entry in self._forgotten(run, base + seq, strict):
                    yield entry
                return
            except Exception as error:  # the run's own, or that it has ended before ``after``
                failure = error
            break
        ended = await self._ended(run, seq, failure)
        if ended.number > after:
            yield ended

    async def _ended(self, run: Run, seq: int | None, error: BaseException | None) -> RunEnded:
        """Wait until the registry has the end of a run, and return it."""
        base = run.base or 0
        noted = await self.noted(run)
        if noted is None:  # deleted: rolled back
            return RunEnded(base + (seq or 0) + 1, run, "interrupted")
        if noted.is_active:
            status: RunStatus = "success"
            if error is not None:
                status = "interrupted" if isinstance(error, RunCancelled) else "error"
            failure = None if status != "error" else describe(error)
            return RunEnded(base + (seq or 0) + 1, noted, status, failure)
        number = base + (noted.last if noted.last is not None else (seq or 0) + 1)
        return RunEnded(number, noted, noted.status, noted.error)

    async def noted(self, run: Run) -> Run | None:
        """Return a run that has ended as the registry has it, once it has its end.

        None if the run was deleted.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _OWNER
        waits = self.settle is not None
        with self._changes.watch(run.thread_id) as watch:
            while True:
                noted = await self._registry.run(run.run_id)
                left = until - loop.time()
                if noted is None or not noted.is_active or (left <= 0 and not waits):
                    return noted
                if left <= 0 and self.settle is not None:
                    waits, until = False, loop.time() + _NOTED
                    await self.settle(run)
                else:
                    await watch.changed(left)

    async def _forgotten(self, run: Run, known: int, strict: bool) -> AsyncIterator[LogEntry]:
        """What is left of a run whose events are no longer kept."""
        now = await self.noted(run)
        if now is None:  # deleted: rolled back
            return
        base = run.base or 0
        last = base if now.last is None else base + now.last
        if known < base and last <= base + 1:  # it could not start, and has no other event
            yield RunBegan(base, run)
            known = base
        if strict and known < last - 1:
            raise LogTruncated(known, None)
        if known < last and now.last is not None:
            yield RunEnded(last, now, now.status, now.error)


def describe(error: BaseException | None) -> dict[str, Any]:
    """Return an exception as clients see it: its class and its text, no stack trace."""
    return {"error": type(error).__name__, "message": str(error)}
