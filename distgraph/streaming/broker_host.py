"""A broker with its lock: calls from many threads, and pushes to those that listen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from distgraph import metrics
from distgraph.concurrency.timers import timers
from distgraph.contract.started_runs import RunState, RunTerms
from distgraph.contract.stream import Batch, Blob, Journal, KeepRun, Op, Segment
from distgraph.streaming.broker import LOOK, Broker
from distgraph.streaming.log import LogStatistics
from distgraph.streaming.transport import Fetched, ReaderKey

Outlet = Callable[[int, list[Fetched]], object]
"""Takes a push and its number; must not wait, and not call the broker."""

FIRST_RUN = 180.0
"""Seconds in which the first run of a host that ends when idle may be announced."""


class BrokerHost:
    """The broker of one session. No call waits.

    Args:
        broker: The rules. Nothing else may use it.
        clock: The time in seconds, monotonic.
        overdue: Called with the runs that are over their time to live.
        forgotten: Called with started runs that are no longer kept.
        idle: Called once nothing has been hosted for ``idle_after`` seconds.
        idle_after: Seconds; None to never call ``idle``.
        follows: Whether another process was the host before, so that callers may repeat what they
            had asked of that one.
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
        follows: bool = False,
    ) -> None:
        self._broker = broker
        self._follows = follows
        self._clock = clock
        self._overdue = overdue
        self._forgotten = forgotten
        self._idle = idle
        self._idle_after = idle_after
        self._begun = clock()
        self._is_sweeping = False
        self._lock = threading.RLock()  # the garbage collector may close a stream at any moment
        self._outlets: dict[str, Outlet] = {}
        """Where what comes for the readers of a caller goes."""
        self._looking = False
        if idle_after is not None or broker.describe_all():
            self._sweep_later()

    def publish(self, run_id: str, segments: Iterable[Segment]) -> float:
        """See ``Broker.publish``."""
        with self._lock:
            pause = self._broker.publish(run_id, segments, self._clock())
            self._wake()
            return pause

    def drive(self, run_id: str, caller: str, batch_no: int, ops: Sequence[Op]) -> float:
        """See ``Broker.drive``."""
        return self.drive_all([Batch(run_id, caller, batch_no, ops)])[0]

    def drive_all(self, batches: Iterable[Batch]) -> list[float]:
        """Accept batches that have come together: what follows from them is pushed together."""
        with self._lock:
            now = self._clock()
            pauses = [self._broker.drive(*batch, now) for batch in batches]
            self._wake()
            return pauses

    def fence(self, run_id: str, task_id: str, attempt: int) -> int:
        """See ``Broker.fence``."""
        with self._lock:
            return self._broker.fence(run_id, task_id, attempt)

    def take_over(self) -> list[Journal]:
        """See ``Broker.take_over``."""
        with self._lock:
            return self._broker.take_over(self._clock())

    def begin_again(self, caller: str, run_id: str, begin: KeepRun) -> Journal | None:
        """See ``Broker.begin_again``."""
        with self._lock:
            return self._broker.begin_again(caller, run_id, begin)

    def terminate(self, caller: str, run_ids: Iterable[str], blob: Blob) -> None:
        """See ``Broker.terminate``."""
        with self._lock:
            self._broker.terminate(caller, run_ids, blob)
            self._wake()

    def listen(
        self,
        caller: str,
        received: int,
        positions: Iterable[tuple[ReaderKey, int]],
        outlet: Outlet,
    ) -> None:
        """Push to ``outlet`` what comes for a caller; see ``Broker.listen``. One outlet at once."""
        with self._lock:
            self._outlets[caller] = outlet
            self._broker.listen(caller, received, self._clock())
            self._broker.consumed(caller, received, positions, self._clock())
            self._wake()
            if not self._looking:
                self._looking = True
                timers().after(LOOK, self._look)

    def unlisten(self, caller: str, outlet: Outlet) -> None:
        """Push nothing more to an outlet, whose connection has ended."""
        with self._lock:
            if self._outlets.get(caller) == outlet:
                del self._outlets[caller]

    def consumed(
        self, caller: str, received: int, positions: Iterable[tuple[ReaderKey, int]]
    ) -> None:
        """See ``Broker.consumed``."""
        with self._lock:
            self._broker.consumed(caller, received, positions, self._clock())
            self._wake()

    def announce(self, run_id: str, terms: RunTerms, begin: KeepRun | None = None) -> None:
        """See ``Broker.announce``."""
        with self._lock:
            known = self._broker.describe(run_id) if self._follows else None
            if known is None or known.status != "pending":
                self._broker.announce(run_id, terms, self._clock(), begin)
            self._sweep_later()

    def end_unbegun(self, run_id: str, blob: Blob) -> None:
        """See ``Broker.end_unbegun``."""
        with self._lock:
            self._broker.end_unbegun(run_id, blob)
            self._wake()

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
            if self._follows and self._broker.has_reader(caller, reader):
                self._broker.leave(caller, [reader], self._clock())
            after = self._broker.open(
                caller, reader, after_seq, self._clock(), lease=lease, only_end=only_end
            )
            self._wake()
            return after

    def leave(
        self, caller: str, readers: Sequence[ReaderKey], *, soon: bool = True, received: int = 0
    ) -> None:
        """See ``Broker.leave``. It is always soon.

        ``received``: number of the last push that has arrived.
        """
        with self._lock:
            if received:
                self._broker.consumed(caller, received, (), self._clock())
            self._broker.leave(caller, readers, self._clock())
            self._wake()

    def leave_all(self, caller: str) -> None:
        """See ``Broker.leave_all``."""
        with self._lock:
            self._broker.leave_all(caller, self._clock())
            self._outlets.pop(caller, None)
            self._wake()

    def statistics(self) -> dict[str, LogStatistics]:
        """See ``Broker.statistics``."""
        with self._lock:
            return self._broker.statistics()

    def present(self) -> list[tuple[metrics.Metric, float]]:
        """See ``Broker.present``."""
        with self._lock:
            return self._broker.present()

    def exclusively(self, call: Callable[[], object]) -> None:
        """Make a call during which the broker does not change."""
        with self._lock:
            call()

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
            is_over = is_idle and now > self._idle_deadline(since or 0.0, self._idle_after or 0.0)
            if not is_over and (since is None or is_idle):
                self._sweep_later()
        if overdue:
            self._overdue(overdue)
        if forgotten:
            self._forgotten(forgotten)
        if is_over:
            self._idle()

    def _idle_deadline(self, since: float, idle_after: float) -> float:
        """Return when a host without runs since ``since`` ends; the first run gets more time."""
        if since < self._begun:
            return self._begun + max(idle_after, FIRST_RUN)
        return since + idle_after

    def _wake(self) -> None:
        """Push what can be pushed now. The caller holds the lock."""
        while woken := self._broker.take_woken():
            for caller in woken:
                self._push(caller)

    def _push(self, caller: str) -> None:
        outlet = self._outlets.get(caller)
        if outlet is not None:
            found = self._broker.take(caller, self._clock())
            if found:
                outlet(self._broker.number_of(caller), found)

    def _look(self) -> None:
        """See what only time changes: those that listen are there, and events may be lost."""
        with self._lock:
            for caller in list(self._outlets):
                self._broker.consumed(caller, 0, (), self._clock())
                self._push(caller)
            self._wake()
            self._looking = bool(self._outlets)
            if self._looking:
                timers().after(LOOK, self._look)
