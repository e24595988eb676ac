"""Started runs: they continue with or without readers, and other processes find them by id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, wait
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar, cast

from distgraph._internal.consoles import completable
from distgraph._internal.mistakes import warn_once
from distgraph._internal.steps import AsyncLate, Late, Steps, Wait, afollow, follow
from distgraph.backends import resolve
from distgraph.backends.base import END_MODE, EventReader, StartedRun
from distgraph.contract.progress import PROGRESS_MODE
from distgraph.contract.started_runs import Retention, RunRecord, RunState, RunStatus, SlowReader
from distgraph.contract.stream import CALLBACK_MODE, StreamEvent
from distgraph.errors import RunNotFound, UnsupportedError
from distgraph.invocation.run_output import RunFace
from distgraph.serde.pickling import loads
from distgraph.streaming.modes import SKIP

__all__ = (
    "NumberedChunk",
    "Retention",
    "RunHandle",
    "RunInfo",
    "RunStatus",
    "SlowReader",
    "attach",
    "list_runs",
)

_T = TypeVar("_T")


class NumberedChunk(NamedTuple):
    """A chunk of a run's stream, and its number."""

    seq: int
    """Number of the chunk within the run. Numbers increase, and are the same for every reader; some
    are left out, where an event of the run makes no chunk."""
    chunk: Any
    """What ``stream`` yields for the options that the run was started with."""


class RunInfo(NamedTuple):
    """What is known of a started run without reading it."""

    run_id: str
    status: RunStatus
    graph: str
    """Name of the graph."""
    thread_id: str | None
    started_at: float
    """Seconds since the epoch."""
    host: str
    """Host of the process that started the run."""
    pid: int
    """Process that started the run."""
    detached: bool
    last: int
    """Number of the last event; 0 without events."""
    oldest: int
    """Number of the oldest event that is kept."""


class _Events:
    """The part that both forms of a handle's chunks share."""

    def __init__(
        self, handle: RunHandle, loop: asyncio.AbstractEventLoop | None, after: int | None
    ) -> None:
        self.handle = handle
        self._loop = loop
        self._after = after
        self._watch: Callable[[StreamEvent], None] | None = None
        self._callbacks = False

    def include_callbacks(self) -> None:
        """Yield calls of the config's callbacks too, as ``((), CALLBACK_MODE, call)``."""
        self._callbacks = True

    def watch(self, watch: Callable[[StreamEvent], None]) -> None:
        """Call ``watch`` with every event of the run, events about its attempts included."""
        self._watch = watch

    def _begin(self) -> Generator[Any, Any, None]:
        return self.handle._chunks(
            self._loop, self._after, lambda event: self._seen(event), callbacks=self._callbacks
        )

    def _seen(self, event: StreamEvent) -> None:
        if self._watch is not None:
            self._watch(event)


class RunEvents(_Events, Late[NumberedChunk]):
    """The chunks of a started run, as ``RunHandle.events`` returns them."""


class AsyncRunEvents(_Events, AsyncLate[NumberedChunk]):
    """Async variant of ``RunEvents``."""


