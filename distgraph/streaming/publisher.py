"""The worker's side of the event plane: from ``emit`` in a node to puts on the broker.

A ``Publisher`` has a lane for each run. A node never waits for the acknowledgement of its last
events: ``close`` returns the unsent ones, and the attempt's outcome carries these events.
"""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from distgraph import metrics
from distgraph.concurrency.timers import Timers
from distgraph.contract.stream import Event, Segment
from distgraph.errors import RunCancelled, RunError
from distgraph.streaming.codec import WholeMessage, join_events, pack_event, whole_message
from distgraph.streaming.lane import EVENT_OVERHEAD, Lane, Sending, Unsent
from distgraph.streaming.transport import Puts, RunKey

__all__ = ("AttemptStream", "Publisher", "StreamClosed", "attempt_text", "closed")

_LATE = 0.02
"""Seconds that a whole chat message may wait, unless its attempt ends before."""

_MUCH, _MOMENT = 256 << 10, 1.0
"""Bytes that are much for an outcome, and seconds for which an attempt waits at its end that they
are sent."""

_HARD = 8
_SLICE = 0.05
_GLANCE = 0.001
_SWEEP_FROM = 64
_STALE = 60.0


class StreamClosed(RunError):
    """An event was emitted after its attempt had ended."""


def closed(attempt: str) -> StreamClosed:
    """Return the error for an event of an attempt that has ended: its node may still run, in a
    thread that it has started, or because it did not end at its limit of time."""
    return StreamClosed(
        f"{attempt} has ended: its writer takes no more events. A thread that a node starts must "
        "end before the node returns, and a node at its time limit"
    )


def attempt_text(task_id: str, attempt: int, step: int, node: str) -> str:
    """Return how messages name an attempt."""
    who = f"node {node!r}" if node else f"task {task_id}"
    return f"attempt {attempt} of {who} in step {step}"


class Publisher:
    """Sends the events of this process's attempts, whatever run they belong to.

    Args:
        puts: The transport.
        clock: Seconds, monotonic.
        gap: Least time between two puts of a run, in seconds, on average: under load fewer, larger
            puts cost half the CPU.
        burst: Puts by which a run may be ahead of that: the events of several attempts that emit
            now and then at the same time do not wait for it.
        max_bytes: What a run may buffer here before its emitters wait; ``EVENT_OVERHEAD`` an event
            included. A put of more is split.
        max_events: The same in events.
        timers: Sends what has to wait, on a thread of its own.
    """

    def __init__(
        self,
        puts: Puts,
        clock: Callable[[], float] = time.monotonic,
        *,
        gap: float = 0.002,
        burst: int = 4,
        max_bytes: int = 1 << 20,
        max_events: int = 16_384,
        timers: Timers | None = None,
    ) -> None:
        self._clock = clock
        self._sending = Sending(
            puts,
            clock,
            gap,
            burst,
            max_bytes,
            max_events,
            Timers("distgraph-publisher", clock) if timers is None else timers,
            self._discard,
            self._drop_if_idle,
        )
        self._lock = threading.Lock()
        self._lanes: dict[RunKey, Lane] = {}
        self._running = 0
        """Streams that are open."""
        self._emitted = 0
        """Events of the streams that were closed."""
        self._stalled = 0.0
        """Seconds that emitters have waited for room."""

    # --- runs and attempts ----------------------------------------------------------------------

    def open(
        self, run: RunKey, task_id: str, attempt: int, step: int, node: str = ""
    ) -> AttemptStream:
        """Begin an attempt's stream. ``node`` is for errors only."""
        with self._lock:
            self._running += 1
        return AttemptStream(self, run, task_id, attempt, step, node)

    def _lane_of(self, run: RunKey) -> Lane:
        """Return the lane of a run. The caller holds the publisher's lock."""
        lane = self._lanes.get(run)
        if lane is None:
            if len(self._lanes) >= _SWEEP_FROM:
                self._sweep()
            lane = self._lanes[run] = Lane(run, self._sending)
        return lane

    def forget(self, run: RunKey) -> None:
        """Drop a run that has ended: what is unsent is discarded, emitters get ``RunCancelled``."""
        lane = self._lanes.get(run)
        if lane is not None:
            self._discard(lane)

    def settle(self, seconds: float) -> None:
        """Wait until what was emitted is sent and acknowledged, for ``seconds`` at most."""
        until = self._clock() + seconds
        while self._clock() < until and any(lane.is_sending for lane in list(self._lanes.values())):
            time.sleep(_GLANCE)

    @property
    def runs(self) -> int:
        """Runs of which this process holds anything."""
        return len(self._lanes)

    def present(self) -> Iterable[tuple[metrics.Metric, float]]:
        """Return the present values of this process's metrics. Any thread may call this."""
        yield metrics.RUNNING, self._running
        yield metrics.EMITTED, self._emitted
        yield metrics.STALLED, self._stalled

    def _discard(self, lane: Lane) -> None:
        with self._lock:
            if self._lanes.get(lane.run) is lane:
                del self._lanes[lane.run]
        lane.refuse(RunCancelled("the run has ended: its stream takes no more events"))

    def _drop_if_idle(self, lane: Lane) -> None:
        # A paused lane stays until its pause is over, for later attempts.
        with self._lock:
            done = lane.error is not None or (lane.in_flight is None and not lane.paused)
            if not lane.open and done and self._lanes.get(lane.run) is lane:
                del self._lanes[lane.run]

    def _sweep(self) -> None:
        """Drop lanes whose pause was never ended. The caller holds the publisher's lock."""
        old = self._clock() - _STALE
        for lane in list(self._lanes.values()):
            if not lane.open and lane.in_flight is None and lane.next_put < old:
                del self._lanes[lane.run]


