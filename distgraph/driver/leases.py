"""Which worker lease serves which group of attempts. Pure; the clock is an argument.

A worker lease is a task of the cluster that keeps its resources and serves groups of attempts with
the same needs, one after the other. The cluster's scheduler grants leases; ``Leases`` decides when
one is requested, what it serves, and when it ends. A lease ends only on request, and the request is
sent only while it serves nothing: no group can meet a lease that is about to end.

- A free lease takes the group that has waited longest, in turn for each owner (a run). So a fast
  machine serves more groups than a slow one.
- While groups wait, further leases are requested: at once as many as the cluster has room for, and
  after ``DEMAND`` more, as a sign of demand for clusters that grow. A lease whose code waits for
  results of other groups does not count: it holds no CPU.
- A lease that serves nothing for ``IDLE`` ends, unless the cluster reports that nobody waits for
  resources (``Calm``): then it is kept for some seconds, because a new one costs a run of one step
  more than the step. While a request for other needs is not granted, it ends at once: it may hold
  what that request waits for.
- A lease whose group was cancelled ends behind it.
- A lease that has served for ``TENURE`` ends behind its group, also where no other group waits: the
  steps of a run that follow each other would keep it for hours. A new request queues in the
  cluster's scheduler with those of others.
- A driver whose groups wait, and which holds nothing that could serve them, does not wait that
  long: it asks other drivers of the cluster for a lease. Each of them gives one back, and requests
  no other for ``HELD_BACK``.
- Requests that no group waits for are withdrawn after ``SURPLUS``, and none before: behind the
  cancel of a task, Ray may leave a free machine without work for seconds.
- Leases of a pool, which are costly to set up, follow rules of their own (``LeaseTerms``).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Generic, NamedTuple, TypeVar

from distgraph.driver.calm import LOOK_AFTER, Calm
from distgraph.driver.lease_actions import (
    Action,
    AskOthers,
    Drop,
    End,
    Fail,
    Give,
    Interrupt,
    Late,
    Look,
    Request,
    Withdraw,
)
from distgraph.driver.waiting_groups import WaitingGroups

__all__ = (
    "ASK_AGAIN",
    "DEMAND",
    "HELD_BACK",
    "IDLE",
    "OVERDUE",
    "PATIENCE",
    "SURPLUS",
    "TENURE",
    "UNSERVED",
    "LeaseTerms",
    "Leases",
    "Phase",
)

J = TypeVar("J")

IDLE = 0.1
"""Seconds without a group after which a lease ends, where others may wait for its resources. Steps
of a run follow each other in milliseconds."""

TENURE = 1.0
"""Seconds after which a lease ends behind its group, whatever follows, from its start or from the
last report while it was idle that nobody waits: another job waits no longer. A new request costs 2
to 4 milliseconds, well below a hundredth. On another machine, it costs up to 100: Ray knows late of
a free CPU there."""

SHORT_TENURE = 0.05
"""The same while a request for other needs of this session is not granted."""

UNSERVED = 0.003
"""Seconds after which a request counts as not granted: a cluster with room takes about 2."""

PATIENCE = 0.1
"""Seconds for which groups may wait, of which none is taken, before other drivers are asked."""

DEMAND = 2.0
"""Seconds for which some groups may wait, before more leases are requested than there is room for.
Clusters look for demand every few seconds."""

SURPLUS = 10.0
"""Seconds for which there may be requests while no group waits. A request that is granted meanwhile
ends by itself; one that waits longer is demand for nobody."""

OVERDUE = 30.0
"""Seconds after which a request is repeated, for which groups wait. Ray may have given it to a
process that is stopped, which Ray finds out after 420 s; else no lease of these needs was free."""

MOST_OVERDUE = 2
"""Requests of the same needs that are repeated, at most: on a cluster without room, each is demand
for a group that is asked for already."""

ASK_AGAIN = 1.6
"""Seconds after which other drivers are asked again, at most. Before that, they are asked each time
that groups have waited twice as long."""

HELD_BACK = 0.05
"""Seconds without a new request behind a lease that was given to another driver. Else the cluster
would grant the request with what was given."""

DEATHS = 3
"""Leases of the same needs that may die one after the other before they serve anything. The next
one fails a group: its death is not a coincidence."""


class LeaseTerms(NamedTuple):
    """How many leases of the same needs there are, and how long they are kept."""

    idle: float = IDLE
    """Seconds without a group after which a lease ends. Of a pool, requests in excess of groups
    that wait are withdrawn after the same time: its workers take long to start."""
    yields: float = UNSERVED
    """Seconds for which a request for other needs is not granted, before an idle lease ends."""
    fewest: int = 0
    """Leases that are requested with the first group, and kept while one of them is used."""
    most: int | None = None
    """Most leases. None: as many as there is room for, and more as a sign of demand; each ends
    behind its group in turn."""


TASKS = LeaseTerms()


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
    """From when its tenure counts."""
    job: J | None = None
    served: int = 0
    lent: bool = False
    """Whether the code of its group only waits for other groups."""
    doomed: bool = False
    """Whether it ends behind its group: its process is about to be killed, or another driver waits
    for what it holds."""
    interrupted: bool = False
    """Whether its group was cancelled: who did that wants its resources back."""
    given: bool = False
    """Whether another driver waits for what it holds."""
    overdue: bool = False
    """Whether another request was made in its place. It may still be granted."""


class Leases(Generic[J]):
    """The worker leases of a session. Each method returns what is to be done, in order.

    Args:
        most: Requests for the same needs that may be pending at once.
        keep: Seconds for which an idle lease is kept while nobody waits for resources.
    """

    def __init__(self, most: int = 8, keep: float = 0.0) -> None:
        self.most = most
        self._calm = Calm(keep)
        self._room: dict[Hashable, int] = {}
        """Leases of the same needs that the cluster has room for."""
        self._terms: dict[Hashable, LeaseTerms] = {}
        """Of needs whose leases are kept in another way than those of tasks."""
        self._count: dict[Hashable, int] = {}
        """Leases of the same needs that are requested or hold what they need."""
        self._numbers = itertools.count(1)
        self._leases: dict[int, _Lease[J]] = {}
        self._waiting: dict[Hashable, WaitingGroups[J]] = {}
        self._requested: dict[Hashable, OrderedDict[int, _Lease[J]]] = {}
        self._idle: dict[Hashable, OrderedDict[int, _Lease[J]]] = {}
        self._surplus: dict[Hashable, float] = {}
        """Needs with more requests than groups that wait, and since when."""
        self._held_back: dict[Hashable, float] = {}
        """Needs of a lease that was given to another driver, and until when none follows it."""
        self._ask_from = 0.0
        """When other drivers may be asked again."""
        self._deaths: dict[Hashable, int] = {}
        self._serving: dict[int, tuple[int, Hashable]] = {}
        """Of each group that is served (by ``id``): its lease, and who owns it."""

    # --- groups ---------------------------------------------------------------------------------

    def submit(
        self,
        needs: Hashable,
        owner: Hashable,
        job: J,
        now: float,
        room: int = 1,
        terms: LeaseTerms = TASKS,
    ) -> list[Action[J]]:
        """Take a group. Owners with waiting groups are served in turn.

        Args:
            needs: What the group needs.
            owner: The run.
            job: The group.
            now: The time.
            room: Leases of these needs that the whole cluster has room for.
            terms: How many leases there are, and how long they are kept.
        """
        self._room[needs] = room if terms.most is None else terms.most
        idle = self._idle.get(needs)
        if idle and terms is TASKS:  # then no group waits, and nothing else is missing
            return [self._serve(idle.popitem()[1], job, now)]
        if terms is not TASKS:
            self._terms[needs] = terms
        if needs not in self._waiting:
            self._waiting[needs] = WaitingGroups(now)
        self._waiting[needs].add(owner, job)
        actions = list(self._advance(needs, now))
        while self._count[needs] < terms.fewest:
            actions.append(self._ask(needs, now))
        return actions

    def cancel(self, needs: Hashable, owner: Hashable, job: J, now: float) -> list[Action[J]]:
        """Cancel a group. Nothing if it has ended."""
        waiting = self._waiting.get(needs)
        if waiting is not None and waiting.discard(owner, job):
            return [Drop(job), *self._advance(needs, now)]
        number = self._serves(job)
        if number is None:
            return []
        self._leases[number].interrupted = True
        return [Interrupt(number, job)]

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
        lease.granted, self._ask_from = now, now
        task = self._terms_of(lease.needs).most is None
        if task and not self._waiting.get(lease.needs) and self._idle.get(lease.needs):
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
        was_lent = lease.lent
        self._lend(lease, False)
        if lease.doomed:
            if lease.given:
                self._held_back[lease.needs] = now + HELD_BACK
            self._forget(lease)
            return [End(number), *self._advance(lease.needs, now)]
        if self._terms_of(lease.needs).most is None:
            tenure = SHORT_TENURE if self._starving(lease.needs, now) else TENURE
            if lease.interrupted or now - lease.granted >= tenure:
                self._forget(lease)
                return [End(number), *self._advance(lease.needs, now)]
        self._rest(lease, now)
        if not was_lent and lease.needs not in self._waiting:  # as before it served the group
            return []
        return list(self._advance(lease.needs, now))

    def lend(self, number: int, lent: bool, now: float) -> list[Action[J]]:
        """Note that the code of a lease's group only waits for other groups, or no longer."""
        lease = self._leases.get(number)
        if lease is None or lease.phase is not Phase.BUSY:
            return []
        if self._terms_of(lease.needs).most is not None:
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

    def give_back(self, now: float) -> list[Action[J]]:
        """Give a lease back for another driver, whose groups wait and which has none."""
        for needs, idle in self._idle.items():
            if idle and self._terms_of(needs).most is None:
                _, lease = idle.popitem(last=False)
                self._forget(lease)
                self._held_back[needs] = now + HELD_BACK
                return [End(lease.number)]
        busy = [lease for lease in self._leases.values() if self._can_give(lease)]
        if busy:
            lease = min(busy, key=lambda lease: lease.granted)
            lease.doomed = lease.given = True
        return []

    def _can_give(self, lease: _Lease[J]) -> bool:
        held = lease.phase is Phase.BUSY and not (lease.lent or lease.doomed)
        return held and self._terms_of(lease.needs).most is None

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action[J]]:
        """Do what is due."""
        actions: list[Action[J]] = []
        for needs, since in list(self._surplus.items()):
            if now >= since + self._surplus_of(needs):
                del self._surplus[needs]
                actions += self._withdraw(needs)
        for needs, waiting in list(self._waiting.items()):
            if self._demands_more(needs) and now - waiting.begun >= DEMAND:
                actions += self._advance(needs, now)
        for needs in list(self._waiting):
            while (lease := self._repeatable(needs)) and now >= lease.since + OVERDUE:
                lease.overdue = True
                actions.append(Late(lease.number))
                actions += self._advance(needs, now)
        for needs, until in list(self._held_back.items()):
            if now >= until:
                del self._held_back[needs]
                actions += self._advance(needs, now)
        starving = self._starving_since()
        if starving is not None and now >= max(starving + PATIENCE, self._ask_from):
            self._ask_from = now + min(ASK_AGAIN, now - starving)
            actions.append(AskOthers())
        if self._look_at() <= now:
            self._calm.looks()
            actions.append(Look())
        for needs, idle in self._idle.items():
            while idle and self._end_of(needs, idle) <= now:
                _, lease = idle.popitem(last=False)  # the one that was used longest ago
                self._forget(lease)
                actions.append(End(lease.number))
        return actions

    def may_be_due(self, before: float, now: float) -> bool:
        """Whether ``deadline`` may be before another time. A quick look: in steps that follow each
        other, it is not."""
        if self._waiting or self._surplus or self._held_back or self._terms:
            return True
        soonest = LOOK_AFTER if self._calm.keep else IDLE
        return before > now + soonest or any(self._requested.values())

    def deadline(self) -> float | None:
        """When ``tick`` has something to do, None for never."""
        times = [since + self._surplus_of(needs) for needs, since in self._surplus.items()]
        times += [
            w.begun + DEMAND for needs, w in self._waiting.items() if self._demands_more(needs)
        ]
        times += [self._end_of(needs, idle) for needs, idle in self._idle.items() if idle]
        repeatable = filter(None, map(self._repeatable, self._waiting))
        times += [lease.since + OVERDUE for lease in repeatable]
        times += self._held_back.values()
        times.append(self._look_at())
        starving = self._starving_since()
        times += [] if starving is None else [max(starving + PATIENCE, self._ask_from)]
        return min((time for time in times if time < inf), default=None)

    def looked(self, is_calm: bool, now: float) -> list[Action[J]]:
        """The cluster has reported whether nobody waits for resources."""
        self._calm.looked(is_calm, now)
        if is_calm:
            for idle in self._idle_tasks():
                for lease in idle.values():
                    lease.granted = now
        return self.tick(now)

    def _look_at(self) -> float:
        """Return when to ask the cluster whether anybody waits."""
        times = (next(iter(idle.values())).since for idle in self._idle_tasks())
        return self._calm.look_at(min(times, default=inf))

    def _idle_tasks(self) -> list[OrderedDict[int, _Lease[J]]]:
        """Return the idle leases that are tasks, by their needs."""
        idle = self._idle.items()
        return [each for needs, each in idle if each and self._terms_of(needs).most is None]

    def _starving_since(self) -> float | None:
        """Return since when groups wait while no lease that could serve them is held."""
        times = (
            waiting.since
            for needs, waiting in self._waiting.items()
            if self._count[needs] == len(self._requested.get(needs, ()))
            and self._terms_of(needs).most is None
        )
        return min(times, default=None)

    def _end_of(self, needs: Hashable, idle: OrderedDict[int, _Lease[J]]) -> float:
        """Return when the idle lease that was used longest ago ends."""
        terms = self._terms_of(needs)
        if self._count[needs] > terms.fewest:
            since = next(iter(idle.values())).since
            due = since + terms.idle
            due = self._calm.end_of(since, due) if terms.most is None else due
        elif self._count[needs] > len(idle):
            due = inf
        else:
            due = next(reversed(idle.values())).since + terms.idle
        unserved = self._unserved(needs)
        return due if unserved is None else min(due, unserved + terms.yields)

    def _surplus_of(self, needs: Hashable) -> float:
        """Return for how many seconds there may be requests for nobody."""
        terms = self._terms_of(needs)
        return SURPLUS if terms.most is None else terms.idle

    def _terms_of(self, needs: Hashable) -> LeaseTerms:
        return self._terms.get(needs, TASKS)

    def _demands_more(self, needs: Hashable) -> bool:
        """Whether more leases are to be requested than there is room for."""
        return self._terms_of(needs).most is None and self._short(needs)

    def _short(self, needs: Hashable) -> bool:
        """Whether fewer leases are requested than groups wait."""
        wanted = min(len(self._waiting.get(needs, ())), self.most)
        return len(self._requested.get(needs, ())) - self._overdue(needs) < wanted

    def _overdue(self, needs: Hashable) -> int:
        return sum(lease.overdue for lease in self._requested.get(needs, {}).values())

    def _repeatable(self, needs: Hashable) -> _Lease[J] | None:
        """Return the oldest request that may be repeated. Workers of a pool start for long, and
        are as many as its options say."""
        requested = self._requested.get(needs)
        if (
            not requested
            or self._terms_of(needs).most is not None
            or self._overdue(needs) >= MOST_OVERDUE
        ):
            return None
        return next((lease for lease in requested.values() if not lease.overdue), None)

    def _unserved(self, needs: Hashable) -> float | None:
        """Return since when a request for other needs, for which groups wait, is not granted."""
        times = (
            next(iter(requested.values())).since
            for other, requested in self._requested.items()
            if requested and other != needs and self._waiting.get(other)
        )
        return min(times, default=None)

    def _starving(self, needs: Hashable, now: float) -> bool:
        """Whether a request for other needs is not granted, for which groups wait."""
        since = self._unserved(needs)
        return since is not None and now - since >= UNSERVED

    # --- inside ---------------------------------------------------------------------------------

    def _rest(self, lease: _Lease[J], now: float) -> None:
        lease.phase, lease.since = Phase.IDLE, now
        self._idle.setdefault(lease.needs, OrderedDict())[lease.number] = lease

    def _advance(self, needs: Hashable, now: float) -> Iterator[Action[J]]:
        """Serve groups with free leases, and request what is missing."""
        waiting, idle = self._waiting.get(needs), self._idle.get(needs)
        while waiting and idle:
            waiting.since = now
            _, lease = idle.popitem()  # the last one used: the others may end
            yield self._serve(lease, waiting.take(), now)
        late = waiting is not None and now - waiting.begun >= DEMAND
        unlimited = late and self._terms_of(needs).most is None
        self._count.setdefault(needs, 0)
        room = self._room.get(needs, 1) - (needs in self._held_back)
        while self._short(needs) and (unlimited or self._count[needs] < room):
            yield self._ask(needs, now)
        if self._excess(needs) <= 0:
            self._surplus.pop(needs, None)
        else:
            self._surplus.setdefault(needs, now)
        self._clean(needs)

    def _serve(self, lease: _Lease[J], job: J, now: float) -> Give[J]:
        lease.phase, lease.since, lease.job = Phase.BUSY, now, job
        self._serving[id(job)] = lease.number, lease.needs
        return Give(lease.number, job)

    def _ask(self, needs: Hashable, now: float) -> Request:
        lease: _Lease[J] = _Lease(next(self._numbers), needs, now)
        self._count[needs] += 1
        self._leases[lease.number] = lease
        self._requested.setdefault(needs, OrderedDict())[lease.number] = lease
        return Request(lease.number, needs)

    def _excess(self, needs: Hashable) -> int:
        """Return how many requests are for nobody."""
        waiting = len(self._waiting.get(needs, ()))
        if waiting and self._terms_of(needs).most is None:
            return 0
        unused = len(self._requested.get(needs, ())) - waiting
        return min(unused, self._count[needs] - self._terms_of(needs).fewest)

    def _withdraw(self, needs: Hashable) -> list[Action[J]]:
        actions: list[Action[J]] = []
        while self._excess(needs) > 0:
            number, lease = self._requested[needs].popitem()
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
            room = self._room[needs] - (needs in self._held_back)
            assert requested_now >= min(len(waiting), self.most) or count >= room
        for needs, count in self._count.items():
            own = [lease for lease in self._leases.values() if lease.needs == needs]
            assert count == sum(not lease.lent for lease in own)
            most = self._terms_of(needs).most
            assert most is None or count <= most
