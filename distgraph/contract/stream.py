"""The stream of a run: its events, the segments that carry them, and the operations on its log.

Events travel in *segments*: consecutive events of one attempt, pickled by the publisher and
unpickled by the consumer. Publisher, log and broker read only the header of a segment, so that a
broker moves hundreds of thousands of events a second.

The driver numbers its batches of operations from 1. The log carries operations out in that order,
whatever the order of arrival. Events of an attempt reach the log directly from the worker;
``Admit``, ``Commit`` and ``Fence`` give the place of these events among the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from distgraph._internal.records import pickled_by_fields

DRIVER = ""
"""The task id under which the driver publishes its own events."""

RESET_MODE = "reset"
"""Stream mode of ``AttemptReset``. Callers cannot request this mode."""

CALLBACK_MODE = "callbacks"
"""Stream mode of calls to the caller's LangChain callbacks. Callers cannot request this mode."""

END_MODE = "end"
"""Stream mode of the terminal event of a run, the last event of every stream. Callers cannot
request this mode."""


GENERATION = 1 << 40
"""Distance between the numbers that one driver of a run gives and those of the driver that takes
the run over: numbers of batches and of attempts."""


class AttemptId(NamedTuple):
    """Names one attempt of one task within a run."""

    task_id: str
    attempt: int
    """From 1; from ``GENERATION`` on for the second driver of a run."""


attempt_id_of: Callable[[tuple[str, int]], AttemptId] = partial(tuple.__new__, AttemptId)
"""Makes the id of a task id and a number, without a call of Python code: it is made often."""


class Event(NamedTuple):
    """One event as its publisher emits it."""

    ns: tuple[str, ...]
    """Namespace: () at the root, one ``node:task_id`` per enclosing subgraph."""
    mode: str
    payload: Any


def shown_attempt(attempt: int) -> int:
    """Return the number of an attempt as users see it: from 1, whichever driver started it."""
    return attempt % GENERATION


Blob = bytes | memoryview | list[Event]
"""A segment's events: as ``streaming.codec`` writes them or, where publisher and consumer share a
process and need no snapshot, as they are. A large one that came over a connection is a part of what
came."""


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


@pickled_by_fields
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


# --- what another driver needs, if the one of the run dies ----------------------------------------


class KeepRun(NamedTuple):
    """Begins the journal of a run. The log keeps the journal for a driver that takes the run
    over."""

    start: bytes
    """The request by which the run was started, pickled."""
    program: str
    """Hash of the program of its graph."""


class Reduced(NamedTuple):
    """What a reducer returned that was called outside of the driver."""

    packed: bytes
    """Pickled: whether it succeeded, and its result or exception."""


class Note(NamedTuple):
    """An event that the engine has handled. What the engine emitted for the event follows.

    The log takes the note when the events before it have entered: the journal never knows more than
    the stream.
    """

    event: bytes
    """Pickled, before reducers could change its values."""
    drawn: tuple[Any, ...]
    """Ids, versions and random bytes that the engine and reducers drew for the event, and what
    reducers outside of the driver returned (``Reduced``)."""
    saved: int
    """Saves of the run that were carried out."""


class EndNotes(NamedTuple):
    """Drops the journal: no driver can take the run over."""


class Journal(NamedTuple):
    """The journal of a run whose driver is lost, for the next driver."""

    run_id: str
    start: bytes
    program: str
    notes: tuple[Note, ...]
    published: int
    """Events of the driver that are in the stream."""
    first_batch: int
    """Number of the next driver's first batch. Batches of the lost driver have lower numbers, and
    are ignored."""


Op = Admit | Publish | Commit | Fence | Finish | KeepRun | Note | EndNotes


class Batch(NamedTuple):
    """Operations on the log of a run, in their order."""

    run_id: str
    caller: str
    """Name of the process that reads the run."""
    number: int
    """From 1; 0 only asks for the pause."""
    ops: Sequence[Op]
