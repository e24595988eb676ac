"""The log of one run, which gives every event its final position.

Pure: no lock, clock or thread, and no blob is ever unpickled. Calls of workers and of the driver
may arrive in any order and repeatedly. A consumer always reads the same stream: no gaps, each
attempt's events in their order, a task's ``updates`` after its own events, supersteps in order, and
one terminal event at the end.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from distgraph.contract.stream import (
    DRIVER,
    GENERATION,
    Admit,
    Blob,
    Commit,
    Delivery,
    EndNotes,
    Fence,
    Finish,
    Journal,
    KeepRun,
    Note,
    Op,
    Position,
    Publish,
    Segment,
)
from distgraph.errors import BufferFull, InvalidTransition
from distgraph.streaming.entries import SEGMENT_OVERHEAD, Entries, size_of

__all__ = (
    "SEGMENT_OVERHEAD",
    "Admit",
    "Commit",
    "Fence",
    "Finish",
    "Gate",
    "LogStatistics",
    "Op",
    "Publish",
    "RunLog",
)

_CLOSED_KEPT = 65_536

BUFFER = 64 << 20
"""Bytes of attempts whose events are held until they are committed."""


class LogStatistics(NamedTuple):
    """A snapshot of a ``RunLog``. Bytes are those of blobs plus ``SEGMENT_OVERHEAD`` a segment."""

    last_seq: int
    """Events that have entered, the terminal one included."""
    acked: int
    """``seq`` up to which the consumer has consumed."""
    segments: int
    """Segments that have entered."""
    unread_bytes: int
    """In the log, not consumed yet."""
    held_events: int
    """Events that wait for an ``Admit``, for an earlier segment, or for a gate."""
    held_bytes: int
    buffered_bytes: int
    """Held until their attempts are committed."""
    retained_bytes: int
    """Consumed, and kept for a consumer that comes back."""
    ignored_events: int
    """Repeats, and what came after its attempt was closed or the run had ended."""
    ignored_batches: int
    """Batches of the driver that were repeats, or came after the end."""
    open_attempts: int
    """Attempts that are admitted or have published, and are neither committed nor fenced."""
    waiting_ops: int
    """Operations that wait for a gate, including the gate."""
    ended: bool


class Gate(NamedTuple):
    """The ``Commit`` or ``Admit`` that ops wait at. If it does not move, events were lost with
    their worker."""

    task_id: str
    attempt: int
    arrived: int
    """Events of the attempt in the log."""
    published: int
    """Events of the attempt that must be in the log."""


class _Attempt:
    __slots__ = ("admitted", "buffered", "fenced", "held", "held_events", "next")

    def __init__(self) -> None:
        self.next = 1
        self.held: dict[int, Segment] = {}
        self.held_events = 0
        self.admitted = False
        self.buffered = False
        """Whether events are held until the attempt is committed."""
        self.fenced = False


class RunLog:
    """The events of one run, from the first to the terminal event.

    Every call costs amortised O(1) per segment. ``publish`` and ``drive`` drop nothing, even above
    the limits. While ``over_limit`` is true, publishers and driver must start nothing new.

    Args:
        max_bytes: Unread and held bytes above which ``over_limit`` is true.
        max_events: The same in events.
        retain_bytes: Consumed bytes that are kept for a reader that comes back.
        retain_events: The same in events.
        keep_end: Whether the terminal event is kept in any case.
        begin: Begins the journal before the driver does.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 16 << 20,
        max_events: int = 100_000,
        retain_bytes: int = 1 << 20,
        retain_events: int = sys.maxsize,
        keep_end: bool = False,
        begin: KeepRun | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events

        self._entries = Entries(retain_bytes, retain_events, keep_end=keep_end)
        self._ended = False
        self.status = ""
        """Status in the terminal event; "" before it has entered."""

        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._closed: dict[tuple[str, int], None] = {}
        self._held_bytes = 0
        self._held_events = 0
        self._buffered_bytes = 0
        """Held for attempts that are buffered: nobody waits for room that their end makes."""

        self._next_batch = 1
        self._batches: dict[int, Sequence[Op]] = {}
        self._queue: deque[Op] = deque()
        self._tails: set[tuple[str, int]] = set()
        """Attempts whose tails have been placed, and whose commits have not."""
        self._forced = False
        self._end_instead: Blob | None = None
        self._step = 0
        self._driver_events = 0
        self._kept = begin
        self._notes: list[Note] = []
        self._drivers = 1

        self._ignored_events = 0
        self._ignored_batches = 0

    # --- what comes in --------------------------------------------------------------------------

    def publish(self, segment: Segment) -> None:
        """Accept a segment from a worker; each segment enters the log once, in order.

        Raises:
            InvalidTransition: The segment overlaps another of its attempt in part.
        """
        if self._ended:
            self._ignored_events += segment.count
            return
        key = (segment.task_id, segment.attempt)
        attempt = self._attempts.get(key)
        if attempt is None:
            if key in self._closed or segment.attempt // GENERATION < self._drivers - 1:
                self._ignored_events += segment.count
                return
            attempt = self._attempts[key] = _Attempt()
        elif attempt.fenced:
            self._ignored_events += segment.count
            return
        if self._place(attempt, segment) and self._queue:
            self._advance()

    def drive(self, batch_no: int, ops: Sequence[Op]) -> None:
        """Accept the driver's batch ``batch_no`` (from 1), and apply the batch once all earlier
        ones are.

        Raises:
            InvalidTransition: An op contradicts what came before: an attempt admitted twice,
                committed without being admitted, or with more events than it says.
        """
        if batch_no < 1:
            raise InvalidTransition(f"batches are numbered from 1, got {batch_no}")
        if self._ended or batch_no < self._next_batch or batch_no in self._batches:
            self._ignored_batches += 1
            return
        self._batches[batch_no] = ops
        for op in ops:
            self._count_held(op, 1)
        while (batch := self._batches.pop(self._next_batch, None)) is not None:
            self._next_batch += 1
            for op in batch:
                self._receive(op)
        self._advance()

    def fence(self, task_id: str, attempt: int) -> int:
        """Accept no more events of an attempt, which is lost. Return how many are in the stream.

        Events that were held are dropped. The driver's ``Fence`` follows.
        """
        key = (task_id, attempt)
        if self._ended or key in self._closed:
            return 0
        known = self._attempts.setdefault(key, _Attempt())
        known.fenced = True
        self._drop_held(known)
        return known.next - 1

    def take_over(self, run_id: str, begin: KeepRun | None = None) -> Journal | None:
        """Accept no more batches of the run's driver, which is lost. Return what the next driver
        needs; None, without a change, if there is no journal.

        Args:
            run_id: The run.
            begin: Begins the journal if nothing of the lost driver has arrived.

        Operations that wait for a gate are dropped with their notes: to the next driver, the
        attempts that they wait for have not ended. No attempt outlives its driver: all of them are
        cut off.
        """
        if self._kept is None and self._next_batch == 1 and not self._entries.last:
            self._kept = begin
        if self._kept is None or self._ended:
            return None
        self._next_batch = self._drivers * GENERATION + 1
        self._drivers += 1
        self._ignored_batches += len(self._batches)
        self._batches.clear()
        self._queue.clear()
        self._tails.clear()
        for key, attempt in list(self._attempts.items()):
            attempt.fenced = True
            self._drop_held(attempt)
            if attempt.next == 1:
                self._close(key)
        self._held_bytes = self._held_events = 0
        return Journal(
            run_id,
            self._kept.start,
            self._kept.program,
            tuple(self._notes),
            self._driver_events,
            self._next_batch,
        )

    def terminate(self, blob: Blob, *, incomplete: bool = False) -> bool:
        """End the stream now, without the driver, which is lost or does not respond.

        Operations that have arrived are applied with all gates open; batches after a missing batch
        are discarded. Return False, without a change, if the stream has ended already.

        Args:
            blob: The terminal event, used if the driver's terminal event has not arrived.
            incomplete: Whether events are missing. ``blob`` then replaces the driver's terminal
                event, which would report success.
        """
        if self._ended:
            return False
        self._forced = True
        self._end_instead = blob if incomplete else None
        try:
            self._advance()
        except InvalidTransition:
            # A contradiction must not keep the consumer waiting: the end comes all the same.
            self._queue.clear()
        if self.ended:
            return incomplete
        self._end(blob)
        return True

    # --- reading --------------------------------------------------------------------------------

    def read(self, after_seq: int, max_bytes: int = 1 << 20) -> list[Delivery]:
        """Return the deliveries after ``after_seq``, in order: whole segments of ``max_bytes`` in
        total.

        At least one is returned if there is any. The first may begin at or before ``after_seq``
        when that lies within a segment.

        Raises:
            Truncated: Events after ``after_seq`` are no longer retained.
            InvalidTransition: ``after_seq`` lies beyond the end of the log.
        """
        return self._entries.read(after_seq, max_bytes)

    def ack(self, seq: int) -> None:
        """Note that the consumer has consumed everything up to ``seq``.

        Raises:
            InvalidTransition: ``seq`` lies beyond the end of the log.
        """
        self._entries.ack(seq)

    def hold_from(self, seq: int) -> None:
        """Hold what follows ``seq``, the position of the slowest reader, and free what precedes it.

        As ``ack``, but a reader that has come back may also lie before what was consumed: of that,
        what is still retained counts as unread again.
        """
        if seq < self._entries.acked:
            self._entries.unconsume(seq)
        else:
            self._entries.ack(seq)

    def drop(self, seq: int, *, end: bool = False) -> None:
        """Drop consumed events up to ``seq``, and the terminal event only with ``end``."""
        self._entries.drop(seq, end=end)

    @property
    def oldest(self) -> int:
        """``seq`` of the oldest event that is kept; ``last_seq + 1`` if there is none."""
        return self._entries.oldest

    @property
    def kept_bytes(self) -> int:
        """Bytes in the log, consumed or not."""
        return self._entries.unread_bytes + self._entries.retained_bytes + self._held_bytes

    @property
    def notes(self) -> int | None:
        """Events in the journal; None without a journal."""
        return None if self._kept is None else len(self._notes)

    @property
    def last_seq(self) -> int:
        """``seq`` of the last event that has entered; 0 if none has."""
        return self._entries.last

    @property
    def acked(self) -> int:
        """``seq`` up to which the consumer has consumed."""
        return self._entries.acked

    @property
    def deliverable(self) -> int:
        """Events in the log that are not consumed yet."""
        return self._entries.last - self._entries.acked

    @property
    def ended(self) -> bool:
        """Whether the terminal event has entered the log."""
        return self._ended

    @property
    def consumed(self) -> bool:
        """Whether the stream has ended and all readers have consumed the stream."""
        return self._ended and self._entries.acked == self._entries.last

    @property
    def unread_bytes(self) -> int:
        """Bytes in the log that are not consumed yet, ``SEGMENT_OVERHEAD`` a segment included."""
        return self._entries.unread_bytes

    @property
    def over_limit(self) -> bool:
        """Whether publishers and driver must pause until the consumer has caught up."""
        return not self._ended and (
            self._entries.unread_bytes + self._held_bytes > self._max_bytes
            or self._entries.last - self._entries.acked + self._held_events > self._max_events
        )

    @property
    def gate(self) -> Gate | None:
        """The gate that the driver's ops wait at, if any."""
        op = self._queue[0] if self._queue else None
        if isinstance(op, Commit):
            task_id, number, count = op.task_id, op.attempt, op.published
        elif isinstance(op, Admit) and op.after is not None:
            task_id, number, count = op.after
        else:
            return None
        attempt = self._attempts.get((task_id, number))
        return Gate(task_id, number, attempt.next - 1 if attempt else 0, count)

    def statistics(self) -> LogStatistics:
        """Return a snapshot for monitoring and tests."""
        return LogStatistics(
            last_seq=self._entries.last,
            acked=self._entries.acked,
            segments=len(self._entries),
            unread_bytes=self._entries.unread_bytes,
            held_events=self._held_events,
            held_bytes=self._held_bytes,
            buffered_bytes=self._buffered_bytes,
            retained_bytes=self._entries.retained_bytes,
            ignored_events=self._ignored_events,
            ignored_batches=self._ignored_batches,
            open_attempts=len(self._attempts),
            waiting_ops=len(self._queue),
            ended=self._ended,
        )

    # --- the driver's ops -----------------------------------------------------------------------

    def _receive(self, op: Op) -> None:
        """Queue an operation; operations that must not wait for a gate act at once."""
        self._queue.append(op)
        if isinstance(op, Fence):
            key = (op.task_id, op.attempt)
            if key not in self._closed:
                self._attempts.setdefault(key, _Attempt()).fenced = True
        elif isinstance(op, Commit) and op.tail:
            # it holds events that an earlier Admit may wait for
            key = (op.task_id, op.attempt)
            if key not in self._closed:
                attempt = self._attempts.setdefault(key, _Attempt())
                if not attempt.fenced:
                    self._place_tail(op, attempt)
        elif isinstance(op, Finish) and op.force:
            self._forced = True

    def _advance(self) -> None:
        queue = self._queue
        while queue:
            op = queue[0]
            if isinstance(op, Publish):
                self._count_held(op, -1)
                self._entries.append(op.segment)
                self._step = op.segment.step
                self._driver_events += op.segment.count
            elif isinstance(op, Admit):
                if op.after is not None and not self._has(op.after):
                    return
                self._admit(op)
            elif isinstance(op, Commit):
                if not self._commit(op):
                    return
            elif isinstance(op, Fence):
                self._close((op.task_id, op.attempt))
            elif isinstance(op, Note):
                if self._kept is not None:
                    self._notes.append(op)
            elif isinstance(op, KeepRun):
                self._kept = op
            elif isinstance(op, EndNotes):
                self._kept = None
                self._notes.clear()
            elif isinstance(op, Finish):
                if self._end_instead is None:
                    self._end(op.blob, op.status)
                else:
                    self._end(self._end_instead)
                return
            else:
                raise InvalidTransition(f"not an op of a driver: {op!r}")
            queue.popleft()

    def _has(self, position: Position) -> bool:
        """Return whether the log has an attempt's events up to a place, or waits for none."""
        attempt = self._attempts.get((position.task_id, position.attempt))
        return (
            attempt is None  # it has ended
            or attempt.fenced
            or attempt.buffered
            or attempt.next > position.count
            or self._forced
        )

    def _admit(self, op: Admit) -> None:
        key = (op.task_id, op.attempt)
        attempt = self._attempts.get(key)
        if key in self._closed or (attempt and attempt.admitted):
            raise InvalidTransition(f"attempt {op.attempt} of task {op.task_id} is admitted twice")
        if attempt is None:
            attempt = self._attempts[key] = _Attempt()
        self._step = op.step
        if op.buffer:
            attempt.buffered = True
            for segment in attempt.held.values():
                self._held_bytes -= size_of(segment)
                self._held_events -= segment.count
                self._buffered_bytes += size_of(segment)
            return
        attempt.admitted = True
        self._release(attempt)

    def _commit(self, op: Commit) -> bool:
        """Try to pass a gate."""
        key = (op.task_id, op.attempt)
        attempt = self._attempts.get(key)
        if attempt is None and key in self._closed:
            self._count_held(op, -1)
            self._ignored_events += sum(segment.count for segment in op.tail)
            return True
        if attempt is None or not (attempt.admitted or attempt.buffered):
            raise InvalidTransition(
                f"attempt {op.attempt} of task {op.task_id} is committed but was never admitted"
            )
        if key not in self._tails:
            self._place_tail(op, attempt)
        if attempt.buffered and not attempt.fenced:
            if attempt.held_events < op.published and not self._forced:
                return False
            attempt.admitted = True
            self._release(attempt)
            attempt.buffered = False
        arrived = attempt.next - 1
        if arrived < op.published and not attempt.fenced and not self._forced:
            return False
        if arrived > op.published:
            raise InvalidTransition(
                f"attempt {op.attempt} of task {op.task_id} is committed with {op.published} "
                f"events but has published {arrived}"
            )
        self._tails.discard(key)
        self._close(key)
        return True

    def _place_tail(self, op: Commit, attempt: _Attempt) -> None:
        self._tails.add((op.task_id, op.attempt))
        self._count_held(op, -1)
        for segment in op.tail:
            self._place(attempt, segment)

    def _end(self, blob: Blob, status: str = "error") -> None:
        self.status = status
        segment = Segment(DRIVER, 1, self._step, self._driver_events + 1, 1, blob)
        self._entries.append(segment, end=True)
        self._ended = True
        self._kept = None
        self._notes.clear()
        self._ignored_events += self._held_events
        self._ignored_batches += len(self._batches)
        self._held_bytes = self._held_events = self._buffered_bytes = 0
        self._attempts.clear()
        self._closed.clear()
        self._batches.clear()
        self._queue.clear()
        self._tails.clear()

    # --- attempts -------------------------------------------------------------------------------

    def _place(self, attempt: _Attempt, segment: Segment) -> bool:
        """Enter or hold a segment; returns whether a gate may be passed now."""
        first, count, held = segment.first, segment.count, attempt.held
        if count < 1:
            raise InvalidTransition(f"a segment without events: {_describe(segment)}")
        if first == attempt.next and attempt.admitted:
            self._entries.append(segment)
            attempt.next = first + count
            if held:
                self._release(attempt)
                if held and min(held) < attempt.next:
                    raise _overlap(held[min(held)])
            return True
        if first < attempt.next:
            if first + count > attempt.next:
                raise _overlap(segment)
            self._ignored_events += count
            return False
        if first in held:
            if held[first].count != count:
                raise _overlap(segment)
            self._ignored_events += count
            return False
        held[first] = segment
        attempt.held_events += count
        if attempt.buffered:
            self._buffered_bytes += size_of(segment)
            if self._buffered_bytes > BUFFER:
                raise BufferFull(
                    f"attempts of this run hold more than {BUFFER >> 20} MiB of events until they "
                    'succeed, which is what on_lost_attempt="buffer" asks for: choose "reset" for '
                    "nodes that emit so much"
                )
            return True  # a commit may wait for just this
        self._held_bytes += size_of(segment)
        self._held_events += count
        return False

    def _release(self, attempt: _Attempt) -> None:
        while (segment := attempt.held.pop(attempt.next, None)) is not None:
            if attempt.buffered:
                self._buffered_bytes -= size_of(segment)
            else:
                self._held_bytes -= size_of(segment)
                self._held_events -= segment.count
            self._entries.append(segment)
            attempt.next += segment.count
            attempt.held_events -= segment.count

    def _close(self, key: tuple[str, int]) -> None:
        """Forget an attempt but for its name, by which what still comes of it is recognized."""
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._drop_held(attempt)
        self._closed[key] = None
        if len(self._closed) > _CLOSED_KEPT:
            del self._closed[next(iter(self._closed))]

    def _drop_held(self, attempt: _Attempt) -> None:
        for segment in attempt.held.values():
            if attempt.buffered:
                self._buffered_bytes -= size_of(segment)
            else:
                self._held_bytes -= size_of(segment)
                self._held_events -= segment.count
            self._ignored_events += segment.count
        attempt.held.clear()
        attempt.held_events = 0

    def _count_held(self, op: Op, sign: int) -> None:
        segments: tuple[Segment, ...] = ()
        if isinstance(op, Publish):
            segments = (op.segment,)
        elif isinstance(op, Commit):
            segments = op.tail
        for segment in segments:
            self._held_bytes += sign * size_of(segment)
            self._held_events += sign * segment.count


def _describe(segment: Segment) -> str:
    return (
        f"events {segment.first}..{segment.first + segment.count - 1} of attempt "
        f"{segment.attempt} of task {segment.task_id}"
    )


def _overlap(segment: Segment) -> InvalidTransition:
    return InvalidTransition(f"{_describe(segment)} overlap others that were published before")
