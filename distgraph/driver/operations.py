"""Conversion of the engine's instructions into operations on the run's log.

The driver's own events become numbered segments. Attempts are admitted, committed or fenced between
these segments: the order of the operations is the order of the stream. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import Emit
from distgraph.contract.events import Finish as RunFinished
from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import (
    DRIVER,
    END_MODE,
    RESET_MODE,
    Admit,
    AttemptId,
    Commit,
    EndNotes,
    Event,
    Fence,
    Finish,
    KeepRun,
    Note,
    Op,
    Position,
    Publish,
    Segment,
)
from distgraph.serde.exceptions import capture_error
from distgraph.streaming.codec import encode_events

__all__ = ("Encode", "OperationWriter", "end_blob", "end_event")

Encode = Callable[[list[Event]], Any]
"""Makes the blob of a segment."""


class OperationWriter:
    """Writes the operations of one run, in order.

    Args:
        modes: What is streamed.
        encode: Makes the blob of a segment.
        want_output: Whether the terminal event carries the graph's output.
        now: The time that events of mode ``debug`` and reports of progress are stamped with.
        delivered: Events that an earlier driver of the run has published: of those that are
            emitted, as many are left out.
    """

    def __init__(
        self,
        modes: frozenset[str],
        *,
        encode: Encode,
        want_output: bool,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        delivered: int = 0,
    ) -> None:
        self._modes = modes
        self.streams = bool(modes)
        """Whether attempts publish: where nothing is streamed there is nothing to put in order."""
        self._encode = encode
        self._want_output = want_output
        self._now = now
        self._ops: list[Op] = []
        self._events: list[Event] = []
        """Emitted, and not in an operation yet."""
        self._step = 0
        self._published = 0
        self._delivered = delivered

    @property
    def is_behind(self) -> bool:
        """Whether fewer events were emitted than an earlier driver has published."""
        return self._published + len(self._events) < self._delivered

    def keep(self, kept: KeepRun | Note | EndNotes) -> None:
        """Add to the log what another driver would need."""
        self._publish()
        self._ops.append(kept)

    def wants(self, mode: str) -> bool:
        """Return whether events of a mode are streamed."""
        return mode in self._modes

    def time(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._now().timestamp()

    def emit(self, emit: Emit) -> None:
        """Put an event of the driver into the stream, if its mode is streamed."""
        if not self._modes:
            return
        if self._step != emit.step:
            self._publish()
            self._step = emit.step
        payload = _portable(emit.payload)
        if emit.mode in self._modes or emit.mode == RESET_MODE:
            self._events.append(Event(emit.ns, emit.mode, payload))
        if emit.debug_type is not None and "debug" in self._modes:
            wrapped = {
                "step": emit.step,
                "timestamp": self._now().isoformat(),
                "type": emit.debug_type,
                "payload": payload,
            }
            self._events.append(Event(emit.ns, "debug", wrapped))

    def admit(
        self,
        attempt: AttemptId,
        step: int,
        *,
        buffer: bool = False,
        after: Position | None = None,
    ) -> None:
        """Let the events of an attempt that was sent into the stream.

        Args:
            attempt: The attempt.
            step: Its superstep.
            buffer: Whether the events enter at the attempt's commit.
            after: Events of another attempt that enter first.
        """
        self._publish()
        self._ops.append(Admit(*attempt, step, buffer, after))

    def commit(self, outcome: AttemptOutcome) -> None:
        """Let everything that follows wait for the events of an attempt that has ended."""
        self._publish()
        self._ops.append(Commit(outcome.task_id, outcome.attempt, outcome.published, outcome.tail))

    def fence(self, attempt: AttemptId) -> None:
        """Cut off an attempt that was admitted and is lost or cancelled."""
        self._publish()
        self._ops.append(Fence(*attempt))

    def finish(self, finish: RunFinished, drain: str | None, ignored: Sequence[str] = ()) -> None:
        """End the stream.

        Args:
            finish: How the run ended.
            drain: Reason of the drain request; None if no drain was requested.
            ignored: Messages about writes that were ignored.
        """
        self._publish()
        value = finish.value if self._want_output or finish.status == "command" else None
        event = end_event(finish.status, value, finish.error, finish.interrupts, drain=drain)
        event.payload["ignored"] = ignored
        event.payload["null_resume_taken"] = finish.null_resume_taken
        self._ops.append(Finish(self._encode([event]), finish.status == "cancelled", finish.status))

    def take(self) -> list[Op]:
        """Return the operations written since the last call."""
        if self._events:
            self._publish()
        ops, self._ops = self._ops, []
        return ops

    def _publish(self) -> None:
        if self._events:
            known = max(0, self._delivered - self._published)
            self._published += min(known, len(self._events))
            del self._events[:known]
        if self._events:
            first, count = self._published + 1, len(self._events)
            self._published += count
            blob = self._encode(self._events)
            self._events = []
            self._ops.append(Publish(Segment(DRIVER, 1, self._step, first, count, blob)))


def end_event(
    status: str,
    value: Any = None,
    error: ShippedError | BaseException | None = None,
    interrupts: Sequence[Any] = (),
    *,
    drain: str | None = None,
    orphan: bool = False,
) -> Event:
    """Return a run's terminal event. ``drain``: the reason of a drain request, if one was made.
    ``orphan``: whether the run ended without its driver."""
    if isinstance(error, BaseException):
        error = capture_error(error)
    end = {
        "status": status,
        "value": value,
        "error": error,
        "interrupts": tuple(interrupts),
        "drain": drain,
        "orphan": orphan,
    }
    return Event((), END_MODE, end)


def end_blob(status: str, *, error: BaseException, orphan: bool = False) -> bytes:
    """Return the terminal event of a run that ends outside of its engine, encoded."""
    return encode_events([end_event(status, error=error, orphan=orphan)])


def _portable(payload: Any) -> Any:
    """Replace an exception in a payload by what survives the way to the caller."""
    if isinstance(payload, dict) and isinstance(payload.get("error"), BaseException):
        return {**payload, "error": capture_error(payload["error"])}
    return payload
