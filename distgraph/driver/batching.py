"""Groups of attempts: which attempts of a superstep a backend sends together. Pure; the clock is an
argument.

A Ray task costs about a millisecond. Attempts of nodes that take far less time share a group;
attempts of slower nodes are sent alone. The first attempts of a wide superstep are sent alone to
measure the node's duration; the other attempts wait for the measurement, at most ``PATIENCE``.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

SHORT = 0.005
"""Seconds below which an attempt is worth batching."""

TARGET = 0.05
"""Seconds that a batch may take: a result waits for its batch at most so long."""

LEAST = 0.0005
"""Seconds that a batch takes at least, as far as there is work: to send a batch and to take its
results in costs half of that."""

LARGEST = 64
"""Attempts of a batch at most: the driver takes results in while workers go on."""

WAVE = 100
"""Attempts that are handed out at once, and a few more: workers begin with them while the driver
packs those that follow."""

LATE = 2 * TARGET
"""Seconds after which a batch gives back what has not begun: no attempt waits for a slow one."""

PATIENCE = 0.02
"""Seconds to wait for the first results of a node never seen before."""

_WEIGHT = 0.3


class Durations:
    """Smoothed durations of the attempts of each node, in seconds. All runs of a driver share
    them."""

    def __init__(self) -> None:
        self._known: dict[Hashable, float] = {}

    def get(self, node: Hashable) -> float | None:
        """Return a node's usual duration, None before the first."""
        return self._known.get(node)

    def note(self, node: Hashable, duration: float, count: int = 1) -> None:
        """Record a measured duration: of one attempt, or the mean of ``count`` that went together.

        Of a group, only the mean says what the next group will take: of many short attempts, one
        may have waited for a core.
        """
        known = self._known.get(node)
        # what is slow counts in full: a group of slow attempts would be the costlier mistake
        if known is None or duration > SHORT:
            self._known[node] = duration
        else:
            self._known[node] = duration + (1 - _WEIGHT) ** count * (known - duration)


@dataclass(slots=True)
class _Queue(Generic[T]):
    waiting: deque[tuple[int, T]] = field(default_factory=deque)
    """Attempts, each with its number in the order of arrival."""
    alone: bool = False
    bound: int | None = None
    scope: tuple[Hashable, int] | None = None
    in_flight: int = 0
    """Groups that have not come back."""
    probing: int = 0
    """Probes whose result is still out."""
    wide: bool = False
    """Whether more attempts have waited than there are slots."""
    since: float = 0.0

    @property
    def full(self) -> bool:
        """Whether the number of groups in flight has reached its bound."""
        return self.bound is not None and self.in_flight >= self.bound

    @property
    def idle(self) -> bool:
        """Whether the queue has no state to keep."""
        counts = self.bound is not None or self.scope is not None
        in_flight = self.in_flight if counts else 0
        return not self.waiting and not self.probing and not in_flight


