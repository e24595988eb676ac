"""The caller's end of the event plane: checks the contract, and turns segments into events."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from distgraph.contract.stream import Delivery, StreamEvent
from distgraph.errors import InvalidTransition
from distgraph.streaming.codec import decode_events, decode_items, items_of

__all__ = ("AT_ONCE", "Reassembler")

AT_ONCE = 256
"""Events that a reader hands out at once."""

_stream_event: Any = partial(tuple.__new__, StreamEvent)
"""``StreamEvent`` of a tuple of its fields."""


class Reassembler:
    """Reads one run's deliveries: seq 1, 2, 3 …, no gap, no repeat, nothing after the end.

    Args:
        run_id: Id of the run, for its events.
        after_seq: ``seq`` of the last event that was consumed before, 0 for none. The first
            delivery may begin before it: what is known of it is skipped. None for a reader that
            begins wherever its first delivery does.
    """

    def __init__(self, run_id: str, after_seq: int | None = 0) -> None:
        self._run_id = run_id
        self._position = after_seq or 0
        self._resumed = after_seq is None or after_seq > 0
        self._anywhere = after_seq is None
        self._ended = False
        self._rest: deque[Delivery] = deque()
        self._delivery: Delivery | None = None
        """Of which some events were returned, and others were not."""
        self._items: Sequence[Any] | None = None
        """Its events, not unpickled yet."""

    @property
    def position(self) -> int:
        """``seq`` of the last event that was returned: what to ack, and to come back with."""
        return self._position

    @property
    def ended(self) -> bool:
        """Whether the terminal event was returned to the caller."""
        return self._ended

    def feed(self, deliveries: Iterable[Delivery]) -> list[StreamEvent]:
        """Return the events of deliveries in order; the terminal one has mode ``END_MODE``.

        Raises:
            InvalidTransition: The deliveries are not what follows ``position``.
            SerializationError: An event cannot be unpickled in this process.
        """
        self._rest.extend(deliveries)
        return self.take(sys.maxsize)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Add deliveries, whose events ``take`` returns."""
        self._rest.extend(deliveries)

    @property
    def has_more(self) -> bool:
        """Whether ``take`` returns something."""
        return self._items is not None or bool(self._rest)

    def take(self, most: int) -> list[StreamEvent]:
        """Return the next events, ``most`` at most; raises as ``feed`` does.

        Ten thousand events at once would be taken for lasting objects by the garbage collector,
        which then takes several times as long as all else.
        """
        events: list[StreamEvent] = []
        run_id = self._run_id
        while (room := most - len(events)) > 0 and self.has_more:
            if self._items is None:
                self._open()
            items, delivery = self._items, self._delivery
            assert items is not None and delivery is not None
            seq, segment, end = delivery
            begin = self._position + 1 - seq
            stop = min(segment.count, begin + room)
            decoded = decode_items(segment, items[begin:stop])
            task_id, attempt, step, first, _, _ = segment
            spaces, modes, payloads = zip(*decoded, strict=True)
            fields = zip(
                repeat(run_id),
                range(seq + begin, seq + stop),
                spaces,
                repeat(step),
                repeat(task_id),
                repeat(attempt),
                range(first + begin, first + stop),
                modes,
                payloads,
            )
            events += map(_stream_event, fields)  # without Python code for each event
            self._position = seq + stop - 1
            if stop == segment.count:
                self._items = self._delivery = None
                self._ended = end
        return events

    def _open(self) -> None:
        """Begin with the next delivery."""
        delivery = self._rest.popleft()
        seq, segment, _ = delivery
        skip = self._skipped(seq, segment.count)
        items = items_of(segment)
        if len(items) != segment.count:
            raise self._broken(f"a segment of {segment.count} events at seq {seq} has {len(items)}")
        self._position = seq + skip - 1
        self._items, self._delivery = items, delivery

    def feed_end(self, deliveries: Iterable[Delivery]) -> list[StreamEvent]:
        """As ``feed`` for a reader that leaves, and waits for the end only: return the terminal
        event, if it is among the deliveries.

        The reader may have been interrupted with others in its hands: what is missing is no error.
        """
        if self._delivery is not None:
            self._rest.appendleft(self._delivery)
        self._items = self._delivery = None
        self._rest.extend(deliveries)
        while self._rest:
            seq, segment, end = self._rest.popleft()
            self._position = seq + segment.count - 1
            if end:
                self._ended = True
                task_id, attempt, step, first, count, _ = segment
                ns, mode, payload = decode_events(segment)[-1]
                place = (ns, step, task_id, attempt, first + count - 1)
                return [StreamEvent(self._run_id, self._position, *place, mode, payload)]
        return []

    def _skipped(self, seq: int, count: int) -> int:
        expected = self._position + 1
        resumed, self._resumed = self._resumed, False
        anywhere, self._anywhere = self._anywhere, False
        if self._ended:
            raise self._broken(f"seq {seq} follows the end at {self._position}")
        if seq == expected or anywhere:
            return 0
        if resumed and seq < expected < seq + count:
            return expected - seq
        kind = "lost" if seq > expected else "repeated"
        raise self._broken(f"events were {kind}: expected seq {expected}, got {seq}")

    def _broken(self, what: str) -> InvalidTransition:
        return InvalidTransition(f"stream of run {self._run_id}: {what}")
