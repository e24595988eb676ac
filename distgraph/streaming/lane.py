"""The events of one run on their way from a worker to the broker.

Each run has one *lane* in a process, with at most one put in flight. In an idle lane the thread
that emits sends at once, so no timer or thread switch delays a first token. In a busy lane events
gather until the put is acknowledged, and the next put sends all of them. A whole chat message,
which agents still change when the model has emitted it, waits a moment, and with it what its
attempt emits behind it.

Signals (``KeyboardInterrupt`` when a task is cancelled, or an exception of a signal handler in the
node's code) reach CPython code only after calls and backward jumps. Fields that must change
together are therefore changed by plain statements without a call in between. An interrupted put is
sent again, because the log accepts a segment only once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from distgraph.concurrency.timers import Timers
from distgraph.contract.stream import Segment
from distgraph.errors import BrokerLost, RunError
from distgraph.streaming.codec import join_events
from distgraph.streaming.transport import GONE, Ack, Puts, RunKey

__all__ = ("EVENT_OVERHEAD", "Lane", "Sending", "Unsent")

EVENT_OVERHEAD = 64
"""Bytes that a buffered event counts for besides its pickle."""

_FEW = 64
"""Events that the thread which takes an acknowledgement sends. With more, the thread that emits
does: it has the interpreter, and would have to wait for it otherwise."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How the lanes of a process send.

    Attributes:
        puts: The transport.
        clock: Seconds, monotonic.
        gap: Least time between two puts of a run, in seconds, on average.
        burst: Puts by which a run may be ahead of that.
        max_bytes: What a lane may hold before its emitters wait, and a put may contain.
        max_events: The same in events.
        timers: Sends what has to wait.
        discard: Called with a lane whose run has ended.
        drop_if_idle: Called with a lane that may hold nothing any more.
    """

    puts: Puts
    clock: Callable[[], float]
    gap: float
    burst: int
    max_bytes: int
    max_events: int
    timers: Timers
    discard: Callable[[Lane], None]
    drop_if_idle: Callable[[Lane], None]


class Unsent:
    """The events of an attempt that no put took. The lock of its lane guards the fields."""

    __slots__ = ("attempt", "held", "pending", "sent", "step", "task_id")

    def __init__(self, task_id: str, attempt: int, step: int) -> None:
        self.task_id = task_id
        self.attempt = attempt
        self.step = step
        self.pending: list[bytes] = []
        self.sent = 0
        """Events that puts took."""
        self.held = float("-inf")
        """Until when what is unsent waits."""


_Taken = tuple[Unsent, int, list[bytes]]


class Lane:
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
        "sending",
        "unacked",
        "waiting",
    )

    def __init__(self, run: RunKey, sending: Sending) -> None:
        self.run = run
        self.sending = sending
        self.lock = threading.Lock()
        self.waiting: list[Callable[[], object]] = []
        self.dirty: list[Unsent] = []
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

    @property
    def is_sending(self) -> bool:
        """Whether something is on its way, or will be."""
        return self.error is None and (self.in_flight is not None or bool(self.dirty))

    def _send_due(self) -> None:
        """Send what has gathered: called by the timers, and behind an acknowledgement."""
        with self.lock:
            self.due = None
            taken = self.start_put()
        if taken is not None:
            try:
                self.put(taken)
            except Exception as error:  # no code of a node runs in this thread
                self._lost(error)

    def _schedule(self, when: float) -> None:
        """Send what gathers until then. The lock is held."""
        if self.due is None or when < self.due:
            self.sending.timers.at(when, self._send_due)
            self.due = when

    def start_put(self) -> list[_Taken] | None:
        """Take the events for the next put if a put may start. The caller holds the lock."""
        if self.error is not None:
            return None
        if self.in_flight is not None:
            if not self.resend:
                return None
            self.resend = False
            return self.in_flight
        if not self.dirty:
            return None
        now = self.sending.clock()
        if now < self.next_put:
            self._schedule(self.next_put)
            return None
        ready = self.dirty
        if self.has_whole and not self.paused:
            ready = [stream for stream in self.dirty if stream.held <= now]
            if len(ready) == len(self.dirty):
                ready = self.dirty
                self.has_whole = False
            else:
                self._schedule(min(s.held for s in self.dirty if s.held > now))
            if not ready:
                return None
        taken: list[_Taken] = []
        self.in_flight = taken
        self.pace = max(now, self.pace) + self.sending.gap
        if self.paused:
            return taken
        if ready is not self.dirty or (
            self.bytes > self.sending.max_bytes or self.events > self.sending.max_events
        ):
            self._take_some(ready, taken)
            self.give_room()
            return taken
        for stream in self.dirty:
            pending = stream.pending
            sent = stream.sent + len(pending)
            if sent > stream.sent:
                taken += [(stream, stream.sent + 1, pending)]
                stream.pending = []
                stream.sent = sent
        self.dirty = []
        self.bytes = self.events = 0
        self.give_room()
        return taken

    def _take_some(self, ready: list[Unsent], taken: list[_Taken]) -> None:
        """Take what one put may hold of what need not wait: what is on its way has copies. The
        lock is held."""
        room, events = self.sending.max_bytes, self.sending.max_events
        for stream in ready:
            if room <= 0 or events <= 0:
                break
            pending = stream.pending
            count, size = _fit(pending, room, events)
            some, rest = pending[:count], pending[count:]
            dirty = self.dirty
            if not rest:
                first = dirty[0] is stream
                dirty = dirty[1:] if first else [other for other in dirty if other is not stream]
            if some:
                room -= size
                events -= count
                taken += [(stream, stream.sent + 1, some)]
                stream.pending = rest
                stream.sent += count
                self.bytes -= size
                self.events -= count
            self.dirty = dirty

    def put(self, taken: list[_Taken]) -> None:
        """Send what ``start_put`` took. No lock is held."""
        try:
            segments = [
                Segment(s.task_id, s.attempt, s.step, first, len(packed), join_events(packed))
                for s, first, packed in taken
            ]
            self.unacked = segments
            ack = self.sending.puts.put(self.run, segments)
            if isinstance(ack, (int, float)):
                self._acked(taken, ack)
            else:
                ack.add_done_callback(lambda future: self._settled(taken, future))
        except BrokerLost as error:
            self._lost(error)
        except BaseException:  # of this thread, such as a cancel, or a signal handler of the node
            self.interrupted()
            raise

    def _settled(self, taken: list[_Taken], ack: Ack) -> None:
        try:
            error = ack.exception()
            if error is None:
                self._acked(taken, ack.result())
            else:
                self._lost(error)
        except BaseException:
            self.interrupted()
            raise

    def _acked(self, taken: list[_Taken], pause: float) -> None:
        if pause == GONE:
            self.sending.discard(self)
            return
        with self.lock:
            if self.in_flight is not taken:
                return
            self.in_flight = None
            self.resend = False
            self.unacked = []
            self.paused = pause > 0
            now = self.sending.clock()
            if self.paused:
                self.next_put = now + pause
            else:
                self.next_put = self.pace - self.sending.burst * self.sending.gap
            is_due = bool(self.dirty) and self.next_put <= now and self.events <= _FEW
            if self.dirty and not is_due:
                self._schedule(self.next_put)
        if is_due:
            self._send_due()
        self.sending.drop_if_idle(self)

    def _lost(self, cause: BaseException) -> None:
        error = BrokerLost(
            f"the events of run {self.run.run_id} can no longer be sent "
            f"({type(cause).__name__}: {cause})"
        )
        error.__cause__ = cause
        self.refuse(error)

    def refuse(self, error: RunError) -> None:
        """Take no more events, and raise ``error`` where one is emitted."""
        with self.lock:
            if self.error is None:
                self.error = error
            self.give_room()
        self.sending.drop_if_idle(self)

    def interrupted(self) -> None:
        """Send again what a thread had taken that was interrupted; the log ignores a repeat."""
        with self.lock:
            self.resend = self.in_flight is not None
            self._schedule(self.sending.clock())

    def give_room(self) -> None:
        """Wake the threads that wait for room. The caller holds the lock."""
        waiting, self.waiting = self.waiting, []
        for wake in waiting:
            wake()


def _fit(pending: list[bytes], room: int, events: int) -> tuple[int, int]:
    """Return how many events make up ``room`` bytes, the last one in full, and their bytes."""
    count = size = 0
    for data in pending:
        if size >= room or count >= events:
            break
        size += len(data) + EVENT_OVERHEAD
        count += 1
    return count, size
