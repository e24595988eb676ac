"""The stream of a run: its events, the segments that carry them, and the operations on its log.

Events travel in *segments*: consecutive events of one attempt, pickled by the publisher and
unpickled by the consumer. Publisher, log and broker read only the header of a segment, so that a
broker moves hundreds of thousands of events a second.

The driver numbers its batches of operations from 1. The log carries operations out in that order,
whatever the order of arrival. Events of an attempt reach the log directly from the worker;
``Admit``, ``Commit`` and ``Fence`` give the place of these events among the operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

DRIVER = ""
"""The task id under which the driver publishes its own events."""

RESET_MODE = "reset"
"""Stream mode of ``AttemptReset``. Callers cannot request this mode."""

CALLBACK_MODE = "callbacks"
"""Stream mode of calls to the caller's LangChain callbacks. Callers cannot request this mode."""

END_MODE = "end"
"""Stream mode of the terminal event of a run, the last event of every stream. Callers cannot
request this mode."""


class AttemptId(NamedTuple):
    """Names one attempt of one task within a run."""

    task_id: str
    attempt: int
    """From 1."""


class Event(NamedTuple):
    """One event as its publisher emits it."""

    ns: tuple[str, ...]
    """Namespace: () at the root, one ``node:task_id`` per enclosing subgraph."""
    mode: str
    payload: Any


Blob = bytes | list[Event]
"""A segment's events: as ``streaming.codec`` writes them or, where publisher and consumer share a
process and need no snapshot, as they are."""


class Segment(NamedTuple):
    """Consecutive events of one attempt."""

    task_id: str
    attempt: int
    """From 1."""
    step: int
    first: int
    """``pub_seq`` of the first event within the attempt, from 1."""
    count: int  # type: ignore[assignment]
    """Events in the blob, at least 1."""
    blob: Blob
    """``count`` events."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt that emitted the events."""
        return AttemptId(self.task_id, self.attempt)


class Delivery(NamedTuple):
    """A segment in its final place in a run's stream."""

    seq: int
    """Number of its first event within the run, from 1, gap-free."""
    segment: Segment
    end: bool = False
    """Whether the delivery contains the terminal event (mode ``END_MODE``): no delivery follows."""


class StreamEvent(NamedTuple):
    """One event at its final position in the stream, as a consumer of the raw stream receives the
    event."""

    run_id: str
    seq: int
    ns: tuple[str, ...]
    step: int
    task_id: str
    attempt: int
    pub_seq: int
    mode: str
    payload: Any


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The stream modes and options that the caller requested: workers publish only these events."""

    modes: frozenset[str]
    subgraphs: bool = False
    message_events: bool = False
    """Whether mode ``messages`` shows events of chat models (``message-start``, …) in place of
    message chunks. Then the caller gets no messages of tools."""


# --- operations on a run's log ------------------------------------------------------------------


class Position(NamedTuple):
    """A place in the events of one attempt."""

    task_id: str
    attempt: int
    count: int  # type: ignore[assignment]
    """Events of the attempt up to this place."""


class Admit(NamedTuple):
    """Opens the stream for an attempt's events.

    An ``Admit`` after the commits of step N keeps events of step N+1 behind those of step N.
    """

    task_id: str
    attempt: int
    step: int
    buffer: bool = False
    """Whether the events are held until the attempt is committed."""
    after: Position | None = None
    """What code of another attempt had emitted when it started this one. A gate: later ops wait
    until these events are in the log."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt to admit."""
        return AttemptId(self.task_id, self.attempt)


class Publish(NamedTuple):
    """Puts the driver's own events into the stream."""

    segment: Segment


class Commit(NamedTuple):
    """A gate: later ops wait until exactly ``published`` events of the attempt are in the log."""

    task_id: str
    attempt: int
    published: int
    """Events that the attempt emitted, those of ``tail`` included."""
    tail: tuple[Segment, ...] = ()
    """Events that the worker had not sent when the attempt ended."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt that ended."""
        return AttemptId(self.task_id, self.attempt)


class Fence(NamedTuple):
    """Cuts off an attempt: events that have not arrived yet are dropped, and its gate is opened.

    A fence acts on arrival, and so also releases operations that wait at the attempt's ``Commit``.
    An attempt that was interrupted (cancelled, timed out, its worker lost) is fenced, never
    committed.
    """

    task_id: str
    attempt: int

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt to fence."""
        return AttemptId(self.task_id, self.attempt)


class Finish(NamedTuple):
    """Ends the stream with its terminal event."""

    blob: Blob
    """The terminal event, one of mode ``END_MODE``."""
    force: bool = False
    """Open all gates: what is missing then stays missing. The driver's own events stay."""
    status: str = "done"
    """Status in the terminal event, which the log does not read."""


Op = Admit | Publish | Commit | Fence | Finish