class AttemptStream(Unsent):
    """Publishes the events of one attempt. Every method may be called from any thread.

    It has no part in the lane of its run before the first event: most attempts emit none.
    """

    __slots__ = (
        "_closed",
        "_lane",
        "_node",
        "_publisher",
        "_refusal",
        "_run",
        "_source",
    )

    def __init__(
        self,
        publisher: Publisher,
        run: RunKey,
        task_id: str,
        attempt: int,
        step: int,
        node: str,
    ) -> None:
        super().__init__(task_id, attempt, step)
        self._publisher = publisher
        self._run = run
        self._lane: Lane | None = None
        self._node = node
        self._source = ""
        self._refusal: type[RunError] | None = None
        """Why it takes no more events."""
        self._closed: tuple[int, tuple[Segment, ...]] | None = None

    def emit(self, event: Event, *, wait: bool = True) -> None:
        """Publish one event: pickled now, sent at once if the lane is idle.

        Waits while the run's buffer in this process is full, that is while the consumer is slow.
        With ``wait=False`` it waits only at eight times that, which is for code on an event loop
        that awaits ``room()`` between events. Code that never awaits blocks its loop then: other
        threads send.

        Raises:
            SerializationError: The payload cannot be pickled; names node and mode.
            StreamClosed: The attempt has ended.
            RunCancelled: The attempt was cancelled, or the run has ended.
            BrokerLost: The stream is gone.
        """
        lane = self._lane or self._joined()
        data = pack_event(event, self._source)
        is_whole = False
        if event[1] == "messages":
            data = whole_message(event, data)
            is_whole = type(data) is WholeMessage
        publisher = self._publisher
        factor = 1 if wait else _HARD
        room = taken = refusal = None
        try:
            while True:
                with lane.lock:
                    if self._refusal is not None or lane.error is not None:
                        refusal = self._why_not()
                        break
                    if (
                        lane.bytes < lane.sending.max_bytes * factor
                        and lane.events < lane.sending.max_events * factor
                    ):
                        pending = self.pending
                        if not pending:
                            lane.dirty.append(self)
                        lane.bytes += len(data) + EVENT_OVERHEAD
                        lane.events += 1
                        pending.append(data)
                        if is_whole:
                            now = publisher._clock()
                            if self.held <= now:
                                self.held = now + _LATE
                            lane.has_whole = True
                        if lane.in_flight is None:
                            due = lane.due
                            if due is None or publisher._clock() >= min(due, lane.next_put):
                                taken = lane.start_put()
                        break
                    if room is None:
                        room = threading.Lock()
                        room.acquire()
                        lane.waiting.append(room.release)
                # In slices: a KeyboardInterrupt that cancels the task is only seen between them.
                stalled = publisher._clock()
                if room.acquire(timeout=_SLICE):
                    room = None
                publisher._stalled += publisher._clock() - stalled
            if taken is not None:
                lane.put(taken)
        except BaseException:  # a cancel, or what a signal handler of the node's code raised
            lane.interrupted()
            raise
        if refusal is not None:
            raise refusal

    def _joined(self) -> Lane:
        """Return the lane of the run, which waits for the end of this stream from now on."""
        with self._publisher._lock:
            lane = self._lane
            if lane is None:
                if self._refusal is not None:
                    raise self._why_not()
                self._source = self._node and f"node {self._node!r}"
                lane = self._publisher._lane_of(self._run)
                lane.open += 1
                self._lane = lane
            return lane

    @property
    def congested(self) -> bool:
        """Whether ``emit`` would wait."""
        lane = self._lane
        if lane is None:
            return False
        return lane.bytes >= lane.sending.max_bytes or lane.events >= lane.sending.max_events

    async def room(self) -> None:
        """Wait until ``emit`` would not; raises what ``emit`` would."""
        lane = self._lane or self._joined()
        loop, publisher = asyncio.get_running_loop(), self._publisher
        while True:
            with lane.lock:
                if self._refusal is not None or lane.error is not None:
                    raise self._why_not()
                if not self.congested:
                    return
                waiter = loop.create_future()
                lane.waiting.append(partial(_wake_waiter, loop, waiter))
            stalled = publisher._clock()
            await waiter
            publisher._stalled += publisher._clock() - stalled

    def emitted(self) -> int:
        """Return how many events were emitted."""
        lane = self._lane
        if lane is None:
            return 0
        with lane.lock:
            return self.sent + len(self.pending)

    def close(self, *, unconfirmed: bool = False) -> tuple[int, tuple[Segment, ...]]:
        """End the stream; later events raise ``StreamClosed``.

        Where much is unsent because a put is on its way, it waits a moment for the next put: the
        outcome would bring all of that by way of the driver. On an event loop it never waits, nor
        for a slow reader.

        Return the number of emitted events, and the events that no put took: at most one segment,
        unless the broker was lost. A second call returns the same.

        Args:
            unconfirmed: Whether to return also what was sent and is not acknowledged yet.
        """
        lane = self._lane
        much = lane is not None and sum(map(len, self.pending)) > _MUCH
        if lane is not None and much and _get_running_loop() is None:
            self._wait_for_put(lane)
        return self._end(StreamClosed, discard=False, unconfirmed=unconfirmed)

    def _wait_for_put(self, lane: Lane) -> None:
        """Wait until the next put has taken what is unsent, if that does not depend on readers."""
        room: threading.Lock | None = None
        until = time.monotonic() + _MOMENT
        while self.pending and time.monotonic() < until:
            with lane.lock:
                if lane.error is not None or lane.paused or self._refusal is not None:
                    return
                if room is None:
                    room = threading.Lock()
                    room.acquire()
                    lane.waiting.append(partial(_release, room))
            if room.acquire(timeout=_SLICE):
                room = None

    def cancel(self) -> None:
        """End the stream and discard what is unsent; emitters get ``RunCancelled``."""
        self._end(RunCancelled, discard=True)

    def _end(
        self, refusal: type[RunError], discard: bool, unconfirmed: bool = False
    ) -> tuple[int, tuple[Segment, ...]]:
        lane = self._lane
        if lane is None:
            with self._publisher._lock:
                lane = self._lane  # another thread may emit the first event just now
                if lane is None:
                    if self._closed is None:
                        self._publisher._running -= 1
                        self._refusal = refusal
                        self._closed = 0, ()
                    return self._closed
        with lane.lock:
            if self._closed is not None:
                return self._closed
            self._refusal = refusal
            pending, self.pending = self.pending, []
            first = self.sent + 1
            if pending:
                lane.bytes -= sum(map(len, pending)) + EVENT_OVERHEAD * len(pending)
                lane.events -= len(pending)
            lane.dirty = [stream for stream in lane.dirty if stream is not self]
            tail: list[Segment] = []
            if unconfirmed or lane.error is not None:
                tail = [segment for segment in lane.unacked if self._owns(segment)]
            if pending and not discard:
                self.sent += len(pending)
                blob = join_events(pending)
                tail.append(
                    Segment(self.task_id, self.attempt, self.step, first, len(pending), blob)
                )
            self._closed = self.sent, tuple(tail)
            lane.give_room()
        with self._publisher._lock:
            lane.open -= 1
            self._publisher._running -= 1
            self._publisher._emitted += self.sent
        self._publisher._drop_if_idle(lane)
        return self._closed

    def _owns(self, segment: Segment) -> bool:
        return segment.task_id == self.task_id and segment.attempt == self.attempt

    def _why_not(self) -> RunError:
        if self._refusal is StreamClosed:
            return closed(self._describe())
        if self._refusal is RunCancelled:
            return RunCancelled(f"{self._describe()} was cancelled")
        reason = None if self._lane is None else self._lane.error
        if reason is None:
            raise AssertionError("an open stream refuses an event")
        # A fresh one each time: threads that raise one object would share its traceback.
        error = type(reason)(*reason.args)
        error.__cause__ = reason.__cause__
        return error

    def _describe(self) -> str:
        return attempt_text(self.task_id, self.attempt, self.step, self._node)


def _release(room: threading.Lock) -> None:
    with suppress(RuntimeError):  # it was released before
        room.release()


def _wake_waiter(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    # A closed loop has nobody who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
