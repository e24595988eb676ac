"""Attempts that share an event loop: one whose reader is slow waits without blocking the others."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.stream import Event
from distgraph.streaming.publisher import AttemptStream

__all__ = ("NonBlockingStream", "throttled")


class NonBlockingStream:
    """The stream of a node whose writer must not block: ``throttled`` waits instead."""

    def __init__(self, stream: AttemptStream) -> None:
        self._stream = stream
        self.close = stream.close
        self.emitted = stream.emitted

    def emit(self, event: Event) -> None:
        """Publish an event, also while the run's buffer is full."""
        self._stream.emit(event, wait=False)


class throttled:
    """Awaits a coroutine, and between its steps waits for room in the stream.

    A node on a shared event loop must not block it while its consumer is slow: it is resumed
    later instead. The writer itself can be called without ``await`` all the same.
    """

    def __init__(self, steps: Coroutine[Any, Any, AttemptOutcome], stream: AttemptStream) -> None:
        self._steps = steps
        self._stream = stream

    def __await__(self) -> Any:
        inner = self._steps.__await__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                waited = inner.send(sent) if thrown is None else inner.throw(thrown)
            except StopIteration as done:
                return done.value
            sent = thrown = None
            try:
                sent = yield waited
                if self._stream.congested:
                    yield from self._stream.room().__await__()
            except BaseException as error:
                thrown = error
