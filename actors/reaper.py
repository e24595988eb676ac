"""Termination of cancelled Ray tasks: ask the worker, then kill it.

A task is asked to end through a connection of our own. A task that does not end within a second is
killed with its process and all child processes of that. ``ray.cancel(force=True)`` is the only
cancel of Ray's that is used: after ``force=False``, Ray does not obey ``force=True`` while the
node's code holds the interpreter lock.

A process is killed by its number only while it runs the task: behind a task that has run for a
while, the process asks the driver before Ray may give it to another one (``Heartbeat.leave``).

The owner of a task does not cancel it by itself: a cancel that meets the task's own end aborts the
owner's process ("Tried to complete task that was not pending", Ray 2.60), and here that would be
the driver with all of its runs. Asked for by another process, it is carried out by the thread that
takes the ends of tasks as well, and cannot meet one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster import remote
from distgraph.concurrency.timers import timers
from distgraph.driver.heartbeats import Process
from distgraph.worker.children import kill_tree

__all__ = ("GRACE", "QUEUED", "Reaper", "cancel_tasks")

logger = logging.getLogger("distgraph")

GRACE = 1.0
"""Seconds that a task which was asked to end has for that."""

QUEUED = 0.1
"""Seconds after which a task is killed that is not known to have begun: it waits for CPUs."""

_AGAIN = (0.1, 0.2, 0.5, 1.0)
"""Seconds between two tries to kill a task; the last value holds for all later ones."""

_kill_tree: Any = remote(num_cpus=0, max_retries=0)(kill_tree)

_REPORT = 10.0
"""Seconds after which the log reports a task that does not end, and then of each doubling."""


@dataclass(slots=True)
class _Ending:
    """A task that is being cancelled."""

    label: str
    since: float
    ask: Callable[[], bool]
    process: Callable[[], Process | None]
    asked: bool = False
    report: float = _REPORT
    tries: int = 0


class Reaper:
    """Cancels tasks until they have ended.

    Args:
        other: Handle of an actor whose method ``cancel_tasks`` is ``cancel_tasks`` of this module.
    """

    def __init__(self, other: Any) -> None:
        self._other = other
        self._pending: dict[Any, _Ending] = {}

    @property
    def count(self) -> int:
        """Tasks that are being cancelled."""
        return len(self._pending)

    @property
    def stubborn(self) -> list[str]:
        """Tasks that have not ended although their processes were to be killed a while ago."""
        now = time.monotonic()
        return [
            f"{ending.label}: cancelled {now - ending.since:.0f} s ago"
            for ending in list(self._pending.values())
            if now >= ending.since + _REPORT
        ]

    def cancel(
        self,
        ref: Any,
        ask: Callable[[], bool] = lambda: False,
        label: str = "a task",
        process: Callable[[], Process | None] = lambda: None,
    ) -> None:
        """Cancel a task, whose process runs nothing else.

        Args:
            ref: The task.
            ask: Asks the task to end; returns False if it is not known to have begun.
            label: Names the task in messages.
            process: Returns the process that runs the task, None while it is not known. The process
                runs nothing else from then on.
        """
        self._pending[ref] = _Ending(label, time.monotonic(), ask, process)
        ref.future().add_done_callback(lambda future: self._pending.pop(ref, None))
        timers().after(GRACE if ask() else QUEUED, lambda: self._kill(ref))

    def kill(
        self,
        ref: Any,
        label: str = "a task",
        process: Callable[[], Process | None] = lambda: None,
    ) -> None:
        """Kill the process of a task, which was asked to end or waits for a process.

        Args:
            ref: The task.
            label: Names the task in messages.
            process: Returns the process that runs the task, None while it is not known.
        """
        self._pending[ref] = _Ending(label, time.monotonic() - GRACE, lambda: False, process)
        ref.future().add_done_callback(lambda future: self._pending.pop(ref, None))
        self._kill(ref)

    def _kill(self, ref: Any) -> None:
        """Kill the task's process, and again while the task has not ended."""
        ending = self._pending.get(ref)
        if ending is None:
            return
        seconds = time.monotonic() - ending.since
        if seconds < GRACE and not ending.asked and ending.ask():  # it has begun meanwhile
            ending.asked = True
            timers().after(GRACE, lambda: self._kill(ref))
            return
        if seconds >= ending.report:
            ending.report *= 2
            logger.warning(
                "%s was cancelled %.0f s ago and its process has not ended: its machine does not "
                "react. Its CPUs are not free; ray.cancel(force=True) is repeated",
                ending.label,
                seconds,
            )

        def settle(future: Any) -> None:
            if future.exception() is not None:  # the other is lost, and the tasks are to end
                cancel_tasks([ref])

        process = ending.process() if ending.tries == 0 else None
        if process is not None:
            end_process(process)
        self._other.cancel_tasks.remote([ref]).future().add_done_callback(settle)
        pause = _AGAIN[min(ending.tries, len(_AGAIN) - 1)]
        ending.tries += 1
        timers().after(pause, lambda: self._kill(ref))


def end_process(process: Process) -> None:
    """Kill a worker process and its child processes, on whichever machine it runs."""
    if process.place == ray.get_runtime_context().get_node_id():
        kill_tree(process.pid)
        return
    there = NodeAffinitySchedulingStrategy(process.place, soft=False)
    _kill_tree.options(scheduling_strategy=there).remote(process.pid)


def cancel_tasks(refs: Sequence[Any]) -> None:
    """Kill the processes of tasks; tasks that wait for a process never start."""
    for ref in refs:
        try:
            # not recursive: an attempt's own calls go to the broker and the driver, which must live
            ray.cancel(ref, force=True, recursive=False)
        except (ValueError, TypeError):  # a finished one is not found
            continue
