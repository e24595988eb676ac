"""Storage of a log: numbered deliveries, readable from any seq, dropped once consumed.

This module handles numbers and bytes only; the log decides the order of events.
"""

from __future__ import annotations

import sys
from bisect import bisect_right

from distgraph.contract.stream import DRIVER, Delivery, Segment
from distgraph.errors import InvalidTransition, Truncated

SEGMENT_OVERHEAD = 256
"""Bytes that a segment counts for besides its blob, so that many tiny ones are bounded too."""

_COMPACT_FROM = 512
_GONE = Delivery(0, Segment(DRIVER, 0, 0, 0, 0, b""))


def size_of(segment: Segment) -> int:
    """Return the bytes that a segment counts for."""
    return len(segment.blob) + SEGMENT_OVERHEAD


class Entries:
    """Deliveries in order. Every operation costs amortised O(1) a segment, a read O(log n) more.

    Args:
        retain_bytes: Consumed bytes that are kept for a reader that comes back.
        retain_events: Consumed events that are kept for it.
        keep_end: Whether the terminal event is kept in any case.
    """

    def __init__(
        self, retain_bytes: int, retain_events: int = sys.maxsize, *, keep_end: bool = False
    ) -> None:
        self._keep_end = keep_end
        self._retain_bytes = retain_bytes
        self._retain_events = retain_events
        # One a segment. [:_head] are dropped, [_head:_unread] consumed but retained.
        self._entries: list[Delivery] = []
        self._starts: list[int] = []
        self._head = 0
        self._unread = 0
        self._compacted = 0
        self.last = 0
        """``seq`` of the last event; 0 if there is none."""
        self.acked = 0
        """``seq`` up to which everything is consumed."""
        self.unread_bytes = 0
        self.retained_bytes = 0

    def __len__(self) -> int:
        """Segments that were ever appended."""
        return self._compacted + len(self._entries)

    @property
    def stored(self) -> int:
        """Slots in memory: bounded by what is unread and retained, and a constant."""
        return len(self._entries)

    @property
    def oldest(self) -> int:
        """``seq`` of the oldest event that is kept; ``last + 1`` if there is none."""
        return self._starts[self._head] if self._head < len(self._starts) else self.last + 1

    def append(self, segment: Segment, end: bool = False) -> None:
        """Give a segment the next seqs."""
        seq = self.last + 1
        self._entries.append(Delivery(seq, segment, end))
        self._starts.append(seq)
        self.last += segment.count
        self.unread_bytes += len(segment.blob) + SEGMENT_OVERHEAD

    def read(self, after_seq: int, max_bytes: int) -> list[Delivery]:
        """See ``RunLog.read``."""
        if after_seq >= self.last:
            if after_seq > self.last:
                raise InvalidTransition(
                    f"read after seq {after_seq}, but the log ends at {self.last}"
                )
            return []
        oldest = self.oldest
        if after_seq + 1 < oldest:
            raise Truncated(
                f"events after seq {after_seq} were asked for, but the oldest one that is kept is "
                f"{oldest}: read on with events(after={oldest - 1}), or keep more of the run with "
                "start(..., retention=Retention(...))",
                after_seq,
                oldest,
            )
        start = bisect_right(self._starts, after_seq + 1, self._head) - 1
        stop, size = start + 1, size_of(self._entries[start].segment)
        while stop < len(self._entries):
            size += size_of(self._entries[stop].segment)
            if size > max_bytes:
                break
            stop += 1
        return self._entries[start:stop]

    def ack(self, seq: int) -> None:
        """See ``RunLog.ack``."""
        if seq <= self.acked:
            return
        if seq > self.last:
            raise InvalidTransition(f"seq {seq} was consumed, but the log ends at {self.last}")
        self.acked = seq
        entries = self._entries
        while self._unread < len(entries):
            delivery = entries[self._unread]
            if delivery.seq + delivery.segment.count - 1 > seq:
                break
            size = size_of(delivery.segment)
            self.unread_bytes -= size
            self.retained_bytes += size
            self._unread += 1
        while self._may_drop() and (
            self.retained_bytes > self._retain_bytes
            or self.acked - self._starts[self._head] >= self._retain_events
        ):
            self._drop_oldest()
        self._compact()

    def drop(self, seq: int, *, end: bool = False) -> None:
        """Drop consumed events up to ``seq``, and the terminal event only with ``end``."""
        while self._may_drop(end) and self._last_of(self._head) <= seq:
            self._drop_oldest()
        self._compact()

    def _may_drop(self, end: bool = False) -> bool:
        """Whether the oldest entry is consumed. A log that is kept keeps its terminal event."""
        keeps_end = self._keep_end and not end
        return self._head < self._unread and not (keeps_end and self._entries[self._head].end)

    def _last_of(self, index: int) -> int:
        delivery = self._entries[index]
        return delivery.seq + delivery.segment.count - 1

    def _drop_oldest(self) -> None:
        self.retained_bytes -= size_of(self._entries[self._head].segment)
        self._entries[self._head] = _GONE
        self._head += 1

    def _compact(self) -> None:
        entries = self._entries
        if self._head >= _COMPACT_FROM and self._head * 2 >= len(entries):
            del entries[: self._head]
            del self._starts[: self._head]
            self._compacted += self._head
            self._unread -= self._head
            self._head = 0

    def unconsume(self, seq: int) -> None:
        """Take back the retained events after ``seq``; see ``RunLog.hold_from``."""
        entries = self._entries
        while self._unread > self._head:
            delivery = entries[self._unread - 1]
            if delivery.seq + delivery.segment.count - 1 <= seq:
                break
            size = size_of(delivery.segment)
            self.unread_bytes += size
            self.retained_bytes -= size
            self._unread -= 1
        if seq < self.acked:
            self.acked = min(self.acked, max(seq, self.oldest - 1))
