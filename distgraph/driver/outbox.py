"""What a driver sends to the log of its run: numbered batches of operations, a few at a time."""

from __future__ import annotations

from collections import deque

from distgraph.contract.calls import CallResult
from distgraph.contract.stream import Op
from distgraph.driver.ports import Acked, EventPlane, Group, Workers
from distgraph.driver.run_storage import RunStorage

__all__ = ("BATCHES_IN_FLIGHT", "Outbox")

BATCHES_IN_FLIGHT = 2
"""Batches of operations that may be in flight at once; later operations gather in one batch."""


class Outbox:
    """Sends operations, and with them what waits for operations to arrive.

    Args:
        events: The connection to the run's log.
        workers: Gets the results of calls.
        storage: Gets to know which batches were sent and have arrived.
        first_batch: Number of the first batch.
    """

    def __init__(
        self, events: EventPlane, workers: Workers, storage: RunStorage, first_batch: int
    ) -> None:
        self._events = events
        self._workers = workers
        self._storage = storage
        self._ops: list[Op] = []
        self._sent = first_batch - 1
        self._in_flight = 0
        """Batches that were not acknowledged. They are acknowledged in their order."""
        self._returns: list[tuple[Group, CallResult]] = []
        self._returns_behind: list[tuple[Group, CallResult]] = []
        """Results that wait for the events of their tasks: those of operations not sent yet."""
        self._returns_of: deque[tuple[int, list[tuple[Group, CallResult]]]] = deque()
        """The same, by the number of the batch with the task's commit."""

    @property
    def last_sent(self) -> int:
        """Number of the last batch that was sent."""
        return self._sent

    @property
    def last_arrived(self) -> int:
        """Number of the last batch that was acknowledged."""
        return self._sent - self._in_flight

    @property
    def is_empty(self) -> bool:
        """Whether no operation waits to be sent, and none is in flight."""
        return not (self._ops or self._in_flight)

    @property
    def minds_acks(self) -> bool:
        """Whether anything waits until the log has a batch."""
        return bool(self._ops or self._returns_of or self._storage.waits)

    def send(self, ops: list[Op], *, at_once: bool) -> Acked | None:
        """Send operations and those that waited, if there may be a further batch in flight.

        Return the acknowledgement if the log gave it already. ``at_once``: the run has ended, and
        its last batch waits for no other.
        """
        self._ops += ops
        if not self._ops or not (at_once or self._in_flight < BATCHES_IN_FLIGHT):
            return None
        ops, self._ops = self._ops, []
        self._sent += 1
        self._in_flight += 1
        self._storage.sent(self._sent)
        if self._returns_behind:
            self._returns_of.append((self._sent, self._returns_behind))
            self._returns_behind = []
        is_full = self._in_flight >= BATCHES_IN_FLIGHT and not at_once
        awaited = is_full or bool(self._returns_of) or self._storage.waits
        return self._events.drive(self._sent, ops, awaited=awaited)

    def acked(self) -> None:
        """Note that the log has the next batch."""
        self._in_flight -= 1
        self._storage.arrived(self.last_arrived)
        while self._returns_of and self._returns_of[0][0] <= self.last_arrived:
            self._returns += self._returns_of.popleft()[1]

    def release_saves(self) -> None:
        """Let saves wait for no further batch: the journal has ended, and no note of it follows."""
        if not self._ops:
            self._storage.sent(self._sent)
            self._storage.arrived(self.last_arrived)

    def add_result(self, group: Group, result: CallResult, *, behind_events: bool) -> None:
        """Take the result of a call. ``behind_events``: it waits for what its task has emitted."""
        returns = self._returns_behind if behind_events else self._returns
        returns.append((group, result))

    def deliver(self) -> None:
        """Hand the results of calls out that wait for nothing."""
        if self._returns:
            returns, self._returns = self._returns, []
            self._workers.deliver(returns)

    def clear(self) -> None:
        """Forget operations that were not sent."""
        self._ops.clear()
