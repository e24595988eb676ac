"""The stream of a run, as ``stream`` and ``astream`` return it: chunks, and a way to watch the run.

A run starts when its first chunk is requested. Until then a view of its progress can ask for the
run's events (``watch``), which do not appear among the caller's chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

from distgraph._internal.steps import AsyncLate, Late
from distgraph.contract.stream import StreamEvent
from distgraph.invocation.prepare import Invocation, watched

__all__ = ("AsyncRunStream", "RunStream", "Watch")

Watch = Callable[[StreamEvent], None]
"""Takes every event of a run, in order, in the thread that reads the stream."""


class _StepsOf(Protocol):
    def __call__(
        self, call: Invocation, *, watch: Watch | None = None
    ) -> Generator[Any, Any, Any]: ...


class _Watched:
    """The part that both forms of a stream share."""

    def __init__(self, call: Invocation, steps: _StepsOf) -> None:
        self._call = call
        self._steps = steps
        self._watch: Watch | None = None
        self._started = False

    @property
    def graph(self) -> Any:
        """The compiled graph that runs."""
        return self._call.plan.graph

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._call.plan.options.shared.run_id

    def watch(self, watch: Watch) -> None:
        """Call ``watch`` with every event of the run, events about its attempts included.

        Raises:
            RuntimeError: The run has started, or is watched already.
        """
        if self._started or self._watch is not None:
            state = "has started" if self._started else "is watched already"
            raise RuntimeError(
                f"run {self.run_id} {state}: pass the stream to distgraph.progress once, before "
                "its first chunk is requested"
            )
        self._call = watched(self._call)
        self._watch = watch

    def _begin(self) -> Generator[Any, Any, Any]:
        self._started = True
        return self._steps(self._call, watch=self._watch)


class RunStream(_Watched, Late[Any]):
    """The chunks of a run. Leaving the stream (``close``) cancels a run that has not ended."""


class AsyncRunStream(_Watched, AsyncLate[Any]):
    """Async variant of ``RunStream``; ``aclose`` leaves the stream."""