class Batcher(Generic[T]):
    """Groups the attempts of one run.

    Args:
        durations: What is known of the nodes.
        slots: Attempts that the cluster can run at once.
        bound: ``max_concurrency`` of the run: groups in flight at once. None: no bound.
    """

    def __init__(self, durations: Durations, slots: int, bound: int | None = None) -> None:
        self._durations = durations
        self._slots = max(1, slots)
        self._bound = bound
        self._queues: dict[Hashable, _Queue[T]] = {}
        self._arrivals = itertools.count()
        self._in_flight = 0
        self._in_scope: Counter[Hashable] = Counter()

    def add(
        self,
        node: Hashable,
        items: Sequence[T],
        *,
        alone: bool = False,
        bound: int | None = None,
        scope: tuple[Hashable, int] | None = None,
    ) -> None:
        """Queue attempts of a node that are ready.

        ``alone``: its attempts are never batched. ``bound``: groups of it in flight at once.
        ``scope``: name of the nodes that share a bound, and the bound, where the run has none.
        """
        if not items:
            return
        queue = self._queues.get(node)
        if queue is None:
            queue = self._queues[node] = _Queue()
        queue.alone, queue.bound = alone, bound
        queue.scope = scope if self._bound is None else None
        queue.waiting.extend(zip(self._arrivals, items, strict=False))

    def clear(self) -> None:
        """Drop whatever waits."""
        self._queues.clear()

    def waiting(self) -> list[T]:
        """Return the attempts that have not been sent."""
        return [item for queue in self._queues.values() for _, item in queue.waiting]

    def discard(self, item: T) -> bool:
        """Drop one attempt that waits. Return whether it did."""
        for node, queue in self._queues.items():
            for position, (_, waiting) in enumerate(queue.waiting):
                if waiting == item:
                    del queue.waiting[position]
                    self._forget(node)
                    return True
        return False

    def take(self, now: float, most: int | None = None) -> list[tuple[Hashable, list[T]]]:
        """Return the groups to send now, each with its node, in the order of arrival.

        The order matters under a bound: no node waits for another that is never without work.

        Args:
            now: The time.
            most: Attempts after which no further group is returned; None for no limit.
        """
        groups: list[tuple[Hashable, list[T]]] = []
        heads = [(q.waiting[0][0], node) for node, q in self._queues.items() if q.waiting]
        heapq.heapify(heads)
        left = math.inf if most is None else most
        while heads and not self._full and left > 0:
            _, node = heapq.heappop(heads)
            queue = self._queues[node]
            full = queue.full or self._scope_full(queue)
            size = 0 if full else 1 if queue.alone else self._size(node, queue, now)
            if size == 0:
                continue
            count = min(size, len(queue.waiting))
            left -= count
            groups.append((node, [queue.waiting.popleft()[1] for _ in range(count)]))
            self._in_flight += 1
            queue.in_flight += 1
            if queue.scope is not None:
                self._in_scope[queue.scope[0]] += 1
            if queue.waiting:
                heapq.heappush(heads, (queue.waiting[0][0], node))
            else:
                self._forget(node)
        return groups

    def _forget(self, node: Hashable) -> None:
        """Drop the queue of a node if it is idle."""
        if self._queues[node].idle:
            del self._queues[node]

    @property
    def _full(self) -> bool:
        return self._bound is not None and self._in_flight >= self._bound

    def _scope_full(self, queue: _Queue[T]) -> bool:
        return queue.scope is not None and self._in_scope[queue.scope[0]] >= queue.scope[1]

    def _size(self, node: Hashable, queue: _Queue[T], now: float) -> int:
        """Return the size of the node's next group; 0 to wait for measurements."""
        known = self._durations.get(node)
        waiting = len(queue.waiting)
        if known is None:
            if not queue.probing and waiting <= self._slots:
                return 1
            if queue.probing < self._slots:
                queue.since = now if not queue.probing else queue.since
                queue.probing += 1
                return 1
            return 0 if now < queue.since + PATIENCE else 1
        queue.wide = queue.wide or waiting > self._slots
        if known >= SHORT or not queue.wide:
            return 1
        fair = math.ceil(waiting / (2 * self._slots))
        least = math.ceil(LEAST / known) if known > 0 else 0
        return max(1, min(max(fair, least), LARGEST, int(TARGET / max(known, 1e-6))))

    def ended(self, node: Hashable, durations: Sequence[float]) -> None:
        """Note that a group came back, and what its attempts took (empty where it was lost)."""
        self._in_flight -= 1
        self.measured(node, durations)
        queue = self._queues.get(node)
        if queue is not None:
            queue.probing = max(0, queue.probing - 1)
            queue.in_flight = max(0, queue.in_flight - 1)
            if queue.scope is not None:
                self._in_scope[queue.scope[0]] -= 1
            self._forget(node)

    def measured(self, node: Hashable, durations: Sequence[float]) -> None:
        """Note what attempts took of a group that has not come back."""
        if durations:
            self._durations.note(node, sum(durations) / len(durations), len(durations))

    def lend(self, groups: int) -> None:
        """Count groups out that only wait for calls of their code, or in again where negative."""
        self._in_flight -= groups

    def deadline(self) -> float | None:
        """Return when ``take`` has more to give though nothing came back, None for never."""
        if self._full:
            return None
        waits = [
            q.since + PATIENCE
            for node, q in self._queues.items()
            if q.waiting
            and q.probing
            and not (q.full or self._scope_full(q))
            and self._durations.get(node) is None
        ]
        return min(waits, default=None)
