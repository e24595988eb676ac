"""A broker with its lock: calls from many threads, and requests that wait for events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from distgraph.contract.stream import Blob, Op, Segment
from distgraph.streaming.broker import LOOK, Broker
from distgraph.streaming.log import LogStatistics
from distgraph.streaming.transport import Fetch, Fetched, ReaderKey


class BrokerHost:
    """The broker of one session. Only ``fetch`` waits, and only for events of its own caller.

    Args:
        broker: The rules. Nothing else may use it.
        clock: The time in seconds, monotonic.
    """

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._lock = threading.RLock()  # the garbage collector may close a stream at any moment
        self._ready: dict[str, threading.Condition] = {}
        """Wakes the requests of a caller."""

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

    def open(
        self, caller: str, reader: ReaderKey, after_seq: int, lease: float | None = None
    ) -> None:
        """See ``Broker.open``."""
        with self._lock:
            self._broker.open(caller, reader, after_seq, self._clock(), lease=lease)
            self._wake()

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

    def statistics(self) -> dict[str, LogStatistics]:
        """See ``Broker.statistics``."""
        with self._lock:
            return self._broker.statistics()

    def _wake(self) -> None:
        """Wake the requests that can be completed now. The caller holds the lock."""
        for caller in self._broker.take_woken():
            ready = self._ready.get(caller)
            if ready is not None:
                ready.notify_all()
