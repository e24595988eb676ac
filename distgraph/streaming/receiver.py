"""The reader side of a calling process: takes the events of all its runs and distributes them.

The broker pushes. The transport takes that on a thread of its own or, if it can, on the thread of a
reader that waits. An exception can end ``wait`` at any moment: Ctrl-C, or an exception of the
program's signal handlers. No event is lost. Where a connection was lost, the broker pushes events
again, and an inbox drops the events that it already has.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from distgraph._internal.tracebacks import error_for_one
from distgraph.concurrency.timers import timers
from distgraph.concurrency.waiter import Waiter, Wakes
from distgraph.contract.stream import Delivery
from distgraph.errors import BrokerLost
from distgraph.streaming.transport import Fetched, Lead, ReaderKey, Reads

REPORT = 0.02
"""Least seconds between two reports of what readers have consumed, unless publishers may wait."""

RARELY = 0.25
"""The same while readers consume few events."""

FEW = 8
"""Events of one reader that are few."""

# Locks are entered as such, never as a Condition: that runs Python code which a signal can
# interrupt with the lock held. They are reentrant: a stream that is left may be closed by the
# garbage collector, in any thread and at any moment.


class Inbox:
    """The queue of one reader's deliveries. The broker's window limits the size of the queue.

    Args:
        reader: Key of the reader.
        loop: The reader's event loop, None for a reader that is a thread.
    """

    def __init__(self, reader: ReaderKey, loop: asyncio.AbstractEventLoop | None) -> None:
        self.reader = reader
        self.loop = loop
        self._lock = threading.RLock()
        self._waiter = Waiter(threading.Condition(self._lock), loop)
        """Where a coroutine waits."""
        self._wakes: list[Callable[[], None]] = []
        """Each wakes a thread that waits."""
        self._items: list[Delivery] = []
        self._taken = 0
        self._failure: BaseException | None = None

    @property
    def is_used(self) -> bool:
        """Whether anything has come."""
        return bool(self._taken or self._items or self._failure)

    def put(self, deliveries: Sequence[Delivery], together: Wakes | None = None) -> None:
        """Add deliveries; those that have been added before are dropped.

        ``together``: takes the reader, if it is to be woken on its loop.
        """
        with self._lock:
            known = _last(self._items) if self._items else self._taken
            if deliveries[0].seq <= known:
                deliveries = [d for d in deliveries if d.seq + d.segment.count - 1 > known]
            self._items.extend(deliveries)
            self._wake(together)

    def fail(self, error: BaseException, together: Wakes | None = None) -> None:
        """Make taking raise ``error`` once everything that came before was taken; see ``put``."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            self._wake(together)

    def take(self) -> list[Delivery]:
        """Take all deliveries; once none are left, raise the error given to ``fail``."""
        with self._lock:
            return self._take()

    def wait(self, timeout: float | None = None, lead: Lead | None = None) -> None:
        """Wait until there is something to take, for ``timeout`` seconds at most.

        ``lead``: lets the thread receive by itself; then it may return earlier.
        """
        waiter, end = _waiter() if lead is None else lead.waiter()
        with self._lock:
            if self._items or self._failure is not None:
                return
            self._wakes.append(end)
        if lead is not None:
            lead.wait(waiter, timeout)
        else:
            waiter.acquire(timeout=-1 if timeout is None else timeout)

    def _wake(self, together: Wakes | None) -> None:
        """Wake the waiting readers. The caller holds the lock.

        A signal handler may raise within: what is added again wakes them then.
        """
        for wake in self._wakes:
            wake()
        self._wakes = []
        if not self._waiter.is_sync:
            self._waiter.wake(together)

    async def aget(self) -> list[Delivery]:
        """Wait for deliveries without blocking the event loop, and take them all."""
        while True:
            with self._lock:
                if items := self._take():
                    return items
                parked = self._waiter.park()
            await parked.wait()

    def _take(self) -> list[Delivery]:
        items = self._items
        if items:
            self._taken = _last(items)
            self._items = []
        elif self._failure is not None:
            raise self._failure
        return items


def _waiter() -> tuple[threading.Lock, Callable[[], None]]:
    waiter = threading.Lock()
    waiter.acquire()

    def end() -> None:
        with suppress(RuntimeError):  # it has ended before
            waiter.release()

    return waiter, end


def _last(deliveries: Sequence[Delivery]) -> int:
    return deliveries[-1].seq + deliveries[-1].segment.count - 1


