"""The stream of a run, as ``stream`` and ``astream`` return it: chunks, and a way to watch the run.

A run starts when its first chunk is requested. Until then a view of its progress can ask for the
run's events (``watch``), which do not appear among the caller's chunks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from distgraph._internal.steps import AsyncLate, Late, awalk, walk
from distgraph.contract.stream import StreamEvent
from distgraph.invocation.prepare import Invocation, watched

__all__ = ("AsyncRunStream", "RunStream", "Watch", "Within")

Watch = Callable[[StreamEvent], None]
"""Takes every event of a run, in order, in the thread that reads the stream."""


class Within(NamedTuple):
    """An instrumentation around a stream, as ``langgraph.pregel.Pregel`` has it.

    It starts with the first chunk, and may change what the run is given.
    """

    pass_through: Callable[[Callable[..., Any]], Any]
    """Calls the wrappers around a function, with the arguments of ``stream``."""
    prepare: Callable[..., Invocation]
    """Prepares the run from the arguments that the wrappers pass on."""


class _StepsOf(Protocol):
    def __call__(
        self, call: Invocation, *, watch: Watch | None = None
    ) -> Generator[Any, Any, Any]: ...


class _Watched:
    """The part that both forms of a stream share."""

    def __init__(self, call: Invocation, steps: _StepsOf, within: Within | None = None) -> None:
        self._call = call
        self._within = within
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

    def _prepare_again(self, *given: Any, **options: Any) -> None:
        assert self._within is not None
        call = self._within.prepare(*given, **options)
        self._call = call if self._watch is None else watched(call)

    def _begin(self) -> Generator[Any, Any, Any]:
        self._started = True
        return self._steps(self._call, watch=self._watch)


class RunStream(_Watched, Late[Any]):
    """The chunks of a run. Leaving the stream (``close``) cancels a run that has not ended."""

    def _walked(self) -> Generator[Any, None, None]:
        if self._within is None:
            return super()._walked()

        def chunks(graph: Any, *given: Any, **options: Any) -> Generator[Any, None, None]:
            self._prepare_again(*given, **options)
            yield from walk(self._begin())

        found: Generator[Any, None, None] = self._within.pass_through(chunks)
        return found


class AsyncRunStream(_Watched, AsyncLate[Any]):
    """Async variant of ``RunStream``; ``aclose`` leaves the stream."""

    def _walked(self) -> AsyncGenerator[Any, None]:
        if self._within is None:
            return super()._walked()

        async def chunks(graph: Any, *given: Any, **options: Any) -> AsyncGenerator[Any, None]:
            self._prepare_again(*given, **options)
            async with aclosing(awalk(self._begin())) as found:
                async for chunk in found:
                    yield chunk

        found: AsyncGenerator[Any, None] = self._within.pass_through(chunks)
        return found
