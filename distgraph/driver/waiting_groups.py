"""The groups of attempts that wait for a lease of the same needs. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ("WaitingGroups",)

J = TypeVar("J")


class WaitingGroups(Generic[J]):
    """Groups that wait, in turn for each owner.

    Args:
        since: When the first of them comes.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        """When a group was taken last, or the first one came."""
        self.begun = since
        """Since when some group waits."""
        self._owners: OrderedDict[Hashable, deque[J]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, owner: Hashable, job: J) -> None:
        """Add a group behind those of its owner."""
        self._owners.setdefault(owner, deque()).append(job)
        self._count += 1

    def take(self) -> J:
        """Take the group whose turn it is. Its owner waits for the others then."""
        owner, jobs = next(iter(self._owners.items()))
        job = jobs.popleft()
        self._count -= 1
        if jobs:
            self._owners.move_to_end(owner)
        else:
            del self._owners[owner]
        return job

    def discard(self, owner: Hashable, job: J) -> bool:
        """Remove a group. Return whether it waited."""
        jobs = self._owners.get(owner)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        self._count -= 1
        if not jobs:
            del self._owners[owner]
        return True
