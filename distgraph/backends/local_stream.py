"""A run's stream in this process: events travel by reference and wait in the log for a reader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Container, Sequence

from distgraph.backends.local_started_runs import KeptStream
from distgraph.concurrency.waiter import Waiter
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.stream import AttemptId, Event, Op, Segment, StreamEvent
from distgraph.driver.operations import end_event
from distgraph.driver.ports import Acked
from distgraph.errors import RunCancelled
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import RunLog
from distgraph.streaming.publisher import attempt_text, closed

__all__ = ("LocalAttemptStream", "LocalStream")

_ACKED, _CONGESTED = Acked(), Acked(congested=True)


class LocalStream:
    """A run's log in this process: the driver's and the attempts' events in, the consumer's out."""

    def __init__(self, run_id: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self.log = RunLog(max_bytes=1 << 62, retain_bytes=0)
        self.changed = threading.Condition()
        """Guards the log. Nothing else is ever waited for while it is held."""
        self._waiter = Waiter(self.changed, loop)
        self.notify = self._waiter.wake
        """Wakes the threads that wait for the log. The lock is held."""
        self._events = Reassembler(run_id)
        self._congested = False
        """Whether the driver knows that the log is over its limit."""

    @property
    def over_limit(self) -> bool:
        """Whether emitters must wait for room. The lock is held."""
        return self.log.over_limit

    def wait_for_room(self) -> None:
        """Wait until there may be room. The lock is held, and free meanwhile."""
        self.changed.wait()

    def publish(self, segment: Segment) -> None:
        """Take an attempt's events. The lock is held."""
        self.log.publish(segment)
        self.notify()

    def drive(self, batch_no: int, ops: Sequence[Op], *, awaited: bool) -> Acked:
        with self.changed:
            self.log.drive(batch_no, ops)
            self.notify()
            self._congested = self.log.over_limit
            return _CONGESTED if self._congested else _ACKED

    def fence(self, attempt_id: AttemptId) -> int:
        with self.changed:
            return self.log.fence(*attempt_id)

    def terminate(self, error: BaseException) -> None:
        with self.changed:
            self.log.terminate([end_event("error", error=error)])
            self.notify()

    def read(self) -> tuple[Sequence[StreamEvent], bool]:
        """Wait for events. Return them, and whether the driver waits for the room they took."""
        with self.changed:
            while not (events := self._take()):
                self._waiter.wait()
            return events, self._relieved()

    async def aread(self) -> tuple[Sequence[StreamEvent], bool]:
        """As ``read``, without blocking the event loop."""
        while True:
            with self.changed:
                if events := self._take():
                    return events, self._relieved()
                parked = self._waiter.park()
            await parked.wait()

    def _take(self) -> Sequence[StreamEvent]:
        deliveries = self.log.read(self.log.last_seq - self.log.deliverable)
        if not deliveries:
            return ()
        events = self._events.feed(deliveries)
        self.log.ack(self._events.position)
        self.changed.notify_all()
        return events

    def _relieved(self) -> bool:
        was, self._congested = self._congested, self._congested and self.log.over_limit
        return was and not self._congested


class LocalAttemptStream:
    """An attempt's way into the log.

    Args:
        stream: The run's stream.
        request: The attempt.
        wanted: The attempts whose events are taken.
        may_wait: Whether ``emit`` may wait for room in the log; not on an event loop.
    """

    def __init__(
        self,
        stream: LocalStream | KeptStream,
        request: AttemptRequest,
        wanted: Container[AttemptId],
        *,
        may_wait: bool,
    ) -> None:
        self._stream = stream
        self._request = request
        self._id = request.attempt_id
        self._wanted = wanted
        self._may_wait = may_wait
        self._count = 0
        self._closed = False

    def emit(self, event: Event) -> None:
        stream, request = self._stream, self._request
        with stream.changed:
            while self._may_wait and stream.over_limit and not self._refused:
                stream.wait_for_room()
            if self._refused:
                text = attempt_text(*self._id, request.step, request.node)
                if self._closed:
                    raise closed(text)
                raise RunCancelled(f"{text} was cancelled: its event {event.mode!r} is not taken")
            self._count += 1
            stream.publish(Segment(*self._id, request.step, self._count, 1, [event]))

    @property
    def _refused(self) -> bool:
        return self._closed or self._id not in self._wanted

    def emitted(self) -> int:
        return self._count

    def close(self, *, unconfirmed: bool = False) -> tuple[int, Sequence[Segment]]:
        with self._stream.changed:
            self._closed = True
            return self._count, ()
