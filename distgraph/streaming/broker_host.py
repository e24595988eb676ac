"""A broker with its lock: calls from many threads, and requests that wait for events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from distgraph.concurrency.timers import timers
from distgraph.contract.started import RunState, RunTerms
from distgraph.contract.stream import Blob, Op, Segment
from distgraph.streaming.broker import LOOK, Broker
from distgraph.streaming.log import LogStatistics
from distgraph.streaming.transport import Fetch, Fetched, ReaderKey


class BrokerHost:
    """The broker of one session. Only ``fetch`` waits, and only for events of its own caller.

    Args:
        broker: The rules. Nothing else may use it.
        clock: The time in seconds, monotonic.
        overdue: Called with the runs that are over their time to live.
        forgotten: Called with started runs that are no longer kept.
        idle: Called once nothing has been hosted for ``idle_after`` seconds.
        idle_after: Seconds; None to never call ``idle``.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Callable[[], float] = time.monotonic,
        *,
        overdue: Callable[[list[str]], object] = lambda run_ids: None,
        forgotten: Callable[[list[str]], object] = lambda run_ids: None,
        idle: Callable[[], object] = lambda: None,
        idle_after: float | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._overdue = overdue
        self._forgotten = forgotten
        self._idle = idle
        self._idle_after = idle_after
        self._begun = clock()
        self._is_sweeping = False
        self._lock = threading.RLock()  # the garbage collector may close a stream at any moment
        self._ready: dict[str, threading.Condition] = {}
        """Wakes the requests of a caller."""
        if idle_after is not None:
            self._sweep_later()

    def publish(self, run_id: str, segments: Iterable[Segment]) -> float:
        """See ``Broker.publish``."""
        with self._lock:
            pause = self._broker.publish(run_id, segments, self._clock())
            self._wake()
            return pause

    def drive(self, run_id: str, caller: str, batch_no: int, ops: Sequence[Op]) -> float:
        """See ``Broker.drive``."""
        with self._lock:
            pause = self._broker.drive(run_id, caller, batch_no, ops, self._clock())
            self._wake()
            return pause

    def fence(self, run_id: str, task_id: str, attempt: int) -> int:
        """See ``Broker.fence``."""
        with self._lock:
            return self._broker.fence(run_id, task_id, attempt)

    def terminate(self, caller: str, run_ids: Iterable[str], blob: Blob) -> None:
        """See ``Broker.terminate``."""
        with self._lock:
            self._broker.terminate(caller, run_ids, blob)
            self._wake()

    def fetch(self, request: Fetch) -> list[Fetched]:
        """Wait until readers of the caller have events, and return them.

        The result is empty after ``request.wait`` seconds, or after a newer request.
        """
        deadline = self._clock() + request.wait
        with self._lock:
            broker, caller = self._broker, request.caller
            ready = self._ready.get(caller)
            if ready is None:
                ready = self._ready[caller] = threading.Condition(self._lock)
            turn = broker.begin_fetch(request, self._clock())
            self._wake()
            while turn is not None:
                found = broker.take(caller, turn, now := self._clock())
                self._wake()
                if found or found is None or now >= deadline:
                    return found or []
                ready.wait(min(deadline - now, LOOK))
            return []

    def announce(self, run_id: str, terms: RunTerms) -> None:
        """See ``Broker.announce``."""
        with self._lock:
            self._broker.announce(run_id, terms, self._clock())
            self._sweep_later()

    def withdraw(self, run_id: str) -> None:
        """See ``Broker.withdraw``."""
        with self._lock:
            self._broker.withdraw(run_id, self._clock())
            self._wake()

    def describe(self, run_id: str) -> RunState | None:
        """See ``Broker.describe``."""
        with self._lock:
            return self._broker.describe(run_id)

    def face(self, run_id: str) -> bytes | None:
        """See ``Broker.face``."""
        with self._lock:
            return self._broker.face(run_id)

    def describe_all(self) -> list[RunState]:
        """See ``Broker.describe_all``."""
        with self._lock:
            return self._broker.describe_all()

    def open(
        self,
        caller: str,
        reader: ReaderKey,
        after_seq: int | None,
        only_end: bool = False,
        lease: float | None = None,
    ) -> int:
        """See ``Broker.open``."""
        with self._lock:
            after = self._broker.open(
                caller, reader, after_seq, self._clock(), lease=lease, only_end=only_end
            )
            self._wake()
            return after

    def acknowledge(self, caller: str, reader: ReaderKey, seq: int) -> None:
        """See ``Broker.acknowledge``."""
        with self._lock:
            self._broker.acknowledge(caller, reader, seq, self._clock())
            self._wake()

    def leave(self, caller: str, readers: Sequence[ReaderKey]) -> None:
        """See ``Broker.leave``."""
        with self._lock:
            self._broker.leave(caller, readers, self._clock())
            self._wake()

    def leave_all(self, caller: str) -> None:
        """See ``Broker.leave_all``."""
        with self._lock:
            self._broker.leave_all(caller, self._clock())
            self._ready.pop(caller, None)
            self._wake()

    def statistics(self) -> dict[str, LogStatistics]:
        """See ``Broker.statistics``."""
        with self._lock:
            return self._broker.statistics()

    def _sweep_later(self) -> None:
        """Sweep in a while, as long as there are started runs. The caller holds the lock."""
        if not self._is_sweeping:
            self._is_sweeping = True
            timers().after(LOOK, self._sweep)

    def _sweep(self) -> None:
        with self._lock:
            self._is_sweeping = False
            now = self._clock()
            overdue = self._broker.sweep(now)
            forgotten = self._broker.take_forgotten()
            self._wake()
            since = self._broker.idle_since()
            is_idle = since is not None and self._idle_after is not None
            is_over = is_idle and now > max(since or 0.0, self._begun) + (self._idle_after or 0.0)
            if not is_over and (since is None or is_idle):
                self._sweep_later()
        if overdue:
            self._overdue(overdue)
        if forgotten:
            self._forgotten(forgotten)
        if is_over:
            self._idle()

    def _wake(self) -> None:
        """Wake the requests that can be completed now. The caller holds the lock."""
        for caller in self._broker.take_woken():
            ready = self._ready.get(caller)
            if ready is not None:
                ready.notify_all()