class RunHandle:
    """A run that ``start`` or ``attach`` returned. Any thread may use it; it can be pickled.

    The run goes on whether it is read or not. Leaving an iterator, an exception in a reader and
    Ctrl-C do not end the run: ``cancel`` does.
    """

    def __init__(
        self,
        run: StartedRun,
        *,
        follower: Future[None] | None = None,
        graph: object = None,
        face: RunFace | None = None,
    ) -> None:
        self._run = run
        self._end_seq: int | None = None
        self._follower = follower
        # a checkpointer or store in the memory of this process lives as long as its graph
        self._graph = graph
        self._known_face = face

    @property
    def run_id(self) -> str:
        """Id of the run, by which ``attach`` finds the run from other processes."""
        return self._run.run_id

    @property
    def end_seq(self) -> int | None:
        """Number of the run's last event, once ``result`` or ``aresult`` has seen it; else None."""
        return self._end_seq

    @property
    @completable
    def status(self) -> RunStatus:
        """The present status of the run. Asks the stream broker, which takes about 1 ms.

        Raises:
            RunNotFound: The run is no longer kept.
            RunError: The run is lost.
        """
        return self._run.describe().status

    async def astatus(self) -> RunStatus:
        """Async variant of ``status``."""
        return (await self._in_thread(self._run.describe)).status

    @property
    def info(self) -> RunInfo:
        """What is known of the run without reading it. Raises what ``status`` raises."""
        return _info(self._run.describe())

    async def ainfo(self) -> RunInfo:
        """Async variant of ``info``."""
        return _info(await self._in_thread(self._run.describe))

    def cancel(self, *, wait: bool = False) -> None:
        """End the run; with ``wait``, return once it has ended. A run that has ended stays so.

        Its status is "cancelled" then, and its readers get ``RunCancelled``.
        """
        self._run.cancel()
        if wait:
            follow(self._end(None, None))

    async def acancel(self, *, wait: bool = False) -> None:
        """Async variant of ``cancel``."""
        await asyncio.to_thread(self._run.cancel)
        if wait:
            await afollow(self._end(asyncio.get_running_loop(), None))

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end of the run, and return what ``invoke`` returns.

        Raises:
            TimeoutError: The run has not ended within ``timeout`` seconds; it goes on.
            Exception: What ``invoke`` raises: a node's own exception, ``RunCancelled``, ….
            RunNotFound: The run is no longer kept.
            RunError: The run is lost.
        """
        return follow(self._result(None, timeout))

    async def aresult(self, timeout: float | None = None) -> Any:
        """Async variant of ``result``."""
        return await afollow(self._result(asyncio.get_running_loop(), timeout))

    def events(self, after: int | None = 0) -> RunEvents:
        """Yield the run's chunks with their numbers, those that follow number ``after``.

        Every reader, in whatever process, gets the same chunks in the same order. The iterator ends
        with the run, and raises the exception of a run that failed.

        Args:
            after: Number of the last chunk that is known; 0 for all, None for what comes from now
                on, which is when the first chunk is requested.

        Raises:
            TypeError, ValueError: ``after`` is no number, or the run has ended before it.
            Truncated: What follows ``after`` is no longer kept; ``oldest`` is the first that is.
            RunNotFound: The run is no longer kept.
            Exception: What ``stream`` raises at the end of a run that failed.
        """
        return RunEvents(self, None, _checked_after(after))

    def aevents(self, after: int | None = 0) -> AsyncRunEvents:
        """Async variant of ``events``."""
        return AsyncRunEvents(self, asyncio.get_running_loop(), _checked_after(after))

    def __repr__(self) -> str:
        return f"RunHandle({self.run_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return attach, (self.run_id,)

    # --- one body for both forms ----------------------------------------------------------------

    def _face(self) -> RunFace:
        if self._known_face is None:
            self._known_face = self._run.face()
        return cast(RunFace, self._known_face)

    def _open(
        self, loop: asyncio.AbstractEventLoop | None, after: int | None, *, only_end: bool = False
    ) -> Wait:
        def opened() -> tuple[RunFace, EventReader]:
            return self._face(), self._run.open(after, only_end=only_end, loop=loop)

        return Wait(opened, partial(self._in_thread, opened))

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        """Call what asks for the run, in a thread if that may block."""
        return await asyncio.to_thread(call) if self._run.blocks else call()

    def _progress_so_far(self) -> tuple[RunInfo, list[StreamEvent]]:
        """Return what is known of the run, and its events about attempts up to now.

        Raises:
            UnsupportedError: The run was started without ``progress=True``.
            Truncated: The run's first events are no longer kept.
        """
        if not self._face().reports_progress:
            raise UnsupportedError(
                f"run {self.run_id} reports nothing about its attempts: start it with "
                "start(..., progress=True)"
            )
        state = self._run.describe()
        found: list[StreamEvent] = []
        if not state.last:
            return _info(state), found
        reader = self._run.open(0, loop=None)
        try:
            while True:
                for event in reader.read():
                    if event.mode in (PROGRESS_MODE, END_MODE):
                        found.append(event)
                    if event.mode == END_MODE or event.seq >= state.last:
                        return _info(state), found
        finally:
            reader.close()

    def _chunks(
        self,
        loop: asyncio.AbstractEventLoop | None,
        after: int | None,
        watch: Callable[[StreamEvent], None],
        *,
        callbacks: bool,
    ) -> Generator[Any, Any, None]:
        face, reader = yield self._open(loop, after)
        events = Wait(reader.read, reader.aread)
        try:
            while True:
                for event in (yield events):
                    watch(event)
                    if event.mode == END_MODE:
                        _raise_failure(face, event.payload)
                        return
                    if event.mode != CALLBACK_MODE:
                        chunk = face.chunk(event)
                    else:
                        chunk = ((), CALLBACK_MODE, event.payload) if callbacks else SKIP
                    if chunk is not SKIP:
                        yield NumberedChunk(event.seq, chunk)
        finally:
            reader.close()

    def _end(
        self, loop: asyncio.AbstractEventLoop | None, timeout: float | None
    ) -> Steps[tuple[RunFace, Mapping[str, Any]]]:
        """Wait for the end of the run, and for the callbacks of the process that started it."""
        until = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if until is None else max(0.0, until - time.monotonic())

        face, reader = yield self._open(loop, 0, only_end=True)
        try:
            events = yield Wait(
                lambda: reader.read(left()), lambda: asyncio.wait_for(reader.aread(), left())
            )
            if self._follower is not None:
                follower = self._follower
                yield Wait(
                    lambda: wait([follower], left()),
                    lambda: asyncio.wait([asyncio.wrap_future(follower)], timeout=left()),
                )
        except (TimeoutError, asyncio.TimeoutError):
            raise TimeoutError(
                f"run {self.run_id} has not ended within {timeout:g} s; it goes on"
            ) from None
        finally:
            reader.close()
        self._end_seq = events[-1].seq
        return face, events[-1].payload

    def _result(self, loop: asyncio.AbstractEventLoop | None, timeout: float | None) -> Steps[Any]:
        face, end = yield from self._end(loop, timeout)
        _raise_failure(face, end)
        return face.output(end)


def attach(run_id: str, *, backend: str | None = None) -> RunHandle:
    """Return the handle of a started run by its id: of this process, or of the Ray cluster.

    Args:
        run_id: ``RunHandle.run_id`` of a run that ``start`` started, in any process of the cluster.
        backend: "local" for the runs of this process only. By default, the runs of this process
            come first, then those of the Ray cluster that this process is connected to, or that
            ``RAY_ADDRESS`` names.

    Raises:
        RunNotFound: No run of that id is known; the message names the places that were searched.
        SerializationError: The run streams classes that this process cannot import.
    """
    run_id = str(run_id)
    local = import_module("distgraph.backends.local").backend()
    found = local.find(run_id)
    chosen = resolve(backend)
    if found is None and chosen.name != "local":
        found = chosen.find(run_id)
    if found is None:
        where = "in this process" if chosen.name == "local" else "in the Ray cluster"
        raise RunNotFound(
            f"no run {run_id} is known {where}: it was not started by start(...), or it ended "
            "longer ago than its retention, or its driver and broker are gone"
        )
    return RunHandle(found)


def list_runs(*, backend: str | None = None) -> list[RunInfo]:
    """Return the started runs that are known, in the order of their starts; ``backend`` as in
    ``attach``."""
    states = list(import_module("distgraph.backends.local").backend().started())
    chosen = resolve(backend)
    if chosen.name != "local":
        states += chosen.started()
    return sorted(map(_info, states), key=lambda info: info.started_at)


# --- small pieces ---------------------------------------------------------------------------------


def _raise_failure(face: RunFace, end: Mapping[str, Any]) -> None:
    warn_once(end.get("ignored", ()))
    failure = face.failure(end)
    if failure is not None:
        raise failure


def _checked_after(after: int | None) -> int | None:
    if after is not None and (isinstance(after, bool) or not isinstance(after, int)):
        raise TypeError(f"after is the number of a chunk or None, got {type(after).__name__}")
    if after is not None and after < 0:
        raise ValueError(f"after={after}: chunks are numbered from 1, and 0 stands for all")
    return after


def _info(state: RunState) -> RunInfo:
    record: RunRecord = loads(state.record)
    return RunInfo(
        state.run_id,
        state.status,
        record.graph,
        record.thread_id,
        record.started_at,
        record.host,
        record.pid,
        record.detached,
        state.last,
        state.oldest,
    )
