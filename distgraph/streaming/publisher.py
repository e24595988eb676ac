"""The worker's side of the event plane: from ``emit`` in a node to puts on the broker.

Each run has one *lane*, with at most one put in flight. In an idle lane the emitting thread sends
at once, so no timer or thread switch delays a first token. In a busy lane events gather until the
put is acknowledged, and the next put sends all of them. A node never waits for its last
acknowledgement: ``close`` returns the unsent events, and the attempt's outcome carries these
events. A whole chat message, which agents still change when the model has emitted it, waits a
moment, and with it what its attempt emits behind it.

Signals (``KeyboardInterrupt`` when a task is cancelled, or an exception of a signal handler in the
node's code) reach CPython code only after calls and backward jumps. Fields that must change
together are therefore changed by plain statements without a call in between. An interrupted put is
sent again, because the log accepts a segment only once.
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
from distgraph.errors import BrokerLost, RunCancelled, RunError
from distgraph.streaming.codec import WholeMessage, join_events, pack_event, whole_message
from distgraph.streaming.transport import GONE, Ack, Puts, RunKey

__all__ = ("AttemptStream", "Publisher", "StreamClosed", "attempt_text", "closed")

EVENT_OVERHEAD = 64
"""Bytes that a buffered event counts for besides its pickle."""

_LATE = 0.02
"""Seconds that a whole chat message may wait, unless its attempt ends before."""

_MUCH, _MOMENT = 256 << 10, 1.0
"""Bytes that are much for an outcome, and seconds for which an attempt waits at its end that they
are sent."""

_FEW = 64
"""Events that the thread which takes an acknowledgement sends. With more, the thread that emits
does: it has the interpreter, and would have to wait for it otherwise."""

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


_Taken = tuple["AttemptStream", int, list[bytes]]


class _Lane:
    """The events of one run in this process. The fields are guarded by ``lock``."""

    __slots__ = (
        "bytes",
        "dirty",
        "due",
        "error",
        "events",
        "has_whole",
        "in_flight",
        "lock",
        "next_put",
        "open",
        "pace",
        "paused",
        "resend",
        "run",
        "unacked",
        "waiting",
    )

    def __init__(self, run: RunKey) -> None:
        self.run = run
        self.lock = threading.Lock()
        self.waiting: list[Callable[[], object]] = []
        self.dirty: list[AttemptStream] = []
        self.due: float | None = None
        self.bytes = 0
        self.events = 0
        self.has_whole = False
        self.open = 0
        self.in_flight: list[_Taken] | None = None
        self.resend = False
        self.unacked: list[Segment] = []
        self.pace = float("-inf")
        """When the next put would be due if all puts were a gap apart."""
        self.next_put = float("-inf")
        self.paused = False
        self.error: RunError | None = None


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
        self._puts = puts
        self._clock = clock
        self._gap = gap
        self._burst = burst
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._timers = Timers("distgraph-publisher", clock) if timers is None else timers
        self._lock = threading.Lock()
        self._lanes: dict[RunKey, _Lane] = {}
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

    def _lane_of(self, run: RunKey) -> _Lane:
        """Return the lane of a run. The caller holds the publisher's lock."""
        lane = self._lanes.get(run)
        if lane is None:
            if len(self._lanes) >= _SWEEP_FROM:
                self._sweep()
            lane = self._lanes[run] = _Lane(run)
        return lane

    def forget(self, run: RunKey) -> None:
        """Drop a run that has ended: what is unsent is discarded, emitters get ``RunCancelled``."""
        lane = self._lanes.get(run)
        if lane is not None:
            self._discard(lane)

    def settle(self, seconds: float) -> None:
        """Wait until what was emitted is sent and acknowledged, for ``seconds`` at most."""
        until = self._clock() + seconds
        while self._clock() < until and any(map(_is_sending, list(self._lanes.values()))):
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

    # --- sending --------------------------------------------------------------------------------

    def _send_due(self, lane: _Lane) -> None:
        """Send what a lane has gathered: called by the timers, and behind an acknowledgement."""
        with lane.lock:
            lane.due = None
            taken = self._start_put(lane)
        if taken is not None:
            try:
                self._put(lane, taken)
            except Exception as error:  # no code of a node runs in this thread
                self._lost(lane, error)

    def _schedule(self, lane: _Lane, when: float) -> None:
        """Send what a lane gathers until then. The lane's lock is held."""
        if lane.due is None or when < lane.due:
            self._timers.at(when, partial(self._send_due, lane))
            lane.due = when

    def _start_put(self, lane: _Lane) -> list[_Taken] | None:
        """Take the events for the next put if a put may start. The caller holds the lane's lock."""
        if lane.error is not None:
            return None
        if lane.in_flight is not None:
            if not lane.resend:
                return None
            lane.resend = False
            return lane.in_flight
        if not lane.dirty:
            return None
        now = self._clock()
        if now < lane.next_put:
            self._schedule(lane, lane.next_put)
            return None
        ready = lane.dirty
        if lane.has_whole and not lane.paused:
            ready = [stream for stream in lane.dirty if stream._held <= now]
            if len(ready) == len(lane.dirty):
                ready = lane.dirty
                lane.has_whole = False
            else:
                self._schedule(lane, min(s._held for s in lane.dirty if s._held > now))
            if not ready:
                return None
        taken: list[_Taken] = []
        lane.in_flight = taken
        lane.pace = max(now, lane.pace) + self._gap
        if lane.paused:
            return taken
        if ready is not lane.dirty or (
            lane.bytes > self._max_bytes or lane.events > self._max_events
        ):
            self._take_some(lane, ready, taken)
            self._give_room(lane)
            return taken
        for stream in lane.dirty:
            pending = stream._pending
            sent = stream._sent + len(pending)
            if sent > stream._sent:
                taken += [(stream, stream._sent + 1, pending)]
                stream._pending = []
                stream._sent = sent
        lane.dirty = []
        lane.bytes = lane.events = 0
        self._give_room(lane)
        return taken

    def _take_some(self, lane: _Lane, ready: list[AttemptStream], taken: list[_Taken]) -> None:
        """Take what one put may hold of what need not wait: what is on its way has copies. The
        lane's lock is held."""
        room, events = self._max_bytes, self._max_events
        for stream in ready:
            if room <= 0 or events <= 0:
                break
            pending = stream._pending
            count, size = _fit(pending, room, events)
            some, rest = pending[:count], pending[count:]
            dirty = lane.dirty
            if not rest:
                first = dirty[0] is stream
                dirty = dirty[1:] if first else [other for other in dirty if other is not stream]
            if some:
                room -= size
                events -= count
                taken += [(stream, stream._sent + 1, some)]
                stream._pending = rest
                stream._sent += count
                lane.bytes -= size
                lane.events -= count
            lane.dirty = dirty

    def _put(self, lane: _Lane, taken: list[_Taken]) -> None:
        """Send what ``_start_put`` took. No lock is held."""
        try:
            segments = [
                Segment(s._task_id, s._attempt, s._step, first, len(packed), join_events(packed))
                for s, first, packed in taken
            ]
            lane.unacked = segments
            ack = self._puts.put(lane.run, segments)
            if isinstance(ack, (int, float)):
                self._acked(lane, taken, ack)
            else:
                ack.add_done_callback(lambda future: self._settled(lane, taken, future))
        except BrokerLost as error:
            self._lost(lane, error)
        except BaseException:  # of this thread, such as a cancel, or a signal handler of the node
            self._interrupted(lane)
            raise

    def _settled(self, lane: _Lane, taken: list[_Taken], ack: Ack) -> None:
        try:
            error = ack.exception()
            if error is None:
                self._acked(lane, taken, ack.result())
            else:
                self._lost(lane, error)
        except BaseException:
            self._interrupted(lane)
            raise

    def _acked(self, lane: _Lane, taken: list[_Taken], pause: float) -> None:
        if pause == GONE:
            self._discard(lane)
            return
        with lane.lock:
            if lane.in_flight is not taken:
                return
            lane.in_flight = None
            lane.resend = False
            lane.unacked = []
            lane.paused = pause > 0
            now = self._clock()
            lane.next_put = now + pause if lane.paused else lane.pace - self._burst * self._gap
            is_due = bool(lane.dirty) and lane.next_put <= now and lane.events <= _FEW
            if lane.dirty and not is_due:
                self._schedule(lane, lane.next_put)
        if is_due:
            self._send_due(lane)
        self._drop_if_idle(lane)

    def _lost(self, lane: _Lane, cause: BaseException) -> None:
        error = BrokerLost(
            f"the events of run {lane.run.run_id} can no longer be sent "
            f"({type(cause).__name__}: {cause})"
        )
        error.__cause__ = cause
        self._break(lane, error)

    def _discard(self, lane: _Lane) -> None:
        with self._lock:
            if self._lanes.get(lane.run) is lane:
                del self._lanes[lane.run]
        self._break(lane, RunCancelled("the run has ended: its stream takes no more events"))

    def _break(self, lane: _Lane, error: RunError) -> None:
        with lane.lock:
            if lane.error is None:
                lane.error = error
            self._give_room(lane)
        self._drop_if_idle(lane)

    def _drop_if_idle(self, lane: _Lane) -> None:
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

    def _interrupted(self, lane: _Lane) -> None:
        """Send again what a thread had taken that was interrupted; the log ignores a repeat."""
        with lane.lock:
            lane.resend = lane.in_flight is not None
            self._schedule(lane, self._clock())

    @staticmethod
    def _give_room(lane: _Lane) -> None:
        """Wake the threads that wait for room. The caller holds the lane's lock."""
        waiting, lane.waiting = lane.waiting, []
        for wake in waiting:
            wake()


