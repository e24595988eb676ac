"""What a backend implements: it starts a run and hands out its events, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from distgraph.contract.attempt import RunInfo
from distgraph.contract.events import RunOptions
from distgraph.contract.stream import END_MODE, StreamEvent

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphProgram, GraphSpec
    from distgraph.serde.program import ProgramBlob

__all__ = ("END_MODE", "Backend", "RunHandle", "RunPlan", "saver_config")


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


class RunHandle(Protocol):
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


class Backend(Protocol):
    """Executes runs."""

    name: str

    def ready(self) -> bool:
        """Return whether ``start`` will not block, because what ``connect`` does is done."""

    def connect(self) -> None:
        """Reach what runs are executed by. May block: coroutines call it in a thread."""

    def start(self, plan: RunPlan, *, is_async: bool) -> RunHandle:
        """Start a run. ``is_async``: the caller is a coroutine on a running event loop."""