class Receiver:
    """All readers of a calling process. Implements ``Sink``.

    Args:
        reads: The transport.
        caller: Name of the calling process.
        lost: Called with the error when the broker is lost, after all readers received the error.
    """

    def __init__(
        self,
        reads: Reads,
        caller: str,
        lost: Callable[[BrokerLost], object],
    ) -> None:
        self._reads = reads
        self._caller = caller
        self._on_lost = lost
        self._lock = threading.RLock()
        self._inboxes: dict[ReaderKey, Inbox] = {}
        self._consumed: dict[ReaderKey, int] = {}
        """Positions that the next report holds, by reader."""
        self._positions: dict[ReaderKey, int] = {}
        """All positions, by reader: a report can be lost with its connection."""
        self._known: dict[ReaderKey, int] = {}
        """What was reported last, by reader."""
        self._reported = float("-inf")
        """When the last report was sent."""
        self._due = float("-inf")
        """Until when a timer sends a report."""
        self._received = 0
        self._stopped: BaseException | None = None
        self._loops: dict[asyncio.AbstractEventLoop, set[ReaderKey]] = {}
        """Readers that wait on event loops, by their loop."""
        reads.listen(caller, self)

    @property
    def readers(self) -> list[ReaderKey]:
        """The open readers."""
        with self._lock:
            return list(self._inboxes)

    def open(self, inbox: Inbox) -> None:
        """Hand out to ``inbox`` what comes for its reader.

        Raises:
            ValueError: The reader is open already.
        """
        with self._lock:
            if self._stopped is not None:
                raise error_for_one(self._stopped)
            if inbox.reader in self._inboxes:
                raise ValueError(f"config['run_id']: run {inbox.reader.run_id} is still going on")
            self._inboxes[inbox.reader] = inbox
            if inbox.loop is not None:
                self._loops.setdefault(inbox.loop, set()).add(inbox.reader)
                self._share()

    def begin(self, reader: ReaderKey, after_seq: int | None, *, only_end: bool) -> int:
        """Open a further reader at the broker, whose inbox is open; see ``Reads.open``."""
        return self._reads.open(self._caller, reader, after_seq, only_end)

    def leave(self, reader: ReaderKey) -> None:
        """Forget a reader, and close it at the broker."""
        self.close(reader)
        if self._stopped is None:
            self._reads.leave(self._caller, [reader])

    def close(self, reader: ReaderKey) -> None:
        """Forget a reader."""
        with self._lock:
            inbox = self._inboxes.pop(reader, None)
            self._consumed.pop(reader, None)
            self._positions.pop(reader, None)
            self._known.pop(reader, None)
            if inbox is not None and inbox.loop is not None:
                waiting = self._loops.get(inbox.loop, set())
                waiting.discard(reader)
                if not waiting:
                    self._loops.pop(inbox.loop, None)
                self._share()

    def _share(self) -> None:
        """Tell on which event loops readers wait. The lock is held."""
        if self._reads.lead is not None:
            self._reads.lead.share(tuple(self._loops))

    def wait(self, inbox: Inbox, timeout: float | None = None) -> None:
        """Wait, in a reader's thread, until there is something for ``inbox``.

        For ``timeout`` seconds at most. It may return earlier.
        """
        inbox.wait(timeout, self._reads.lead)

    def consumed(self, reader: ReaderKey, seq: int, *, at_once: bool) -> None:
        """Note that a reader has consumed up to ``seq``; ``at_once`` where publishers may wait."""
        self._consumed[reader] = self._positions[reader] = seq
        now = time.monotonic()
        wait = RARELY if seq - self._known.get(reader, 0) <= FEW else REPORT
        if at_once or now >= self._reported + wait:
            self._report()
        elif now + wait < self._due or now >= self._due:
            timers().after(wait, self._report)
            self._due = now + wait

    def _report(self) -> None:
        self._reported = time.monotonic()
        with self._lock:
            positions = list(self._consumed.items())
        self._reads.consumed(self._caller, self._received, positions)
        with self._lock:
            for reader, seq in positions:
                if self._consumed.get(reader) == seq:
                    del self._consumed[reader]
                if reader in self._positions:
                    self._known[reader] = seq

    def fail(self, reader: ReaderKey, error: BaseException) -> None:
        """End one reader with an error."""
        inbox = self._inboxes.get(reader)
        if inbox is not None:
            inbox.fail(error)

    def stop(self, error: BaseException) -> None:
        """End all readers with an error, and take nothing more."""
        with self._lock:
            self._stopped = self._stopped or error
            inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            inbox.fail(error_for_one(self._stopped))

    # --- what the broker pushes -----------------------------------------------------------------

    @property
    def received(self) -> int:
        """Number of the last push that was taken."""
        return self._received

    @property
    def positions(self) -> list[tuple[ReaderKey, int]]:
        """Positions of all readers."""
        with self._lock:
            return list(self._positions.items())

    def take(self, number: int, found: Sequence[Fetched]) -> None:
        """Distribute a push."""
        together = Wakes()
        try:
            for reader, deliveries, error in found:
                inbox = self._inboxes.get(reader)
                if inbox is None:
                    continue
                if deliveries:
                    inbox.put(deliveries, together)
                if error is not None:
                    inbox.fail(error, together)
        finally:
            together.wake()
        self._received = max(self._received, number)

    def lost(self, error: BrokerLost) -> None:
        """End all readers: the broker cannot be reached any more."""
        was_stopped = self._stopped is not None
        self.stop(error)
        if not was_stopped:
            self._on_lost(error)
