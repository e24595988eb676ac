"""Which worker lease serves which group of attempts. Pure; the clock is an argument.

A worker lease is a task of the cluster that keeps its resources and serves groups of attempts with
the same needs, one after the other. The cluster's scheduler grants leases; ``Leases`` decides when
one is requested, what it serves, and when it ends. A lease ends only on request, and the request is
sent only while it serves nothing: no group can meet a lease that is about to end.

- A free lease takes the group that has waited longest, in turn for each owner (a run). So a fast
  machine serves more groups than a slow one.
- While groups wait, further leases are requested: at once as many as the cluster has room for, and
  after ``PATIENCE`` more, as a sign of demand for clusters that grow. A lease whose code waits for
  results of other groups does not count: it holds no CPU.
- A lease that serves nothing for ``IDLE`` ends. While a request for other needs is not granted, it
  ends at once: it may hold what that request waits for.
- A lease that has served for ``TENURE`` ends behind its group, and a new request queues in the
  cluster's scheduler with those of others.
- Requests in excess of waiting groups are withdrawn after ``SURPLUS``.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

__all__ = (
    "IDLE",
    "PATIENCE",
    "SURPLUS",
    "TENURE",
    "UNSERVED",
    "Action",
    "Drop",
    "End",
    "Fail",
    "Give",
    "Interrupt",
    "Leases",
    "Phase",
    "Request",
    "Withdraw",
)

J = TypeVar("J")

IDLE = 0.1
"""Seconds without a group after which a lease ends. Steps of a run follow each other in
milliseconds; another job of the cluster waits for a CPU that is idle no longer than that."""

TENURE = 1.0
"""Seconds after which a lease ends behind its group although others wait for it. A request of
another job waits no longer; a new request costs 2 to 4 milliseconds, well below a hundredth."""

SHORT_TENURE = 0.05
"""The same while a request for other needs of this session is not granted."""

UNSERVED = 0.003
"""Seconds after which a request counts as not granted: a cluster with room takes about 2."""

PATIENCE = 0.1
"""Seconds for which groups may wait before more leases are requested than there is room for."""

SURPLUS = 1.0
"""Seconds for which there may be more requests than groups that wait. A request that is granted
meanwhile ends by itself; one that waits longer is demand for nobody."""

DEATHS = 3
"""Leases of the same needs that may die one after the other before they serve anything. The next
one fails a group: its death is not a coincidence."""


class Phase(Enum):
    """What a lease does."""

    REQUESTED = "requested"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(eq=False, slots=True)
class _Lease(Generic[J]):
    number: int
    needs: Hashable
    since: float
    """When its phase began."""
    phase: Phase = Phase.REQUESTED
    granted: float = 0.0
    job: J | None = None
    served: int = 0
    lent: bool = False
    """Whether the code of its group only waits for other groups."""
    doomed: bool = False
    """Whether its process is about to be killed."""


class _Waiting(Generic[J]):
    """Groups that wait, in turn for each owner."""

    def __init__(self, since: float) -> None:
        self.since = since
        """When a group was taken last, or the first one came."""
        self._owners: OrderedDict[Hashable, deque[J]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, owner: Hashable, job: J) -> None:
        self._owners.setdefault(owner, deque()).append(job)
        self._count += 1

    def take(self) -> J:
        owner, jobs = next(iter(self._owners.items()))
        job = jobs.popleft()
        self._count -= 1
        if jobs:
            self._owners.move_to_end(owner)
        else:
            del self._owners[owner]
        return job

    def discard(self, owner: Hashable, job: J) -> bool:
        jobs = self._owners.get(owner)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        self._count -= 1
        if not jobs:
            del self._owners[owner]
        return True


# --- what is to be done -------------------------------------------------------------------------


class Request(NamedTuple):
    """Ask the cluster for a lease. ``opened``, ``failed`` or ``lost`` reports what came of it."""

    number: int
    needs: Hashable


class Withdraw(NamedTuple):
    """Take a request back. Where it was granted meanwhile, ``opened`` ends the lease."""

    number: int


class Give(NamedTuple, Generic[J]):
    """Send a group to a lease."""

    number: int
    job: J


class End(NamedTuple):
    """Request the end of a lease."""

    number: int


class Interrupt(NamedTuple, Generic[J]):
    """Interrupt the group that a lease serves, and kill its process if that does not help."""

    number: int
    job: J


class Drop(NamedTuple, Generic[J]):
    """Report a group that was never sent as cancelled."""

    job: J


class Fail(NamedTuple, Generic[J]):
    """Report a group as failed: the lease that it waited for cannot be had, or it died with it."""

    job: J


Action = Request | Withdraw | Give[J] | End | Interrupt[J] | Drop[J] | Fail[J]


class Leases(Generic[J]):
    """The worker leases of a session. Each method returns what is to be done, in order.

    Args:
        most: Requests for the same needs that may be pending at once.
    """

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self._room: dict[Hashable, int] = {}
        """Leases of the same needs that the cluster has room for."""
        self._count: dict[Hashable, int] = {}
        """Leases of the same needs that are requested or hold what they need."""
        self._numbers = itertools.count(1)
        self._leases: dict[int, _Lease[J]] = {}
        self._waiting: dict[Hashable, _Waiting[J]] = {}
        self._requested: dict[Hashable, OrderedDict[int, _Lease[J]]] = {}
        self._idle: dict[Hashable, OrderedDict[int, _Lease[J]]] = {}
        self._surplus: dict[Hashable, float] = {}
        """Needs with more requests than groups that wait, and since when."""
        self._deaths: dict[Hashable, int] = {}
        self._serving: dict[int, tuple[int, Hashable]] = {}
        """Of each group that is served (by ``id``): its lease, and who owns it."""

    # --- groups ---------------------------------------------------------------------------------

    def submit(
        self, needs: Hashable, owner: Hashable, job: J, now: float, room: int = 1
    ) -> list[Action[J]]:
        """Take a group. Owners with waiting groups are served in turn.

        Args:
            needs: What the group needs.
            owner: The run.
            job: The group.
            now: The time.
            room: Leases of these needs that the whole cluster has room for.
        """
        self._room[needs] = room
        if needs not in self._waiting:
            self._waiting[needs] = _Waiting(now)
        self._waiting[needs].add(owner, job)
        return list(self._advance(needs, now))

    def cancel(self, needs: Hashable, owner: Hashable, job: J, now: float) -> list[Action[J]]:
        """Cancel a group. Nothing if it has ended."""
        waiting = self._waiting.get(needs)
        if waiting is not None and waiting.discard(owner, job):
            return [Drop(job), *self._advance(needs, now)]
        lease = self._serves(job)
        return [] if lease is None else [Interrupt(lease, job)]

    def doom(self, job: J) -> int | None:
        """Return the lease that serves a group, whose process may be killed from now on.

        The lease is given no other group. None: the group has ended.
        """
        number = self._serves(job)
        if number is not None:
            self._leases[number].doomed = True
        return number

    def is_busy(self, number: int) -> bool:
        """Whether a lease serves a group."""
        lease = self._leases.get(number)
        return lease is not None and lease.phase is Phase.BUSY

    def _serves(self, job: J) -> int | None:
        found = self._serving.get(id(job))
        return None if found is None else found[0]

    # --- leases ---------------------------------------------------------------------------------

    def opened(self, number: int, now: float) -> list[Action[J]]:
        """A lease was granted, and its process is connected."""
        lease = self._leases.get(number)
        if lease is None or lease.phase is not Phase.REQUESTED:
            return [End(number)]
        self._requested[lease.needs].pop(number, None)
        self._deaths.pop(lease.needs, None)
        lease.granted = now
        if not self._waiting.get(lease.needs) and self._idle.get(lease.needs):
            self._forget(lease)
            return [End(number), *self._advance(lease.needs, now)]
        self._rest(lease, now)
        return list(self._advance(lease.needs, now))

    def done(self, number: int, now: float) -> list[Action[J]]:
        """A lease has served its group."""
        lease = self._leases.get(number)
        if lease is None or lease.phase is not Phase.BUSY:
            return []
        self._serving.pop(id(lease.job), None)
        lease.job = None
        lease.served += 1
        self._lend(lease, False)
        if lease.doomed:
            self._forget(lease)
            return [End(number), *self._advance(lease.needs, now)]
        waiting = self._waiting.get(lease.needs)
        if waiting:
            tenure = SHORT_TENURE if self._starving(lease.needs, now) else TENURE
            if now - lease.granted >= tenure:
                self._forget(lease)
                return [End(number), *self._advance(lease.needs, now)]
        self._rest(lease, now)
        return list(self._advance(lease.needs, now))

    def lend(self, number: int, lent: bool, now: float) -> list[Action[J]]:
        """Note that the code of a lease's group only waits for other groups, or no longer."""
        lease = self._leases.get(number)
        if lease is None or lease.phase is not Phase.BUSY:
            return []
        self._lend(lease, lent)
        return list(self._advance(lease.needs, now))

    def _lend(self, lease: _Lease[J], lent: bool) -> None:
        if lease.lent != lent:
            lease.lent = lent
            self._count[lease.needs] += -1 if lent else 1

    def _forget(self, lease: _Lease[J]) -> None:
        self._lend(lease, False)
        del self._leases[lease.number]
        self._count[lease.needs] -= 1

    def lost(self, number: int, now: float) -> list[Action[J]]:
        """A lease has died, or its request did, by no fault of what it was to serve."""
        lease = self._leases.get(number)
        if lease is None:
            return []
        self._forget(lease)
        if lease.phase is Phase.BUSY:
            assert lease.job is not None
            self._serving.pop(id(lease.job), None)
            return [Fail(lease.job), *self._advance(lease.needs, now)]
        if lease.phase is Phase.IDLE:
            self._idle[lease.needs].pop(number, None)
            return list(self._advance(lease.needs, now))
        self._requested[lease.needs].pop(number, None)
        deaths = self._deaths[lease.needs] = self._deaths.get(lease.needs, 0) + 1
        return self._failed(lease.needs, deaths > DEATHS, now)

    def failed(self, number: int, now: float) -> list[Action[J]]:
        """A request failed, and would again: it fails the group that has waited longest."""
        lease = self._leases.get(number)
        if lease is None:
            return []
        self._forget(lease)
        self._requested[lease.needs].pop(number, None)
        return self._failed(lease.needs, True, now)

    def _failed(self, needs: Hashable, fails: bool, now: float) -> list[Action[J]]:
        waiting = self._waiting.get(needs)
        failing: list[Action[J]] = [Fail(waiting.take())] if fails and waiting else []
        return [*failing, *self._advance(needs, now)]

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action[J]]:
        """Do what is due."""
        actions: list[Action[J]] = []
        for needs, since in list(self._surplus.items()):
            if now - since >= SURPLUS:
                del self._surplus[needs]
                actions += self._withdraw(needs)
        for needs, waiting in list(self._waiting.items()):
            if self._short(needs) and now - waiting.since >= PATIENCE:
                actions += self._advance(needs, now)
        for needs, idle in self._idle.items():
            # the one that was used longest ago is the first
            while idle:
                lease = next(iter(idle.values()))
                if now - lease.since < IDLE and not self._starving(needs, now):
                    break
                del idle[lease.number]
                self._forget(lease)
                actions.append(End(lease.number))
        return actions

    def deadline(self) -> float | None:
        """When ``tick`` has something to do, None for never."""
        times = [since + SURPLUS for since in self._surplus.values()]
        times += [w.since + PATIENCE for needs, w in self._waiting.items() if self._short(needs)]
        heads = [next(iter(idle.values())) for idle in self._idle.values() if idle]
        if heads:
            times.append(min(lease.since for lease in heads) + IDLE)
            for needs, requested in self._requested.items():
                if requested and self._waiting.get(needs) and self._others(needs, heads):
                    times.append(next(iter(requested.values())).since + UNSERVED)
        return min(times, default=None)

    @staticmethod
    def _others(needs: Hashable, heads: list[_Lease[J]]) -> bool:
        return any(lease.needs != needs for lease in heads)

    def _short(self, needs: Hashable) -> bool:
        """Whether fewer leases are requested than groups wait."""
        wanted = min(len(self._waiting.get(needs, ())), self.most)
        return len(self._requested.get(needs, ())) < wanted

    def _starving(self, needs: Hashable, now: float) -> bool:
        """Whether a request for other needs is not granted, for which groups wait."""
        return any(
            requested
            and other != needs
            and self._waiting.get(other)
            and now - next(iter(requested.values())).since >= UNSERVED
            for other, requested in self._requested.items()
        )

    # --- inside ---------------------------------------------------------------------------------

    def _rest(self, lease: _Lease[J], now: float) -> None:
        lease.phase, lease.since = Phase.IDLE, now
        self._idle.setdefault(lease.needs, OrderedDict())[lease.number] = lease

    def _advance(self, needs: Hashable, now: float) -> Iterator[Action[J]]:
        """Serve groups with free leases, and request what is missing."""
        waiting, idle = self._waiting.get(needs), self._idle.get(needs)
        while waiting and idle:
            _, lease = idle.popitem()  # the last one used: the others may end
            job = waiting.take()
            waiting.since = now
            lease.phase, lease.since, lease.job = Phase.BUSY, now, job
            self._serving[id(job)] = lease.number, needs
            yield Give(lease.number, job)
        requested = self._requested.setdefault(needs, OrderedDict())
        late = waiting is not None and now - waiting.since >= PATIENCE
        self._count.setdefault(needs, 0)
        while self._short(needs) and (late or self._count[needs] < self._room.get(needs, 1)):
            lease = _Lease(next(self._numbers), needs, now)
            self._count[needs] += 1
            self._leases[lease.number] = requested[lease.number] = lease
            yield Request(lease.number, needs)
        if len(requested) <= len(waiting or ()):
            self._surplus.pop(needs, None)
        else:
            self._surplus.setdefault(needs, now)
        self._clean(needs)

    def _withdraw(self, needs: Hashable) -> list[Action[J]]:
        requested, waiting = self._requested.get(needs), self._waiting.get(needs)
        actions: list[Action[J]] = []
        while requested and len(requested) > len(waiting or ()):
            number, lease = requested.popitem()
            self._forget(lease)
            actions.append(Withdraw(number))
        self._clean(needs)
        return actions

    def _clean(self, needs: Hashable) -> None:
        for table in (self._waiting, self._requested):
            if needs in table and not table[needs]:
                del table[needs]

    # --- for monitoring -------------------------------------------------------------------------

    def phases(self) -> Iterator[tuple[int, Phase, float, int]]:
        """Yield number, phase, since when, and how many groups were served, of each lease."""
        for lease in self._leases.values():
            yield lease.number, lease.phase, lease.since, lease.served

    @property
    def waiting(self) -> int:
        """Groups that no lease has taken."""
        return sum(map(len, self._waiting.values()))

    def validate(self) -> None:
        """Check the tables against each other.

        Raises:
            AssertionError: They contradict each other.
        """
        for number, lease in self._leases.items():
            assert lease.number == number
            busy = lease.phase is Phase.BUSY
            assert busy == (lease.job is not None)
            assert (number in self._idle.get(lease.needs, ())) == (lease.phase is Phase.IDLE)
            requested = number in self._requested.get(lease.needs, ())
            assert requested == (lease.phase is Phase.REQUESTED)
            if busy:
                assert self._serves(lease.job) == number  # type: ignore[arg-type]
        assert sum(map(len, self._idle.values())) + sum(map(len, self._requested.values())) + len(
            self._serving
        ) == len(self._leases)
        for needs, waiting in self._waiting.items():
            assert len(waiting) > 0
            assert not self._idle.get(needs), "a group waits beside a lease that is idle"
            requested_now = len(self._requested.get(needs, ()))
            count = self._count[needs]
            assert requested_now >= min(len(waiting), self.most) or count >= self._room[needs]
        for needs, count in self._count.items():
            own = [lease for lease in self._leases.values() if lease.needs == needs]
            assert count == sum(not lease.lent for lease in own)
