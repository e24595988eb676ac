"""Groups of attempts as Ray tasks of their own, from the driver's view.

The rules are in ``distgraph.driver.single_tasks``. A task asks by the connection for heartbeats
whether it may run its group.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.heartbeats import WorkerHeartbeats
from actors.reaper import Reaper
from distgraph.concurrency.timers import timers
from distgraph.driver.leases import OVERDUE
from distgraph.driver.single_tasks import SingleTasks

__all__ = ("TaskGroup", "TaskHost")

logger = logging.getLogger("distgraph")


@dataclass(eq=False, slots=True)
class TaskGroup:
    """A group of attempts that a Ray task runs."""

    name: str
    """Name of the group, for cancels and time limits."""
    needs: Hashable
    label: str
    """Names the group in messages."""
    start: Callable[[int], Any]
    """Submits a task with a number, and returns its reference."""
    done: Callable[[str, Future[Any] | None], None]
    """Takes Ray's id of the task, and its future; None: the group was cancelled."""
    tasks: dict[int, Any] = field(default_factory=dict)
    """References of tasks that have not ended."""


class TaskHost:
    """Submits tasks of a session.

    Args:
        heartbeats: Of worker processes.
        reaper: Cancels tasks.
    """

    def __init__(self, heartbeats: WorkerHeartbeats, reaper: Reaper) -> None:
        self._heartbeats = heartbeats
        heartbeats.may_run = self._may_run
        self._reaper = reaper
        self._lock = threading.Lock()
        self._rules = SingleTasks()
        self._groups: dict[str, TaskGroup] = {}
        self._tick_at: float | None = None

    def submit(self, group: TaskGroup) -> None:
        """Run a group. Its ``done`` is called once."""
        with self._lock:
            self._groups[group.name] = group
            self._rules.submitted(group.name, group.needs, time.monotonic())
        self._start(group, 1)
        self._tick_later()

    def cancel(self, name: str) -> None:
        """End a group, if it has not ended."""
        with self._lock:
            group = self._groups.get(name)
            if group is None:
                return
            over = self._rules.cancel(name)
            if over:
                del self._groups[name]
            refs = list(group.tasks.values())
        heartbeats = self._heartbeats
        ask, process = partial(heartbeats.cancel, name), partial(heartbeats.doom, name)
        for ref in refs:
            if over:  # it runs nothing any more
                self._reaper.kill(ref, group.label)
            else:
                self._reaper.cancel(ref, ask, group.label, process)
        if over:
            group.done("", None)

    def _start(self, group: TaskGroup, number: int) -> None:
        ref = group.start(number)
        with self._lock:
            group.tasks[number] = ref
            unwanted = group.name not in self._groups
        ref.future().add_done_callback(partial(self._ended, group, number, ref.task_id().hex()))
        if unwanted:
            self._reaper.kill(ref, group.label)

    def _ended(self, group: TaskGroup, number: int, task: str, future: Future[Any]) -> None:
        """A task has ended. Called by a thread of Ray's."""
        with self._lock:
            group.tasks.pop(number, None)
            over = self._rules.ended(group.name, number)
            if over:
                del self._groups[group.name]
        if over:
            self._heartbeats.settle(group.name)
            group.done(task, future)

    def _may_run(self, name: str, number: int) -> bool:
        """Return whether a task may run its group. Called on the thread of the wire."""
        with self._lock:
            may = self._rules.asks(name, number)
            group = self._groups.get(name)
            others = self._rules.others(name, number) if may else []
            refs = [group.tasks[other] for other in others if group and other in group.tasks]
        for ref in refs:  # Ray may wait; the wire must not
            timers().after(0.0, partial(self._reaper.kill, ref, group.label if group else name))
        return may

    # --- time -----------------------------------------------------------------------------------

    def _tick_later(self) -> None:
        with self._lock:
            deadline = self._rules.deadline()
            if deadline is None or (self._tick_at is not None and self._tick_at <= deadline):
                return
            self._tick_at = deadline
        timers().at(deadline, self._tick)

    def _tick(self) -> None:
        with self._lock:
            self._tick_at = None
            again = self._rules.tick(time.monotonic())
            groups = [(self._groups[each.name], each.number) for each in again]
        for group, number in groups:
            logger.warning(
                "%s has waited %.0f s for a worker: no machine has its resources free, or Ray gave "
                "it a process that is stopped. Another worker is requested",
                group.label,
                OVERDUE,
            )
            self._start(group, number)
        self._tick_later()
