"""How evenly machines share tasks, in a simulated cluster.

The scheduler of the cluster runs on the first machine, and is like Ray's. It hears of a free CPU of
another machine up to 0.1 s later, and for some seconds of none after a request was withdrawn.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from distgraph.driver.leases import End, Give, Leases, Request, Withdraw

HEARD = 0.1
"""Seconds until the scheduler hears of a free CPU of another machine, at most."""

DEAF = 4.0
"""Seconds behind a request that was withdrawn, in which it hears of none."""

HOSTS = 3


class Cluster:
    """Machines with one CPU each, on which a session runs the same tasks again and again.

    Args:
        seed: Of all that is random.
        grant: Seconds that each message between processes takes, at most.
        times: Of the tasks.
        slowness: How many times as long each machine takes.
        late: Part of the grants that take 0.3 s longer, as the start of a process.
    """

    def __init__(
        self,
        seed: int,
        grant: float,
        times: Sequence[float],
        slowness: Sequence[float] = (1.0,) * HOSTS,
        late: float = 0.0,
    ) -> None:
        self.placed: list[list[int]] = []
        """Tasks of each run on each machine."""
        self.took: list[float] = []
        """Seconds of each run."""
        self._random = random.Random(seed)
        self._grant = grant
        self._times = times
        self._slowness = slowness
        self._late = late
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._leases: Leases[tuple[int, float]] = Leases()
        self._free = [True] * HOSTS
        self._pending: list[int] = []
        self._where: dict[int, int] = {}
        self._left = 0
        self._deaf_until = 0.0
        self._tick_at = math.inf

    def run(self, times: int) -> Cluster:
        for run in range(times):
            begin, self._left = self._now, len(self._times)
            self.placed.append([0] * HOSTS)
            for seconds in self._times:
                job = next(self._numbers), seconds
                self._do(self._leases.submit("n", f"run {run}", job, self._now, HOSTS))
            while self._left:
                self._now, _, act, given = heapq.heappop(self._due)
                act(*given)
            self.took.append(self._now - begin)
            self._now += self._random.uniform(0, 0.02)  # the caller's own work
        return self

    def _after(self, seconds: float, act: Callable[..., object], *given: Any) -> None:
        heapq.heappush(self._due, (self._now + seconds, next(self._numbers), act, given))

    def _message(self, act: Callable[..., object], *given: Any) -> None:
        self._after(self._random.uniform(0.001, self._grant), act, *given)

    def _do(self, actions: Sequence[Any]) -> None:
        for action in actions:
            if isinstance(action, Request):
                self._message(self._requested, action.number)
            elif isinstance(action, Give):
                host = self._where[action.number]
                self.placed[-1][host] += 1
                seconds = action.job[1] * self._slowness[host] * self._random.uniform(1, 1.02)
                self._after(seconds, self._done, action.number)
            elif isinstance(action, End):
                self._message(self._returned, self._where.pop(action.number))
            elif isinstance(action, Withdraw) and action.number in self._pending:
                self._pending.remove(action.number)
                self._deaf_until = self._now + DEAF
        self._leases.validate()  # no lease is idle while a task waits
        deadline = self._leases.deadline()
        if deadline is not None and deadline < self._tick_at:
            self._tick_at = deadline
            self._after(max(0.0, deadline - self._now) + 1e-6, self._tick)

    def _tick(self) -> None:
        self._tick_at = math.inf
        self._do(self._leases.tick(self._now))

    def _requested(self, number: int) -> None:
        self._pending.append(number)
        self._match()

    def _returned(self, host: int) -> None:
        later = max(self._random.uniform(0, HEARD), self._deaf_until - self._now)
        self._after(0.0 if host == 0 else later, self._heard, host)

    def _heard(self, host: int) -> None:
        self._free[host] = True
        self._match()

    def _match(self) -> None:
        while self._pending and any(self._free):
            number, host = self._pending.pop(0), self._free.index(True)
            self._free[host], self._where[number] = False, host
            late = 0.3 if self._random.random() < self._late else 0.0
            self._after(late, self._message, self._opened, number)

    def _opened(self, number: int) -> None:
        self._do(self._leases.opened(number, self._now))

    def _done(self, number: int) -> None:
        self._left -= 1
        self._do(self._leases.done(number, self._now))


def ideal(times: Sequence[float], slowness: Sequence[float]) -> float:
    free = [0.0] * HOSTS
    for seconds in times:
        host = min(range(HOSTS), key=free.__getitem__)
        free[host] += seconds * slowness[host]
    return max(free)


RUNS = 30
SEEDS = range(10)
EQUAL = (1.0, 1.0, 1.0)


def part_of_ideal(cluster: Cluster, times: Sequence[float], slowness: Sequence[float]) -> float:
    return ideal(times, slowness) * RUNS / sum(cluster.took)


@pytest.mark.parametrize("grant", [0.005, 0.02])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 2.0])
def test_equal_machines_get_equal_numbers_of_equal_tasks(seconds: float, grant: float) -> None:
    times = (seconds,) * 12
    for seed in SEEDS:
        cluster = Cluster(seed, grant, times).run(RUNS)
        assert cluster.placed == [[4, 4, 4]] * RUNS, seed
        assert part_of_ideal(cluster, times, EQUAL) > 0.9, seed


@pytest.mark.parametrize(
    ("times", "slowness"),
    [((0.1,) * 28, (1.0, 2.0, 4.0)), ((0.1, 0.3, 0.05, 0.2, 0.1, 0.4, 0.05, 0.1) * 3, EQUAL)],
    ids=["machines", "tasks"],
)
def test_unequal_machines_and_tasks_take_little_longer_than_at_best(
    times: Sequence[float], slowness: Sequence[float]
) -> None:
    for seed in SEEDS:
        cluster = Cluster(seed, 0.02, times, slowness).run(RUNS)
        assert part_of_ideal(cluster, times, slowness) > 0.9, seed


def test_a_machine_whose_leases_come_late_gets_fewer_tasks_and_delays_no_run() -> None:
    """The others take its tasks: a run takes at most one task longer than the part that is late."""
    times = (0.2,) * 12
    for seed in SEEDS:
        cluster = Cluster(seed, 0.02, times, late=0.2).run(RUNS)
        assert max(cluster.took) < 0.8 + 0.2 + 0.3 + 4 * 0.02 + HEARD, seed
