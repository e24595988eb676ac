"""What a backend implements: it starts a run and hands out its events, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from distgraph.contract.attempt import RunInfo
from distgraph.contract.events import RunOptions
from distgraph.contract.started_runs import RunState, RunTerms
from distgraph.contract.stream import END_MODE, StreamEvent

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphProgram, GraphSpec
    from distgraph.serde.program import ProgramBlob

__all__ = (
    "END_MODE",
    "Backend",
    "BackendName",
    "EventReader",
    "OwnedRun",
    "RunPlan",
    "StartedRun",
    "saver_config",
)

BackendName = Literal["ray", "local"]
"""Names of the backends: a Ray cluster, or the caller's process."""


class PlannedGraph(Protocol):
    """A compiled graph, as backends see it."""

    name: str
    spec: GraphSpec
    program: GraphProgram

    @property
    def blob(self) -> ProgramBlob:
        """The program as bytes, for backends that ship it."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run, checked and complete, before anything has been started."""

    graph: PlannedGraph
    input: Any
    options: RunOptions
    info: RunInfo


def saver_config(options: RunOptions) -> dict[str, Any]:
    """Return the config that a run's saver is called with, less namespace and checkpoint."""
    return {
        "configurable": options.thread_configurable,
        "metadata": dict(options.metadata),
    }


class OwnedRun(Protocol):
    """A run that has been started, as its one consumer holds it."""

    def read(self) -> Sequence[StreamEvent]:
        """Wait for events and return them. The last one of the run has mode ``END_MODE``.

        Its payload is a dict: ``status``, ``value``, ``error``, ``interrupts``.
        """

    async def aread(self) -> Sequence[StreamEvent]:
        """As ``read``, without blocking the event loop."""

    def close(self) -> None:
        """Leave. A run that has not ended is cancelled, and its tasks freed. Again, it does
        nothing."""

    async def aclose(self) -> None:
        """As ``close``; a run that is cancelled has ended then: its coroutines have taken their
        ``CancelledError``, and what it was saving is saved."""


class EventReader(Protocol):
    """One of the readers of a started run."""

    def read(self, timeout: float | None = None) -> Sequence[StreamEvent]:
        """Wait for events and return them. The last one of the run has mode ``END_MODE``.

        Raises:
            TimeoutError: No event came within ``timeout`` seconds.
            Truncated: The next events are no longer kept.
            RunError: The run or its stream is lost.
        """

    async def aread(self) -> Sequence[StreamEvent]:
        """As ``read``, without blocking the event loop."""

    def close(self) -> None:
        """Leave; the run goes on. Again, it does nothing."""


class StartedRun(Protocol):
    """A run that no reader owns, as a process that reads or cancels it holds it.

    Every method may block for a round trip, and may be called from any thread.
    """

    run_id: str
    blocks: bool
    """Whether ``describe``, ``face`` and ``open`` may block."""

    def describe(self) -> RunState:
        """Return the state of the run.

        Raises:
            RunNotFound: The run is no longer kept.
            RunError: The run is lost.
        """

    def face(self) -> Any:
        """Return what ``launch`` was given as ``face``."""

    def cancel(self) -> None:
        """Request the end of the run. Does not wait for it; a run that has ended stays as it is."""

    def open(
        self,
        after: int | None,
        *,
        only_end: bool = False,
        loop: asyncio.AbstractEventLoop | None,
    ) -> EventReader:
        """Open a reader that begins after event number ``after``; None for what comes from now on.

        ``loop``: the event loop of a reader that awaits, None for one that blocks. ``only_end``:
        the reader gets the terminal event only.

        Raises:
            RunNotFound: The run is no longer kept.
            Truncated: What follows ``after`` is no longer kept.
            ValueError: The run has ended before ``after``.
        """


class Backend(Protocol):
    """Executes runs."""

    name: str

    def ready(self) -> bool:
        """Return whether ``start`` will not block, because what ``connect`` does is done."""

    def connect(self) -> None:
        """Reach what runs are executed by. May block: coroutines call it in a thread."""

    def start(self, plan: RunPlan, *, is_async: bool) -> OwnedRun:
        """Start a run. ``is_async``: the caller is a coroutine on a running event loop."""

    def launch(
        self,
        plan: RunPlan,
        terms: RunTerms,
        face: Any,
        *,
        detached: bool,
        loop: asyncio.AbstractEventLoop | None,
    ) -> StartedRun:
        """Start a run that no reader owns. May block: coroutines call it in a thread.

        ``face``: how its events become chunks, for readers. ``detached``: the run outlives this
        process. ``loop``: the event loop of a caller that is a coroutine.

        Raises:
            UnsupportedError: The run cannot be detached; the message has the remedy.
            RunError: A run of that id is known already.
        """

    def find(self, run_id: str) -> StartedRun | None:
        """Return a run that ``launch`` of this or another process started; None if not known."""

    def started(self) -> list[RunState]:
        """Return the states of the started runs that are known."""
