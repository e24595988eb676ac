"""The reader side of a calling process: fetches the events of all its runs and distributes them.

One request serves all readers of a process. A single synchronous reader sends the request itself,
so that no other thread is in the path of its events. With several readers, or async readers, a
thread of the receiver sends the request.

An exception can end ``wait`` at any moment: Ctrl-C, or an exception of the program's signal
handlers. No event is lost: the next request has a higher number, cancels the abandoned request, and
names the last response that arrived complete. The broker sends later events again, and an inbox
drops the events that it already has.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from distgraph.concurrency.threads import daemon
from distgraph.concurrency.waiter import Waiter
from distgraph.contract.stream import Delivery
from distgraph.errors import BrokerLost, RunError
from distgraph.streaming.transport import Fetch, ReaderKey, Reads

WAIT = 5.0
"""Seconds that one request may wait for events."""

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
        self._lock = threading.RLock()
        self._waiter = Waiter(threading.Condition(self._lock), loop)
        self._items: list[Delivery] = []
        self._taken = 0
        self._failure: BaseException | None = None
        self._kicked = False

    @property
    def is_sync(self) -> bool:
        """Whether the reader is a thread."""
        return self._waiter.is_sync

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries; those that have been added before are dropped."""
        with self._lock:
            known = _last(self._items) if self._items else self._taken
            if deliveries[0].seq <= known:
                deliveries = [d for d in deliveries if d.seq + d.segment.count - 1 > known]
            self._items.extend(deliveries)
            self._waiter.wake()

    def fail(self, error: BaseException) -> None:
        """Make taking raise ``error`` once everything that came before was taken."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            self._waiter.wake()

    def take(self) -> list[Delivery]:
        """Take all deliveries; once none are left, raise the error given to ``fail``."""
        with self._lock:
            return self._take()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until there is something to take, or ``kick`` was called, or ``timeout`` seconds."""
        with self._lock:
            if not self._items and self._failure is None and not self._kicked:
                self._waiter.wait(timeout)
            self._kicked = False

    def kick(self) -> None:
        """Wake a thread that waits, though there may be nothing to take."""
        with self._lock:
            self._kicked = True
            self._waiter.wake()

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


def _last(deliveries: Sequence[Delivery]) -> int:
    return deliveries[-1].seq + deliveries[-1].segment.count - 1


class Receiver:
    """All readers of a calling process.

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
        self._lost = lost
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inboxes: dict[ReaderKey, Inbox] = {}
        self._consumed: dict[ReaderKey, int] = {}
        """Positions that the next request reports, by reader."""
        self._number = 0
        """Number of the last request."""
        self._received = 0
        """Number of the last request whose response was processed."""
        self._leader: int | None = None
        """Thread that sends requests."""
        self._stopped: BaseException | None = None
        daemon(self._listen, "distgraph-stream").start()

    @property
    def readers(self) -> list[ReaderKey]:
        """The open readers."""
        with self._lock:
            return list(self._inboxes)

    @property
    def is_fetching(self) -> bool:
        """Whether a thread of the receiver sends requests."""
        return self._leader is not None

    def open(self, inbox: Inbox) -> None:
        """Hand out to ``inbox`` what comes for its reader.

        Raises:
            ValueError: The reader is open already.
        """
        with self._lock:
            if self._stopped is not None:
                raise self._stopped
            if inbox.reader in self._inboxes:
                raise ValueError(f"config['run_id']: run {inbox.reader.run_id} is still going on")
            self._disown()
            self._inboxes[inbox.reader] = inbox
            self._changed.notify_all()

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
            self._disown()
            self._inboxes.pop(reader, None)
            self._consumed.pop(reader, None)
            self._changed.notify_all()
            others = list(self._inboxes.values())
        for inbox in others:  # the only one left sends the requests itself
            inbox.kick()

    def consumed(self, reader: ReaderKey, seq: int, *, at_once: bool) -> None:
        """Note that a reader has consumed up to ``seq``; ``at_once`` where publishers may wait."""
        if at_once:
            self._reads.acknowledge(self._caller, reader, seq)
        else:
            with self._lock:
                self._consumed[reader] = seq

    def fail(self, reader: ReaderKey, error: BaseException) -> None:
        """End one reader with an error."""
        inbox = self._inboxes.get(reader)
        if inbox is not None:
            inbox.fail(error)

    def stop(self, error: BaseException) -> None:
        """End all readers with an error, and send no more requests."""
        with self._lock:
            self._stopped = self._stopped or error
            self._changed.notify_all()
            inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            inbox.fail(self._stopped)

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until no thread sends requests, for ``seconds`` at most."""
        if self._lock.acquire(timeout=seconds):
            try:
                self._changed.wait_for(lambda: self._leader is None, seconds)
            finally:
                self._lock.release()

    # --- fetching -------------------------------------------------------------------------------

    def wait(self, inbox: Inbox, timeout: float | None = None) -> None:
        """Wait, in a reader's thread, until something may have come for ``inbox``.

        For ``timeout`` seconds at most, and a round trip.
        """
        me = threading.get_ident()
        try:
            with self._lock:
                self._disown()
                if self._leader is None:
                    if self._is_alone():
                        self._leader = me
                    else:  # an interrupted thread may have woken nobody
                        self._changed.notify_all()
            if self._leader == me:
                self._fetch(WAIT if timeout is None else max(0.0, min(WAIT, timeout)))
            else:
                inbox.wait(timeout)
        finally:
            if self._leader == me:
                self._step_down()

    def _is_alone(self) -> bool:
        """Whether the only reader is a thread. The caller holds the lock."""
        return len(self._inboxes) == 1 and next(iter(self._inboxes.values())).is_sync

    def _disown(self) -> None:
        """Release this thread's role as the fetching thread, after an exception ended ``wait``."""
        if self._leader == threading.get_ident():
            self._leader = None

    def _step_down(self) -> None:
        with self._lock:
            self._leader = None
            self._changed.notify_all()
            inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            inbox.kick()

    def _listen(self) -> None:
        """Body of the thread that fetches for several readers, or for async ones."""
        while True:
            with self._lock:
                while not self._inboxes or self._leader is not None or self._is_alone():
                    if self._stopped is not None:
                        return
                    self._changed.wait()
                self._leader = threading.get_ident()
            try:
                if not self._fetch():
                    return
            except SystemExit:  # how Ray ends a thread that waits when it is shut down
                return
            except BaseException as error:
                self.stop(RunError(f"events cannot be fetched: {type(error).__name__}: {error}"))
                raise
            finally:
                self._step_down()

    def _fetch(self, seconds: float = WAIT) -> bool:
        """Send one request and distribute the response. Return False after the last request."""
        if self._stopped is not None:
            self.stop(self._stopped)  # also readers that came later
            return False
        with self._lock:
            self._number += 1
            consumed = tuple(self._consumed.items())
            request = Fetch(self._caller, self._number, self._received, consumed, seconds)
        try:
            answer = self._reads.fetch(request)
        except BrokerLost as error:
            was_stopped = self._stopped is not None
            self.stop(error)
            if not was_stopped:
                self._lost(error)
            return False
        for reader, deliveries, error_of_reader in answer:
            inbox = self._inboxes.get(reader)
            if inbox is None:
                continue
            if deliveries:
                inbox.put(deliveries)
            if error_of_reader is not None:
                inbox.fail(error_of_reader)
        self._received = max(self._received, request.number)
        if consumed:
            with self._lock:
                for reader, seq in consumed:
                    if self._consumed.get(reader) == seq:
                        del self._consumed[reader]
        return True