class AttemptStream:
    """Publishes the events of one attempt. Every method may be called from any thread.

    It has no part in the lane of its run before the first event: most attempts emit none.
    """

    __slots__ = (
        "_attempt",
        "_closed",
        "_held",
        "_lane",
        "_node",
        "_pending",
        "_publisher",
        "_refusal",
        "_run",
        "_sent",
        "_source",
        "_step",
        "_task_id",
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
        self._publisher = publisher
        self._run = run
        self._lane: _Lane | None = None
        self._task_id = task_id
        self._attempt = attempt
        self._step = step
        self._node = node
        self._source = ""
        self._pending: list[bytes] = []
        self._sent = 0
        self._held = float("-inf")
        """Until when what is unsent waits."""
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
                        lane.bytes < publisher._max_bytes * factor
                        and lane.events < publisher._max_events * factor
                    ):
                        pending = self._pending
                        if not pending:
                            lane.dirty.append(self)
                        lane.bytes += len(data) + EVENT_OVERHEAD
                        lane.events += 1
                        pending.append(data)
                        if is_whole:
                            now = publisher._clock()
                            if self._held <= now:
                                self._held = now + _LATE
                            lane.has_whole = True
                        if lane.in_flight is None:
                            due = lane.due
                            if due is None or publisher._clock() >= min(due, lane.next_put):
                                taken = publisher._start_put(lane)
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
                publisher._put(lane, taken)
        except BaseException:  # a cancel, or what a signal handler of the node's code raised
            publisher._interrupted(lane)
            raise
        if refusal is not None:
            raise refusal

    def _joined(self) -> _Lane:
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
        lane, publisher = self._lane, self._publisher
        if lane is None:
            return False
        return lane.bytes >= publisher._max_bytes or lane.events >= publisher._max_events

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
            return self._sent + len(self._pending)

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
        much = lane is not None and sum(map(len, self._pending)) > _MUCH
        if lane is not None and much and _get_running_loop() is None:
            self._wait_for_put(lane)
        return self._end(StreamClosed, discard=False, unconfirmed=unconfirmed)

    def _wait_for_put(self, lane: _Lane) -> None:
        """Wait until the next put has taken what is unsent, if that does not depend on readers."""
        room: threading.Lock | None = None
        until = time.monotonic() + _MOMENT
        while self._pending and time.monotonic() < until:
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
            pending, self._pending = self._pending, []
            first = self._sent + 1
            if pending:
                lane.bytes -= sum(map(len, pending)) + EVENT_OVERHEAD * len(pending)
                lane.events -= len(pending)
            lane.dirty = [stream for stream in lane.dirty if stream is not self]
            tail: list[Segment] = []
            if unconfirmed or lane.error is not None:
                tail = [segment for segment in lane.unacked if self._owns(segment)]
            if pending and not discard:
                self._sent += len(pending)
                blob = join_events(pending)
                tail.append(
                    Segment(self._task_id, self._attempt, self._step, first, len(pending), blob)
                )
            self._closed = self._sent, tuple(tail)
            Publisher._give_room(lane)
        with self._publisher._lock:
            lane.open -= 1
            self._publisher._running -= 1
            self._publisher._emitted += self._sent
        self._publisher._drop_if_idle(lane)
        return self._closed

    def _owns(self, segment: Segment) -> bool:
        return segment.task_id == self._task_id and segment.attempt == self._attempt

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
        return attempt_text(self._task_id, self._attempt, self._step, self._node)


def _is_sending(lane: _Lane) -> bool:
    return lane.error is None and (lane.in_flight is not None or bool(lane.dirty))


def _fit(pending: list[bytes], room: int, events: int) -> tuple[int, int]:
    """Return how many events make up ``room`` bytes, the last one in full, and their bytes."""
    count = size = 0
    for data in pending:
        if size >= room or count >= events:
            break
        size += len(data) + EVENT_OVERHEAD
        count += 1
    return count, size


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
