"""One reader of a run's stream in a calling process: its inbox, its place, its acknowledgements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from distgraph.concurrency.collecting import is_collecting
from distgraph.concurrency.threads import elsewhere
from distgraph.contract.stream import Delivery, StreamEvent
from distgraph.streaming.consumer import AT_ONCE, Reassembler
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import ReaderKey

__all__ = ("Reader",)

_ACK_BYTES = 512 << 10
_ACK_EVENTS = 2_000
"""Events consumed but not acknowledged; above either limit, the reader acknowledges at once."""


_LITTLE = 16 << 10
"""Bytes that the broker may keep a little longer than it has to."""


class Reader:
    """Reads the events of one run.

    Args:
        receiver: What fetches for all readers of the process.
        key: Key of the reader.
        loop: The event loop of a reader that awaits, None for one that blocks.
        after: ``seq`` of the last event that is known; None to begin with whatever comes first.
    """

    def __init__(
        self,
        receiver: Receiver,
        key: ReaderKey,
        loop: asyncio.AbstractEventLoop | None,
        after: int | None = 0,
    ) -> None:
        self.inbox = Inbox(key, loop)
        self._receiver = receiver
        self._events = Reassembler(key.run_id, after)
        self._bytes = 0
        self._acked = after or 0
        self._left = False

    @classmethod
    def open(
        cls,
        receiver: Receiver,
        key: ReaderKey,
        loop: asyncio.AbstractEventLoop | None,
        after: int | None,
        *,
        only_end: bool = False,
    ) -> Reader:
        """Open a further reader of a run, which begins after ``after``; see ``Reads.open``."""
        reader = cls(receiver, key, loop, None)
        receiver.open(reader.inbox)
        try:
            begin = receiver.begin(key, after, only_end=only_end)
        except BaseException:
            receiver.close(key)
            raise
        if not only_end:
            reader._events = Reassembler(key.run_id, begin)
            reader._acked = begin
        return reader

    @property
    def ended(self) -> bool:
        """Whether the terminal event was returned."""
        return self._events.ended

    @property
    def holds_little(self) -> bool:
        """Whether the broker has to keep little of what this reader has read."""
        return self._bytes <= _LITTLE

    def read(
        self, timeout: float | None = None, *, only_end: bool = False
    ) -> Sequence[StreamEvent]:
        """Wait for events and return them. The last one of the run has mode ``END_MODE``.

        ``only_end``: for a reader that leaves; return the last event only, and nothing before.

        Raises:
            TimeoutError: No event came within ``timeout`` seconds.
            Truncated: The next events are no longer kept.
            RunError: The run or its stream is lost.
        """
        self._acknowledge()
        if self._events.has_more:
            return self._feed((), only_end)
        until = None if timeout is None else time.monotonic() + timeout
        while not (deliveries := self.inbox.take()):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"no event within {timeout:g} s")
            self._receiver.wait(self.inbox, left)
        return self._feed(deliveries, only_end)

    async def aread(self, *, only_end: bool = False) -> Sequence[StreamEvent]:
        """As ``read``, without blocking the event loop."""
        self._acknowledge()
        if self._events.has_more:
            return self._feed((), only_end)
        return self._feed(await self.inbox.aget(), only_end)

    def close(self) -> None:
        """Leave. Again, it does nothing."""
        if self._left:
            return
        self._left = True
        leave = partial(self._receiver.leave, self.inbox.reader)
        if is_collecting():
            elsewhere(leave)
        else:
            leave()

    def _feed(self, deliveries: Sequence[Delivery], only_end: bool) -> Sequence[StreamEvent]:
        self._bytes += sum(len(delivery.segment.blob) for delivery in deliveries)
        if only_end:
            return self._events.feed_end(deliveries)
        self._events.add(deliveries)
        return self._events.take(AT_ONCE)

    def _acknowledge(self) -> None:
        """Everything that was handed out before has been consumed."""
        position = self._events.position
        if position == self._acked:
            return
        at_once = self._bytes > _ACK_BYTES or position - self._acked > _ACK_EVENTS
        self._receiver.consumed(self.inbox.reader, position, at_once=at_once)
        if at_once:
            self._bytes, self._acked = 0, position
