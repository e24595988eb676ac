"""Groups of attempts that are tasks of their own: which task may run a group, and when another task
is submitted for it. Pure; the clock is an argument.

A task asks before it runs anything of its group, and the first one that asks may. So a task that
begins late, after another one was submitted in its place, runs nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from distgraph.driver.leases import MOST_OVERDUE, OVERDUE

__all__ = ("Again", "SingleTasks")


class Again(NamedTuple):
    """Submit another task for a group, none of whose tasks has begun."""

    name: str
    number: int


@dataclass(slots=True)
class _Group:
    needs: Hashable
    since: float
    """When its last task was submitted."""
    last: int = 1
    """Number of that task."""
    tasks: set[int] = field(default_factory=lambda: {1})
    """Tasks that have not ended."""
    may: int | None = None
    """The task that runs the group."""


class SingleTasks:
    """The groups of a session that are tasks of their own, by name."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._waiting: dict[Hashable, dict[str, _Group]] = {}
        """Groups that nothing runs, by what they need, the oldest ones first."""

    def submitted(self, name: str, needs: Hashable, now: float) -> None:
        """Note that task 1 of a group was submitted."""
        group = self._groups[name] = _Group(needs, now)
        self._waiting.setdefault(needs, {})[name] = group

    def asks(self, name: str, number: int) -> bool:
        """Return whether a task may run its group. It may ask again."""
        group = self._groups.get(name)
        if group is None or group.may not in (None, number):
            return False
        group.may = number
        self._begun(name, group)
        return True

    def others(self, name: str, number: int) -> list[int]:
        """Return the tasks of a group that are for nobody, as another one runs it."""
        group = self._groups.get(name)
        return [] if group is None else sorted(group.tasks - {number})

    def ended(self, name: str, number: int) -> bool:
        """Note the end of a task. Return whether the group has ended with it."""
        group = self._groups.get(name)
        if group is None:
            return False
        group.tasks.discard(number)
        if group.may != number and (group.may is not None or group.tasks):
            return False
        self._forget(name, group)
        return True

    def cancel(self, name: str) -> bool:
        """Cancel a group. Return whether it has ended: nothing runs it, and nothing will."""
        group = self._groups.get(name)
        if group is None or group.may is not None:
            return False
        self._forget(name, group)
        return True

    def tick(self, now: float) -> list[Again]:
        """Return the groups for which another task is due."""
        found = []
        for waiting in self._waiting.values():
            while (due := self._next(waiting)) is not None and now >= due[1].since + OVERDUE:
                name, group = due
                group.last += 1
                group.since = now
                group.tasks.add(group.last)
                found.append(Again(name, group.last))
        return found

    def deadline(self) -> float | None:
        """Return when ``tick`` has something to do, None for never."""
        due = [self._next(waiting) for waiting in self._waiting.values()]
        return min((found[1].since + OVERDUE for found in due if found), default=None)

    def _next(self, waiting: dict[str, _Group]) -> tuple[str, _Group] | None:
        """Return the oldest group that may get another task. Tasks that wait because the cluster
        has no room are demand for a group that is asked for already, so that there are few."""
        if sum(group.last - 1 for group in waiting.values()) >= MOST_OVERDUE:
            return None
        return min(waiting.items(), key=lambda item: item[1].since, default=None)

    def _begun(self, name: str, group: _Group) -> None:
        waiting = self._waiting.get(group.needs, {})
        waiting.pop(name, None)
        if not waiting:
            self._waiting.pop(group.needs, None)

    def _forget(self, name: str, group: _Group) -> None:
        self._begun(name, group)
        del self._groups[name]
