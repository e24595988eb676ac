"""Termination of cancelled Ray tasks: cancel, cancel again, then kill the worker.

``ray.cancel`` can be lost in a race, and cannot interrupt a blocking C call. A task that does not
end by being asked is killed with its process, so that its CPUs are free again.

The owner of a task does not cancel it by itself: a cancel that meets the task's own end aborts the
owner's process ("Tried to complete task that was not pending", Ray 2.60), and here that would be
the driver with all of its runs. Asked for by another process, it is carried out by the thread that
takes the ends of tasks as well, and cannot meet one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray

from distgraph.concurrency.timers import timers

_AGAIN = 0.1
"""Seconds between two tries to cancel a task."""

_KILL = 1.0
"""Seconds after which a task is killed."""

_GIVE_UP = 30.0
"""Seconds after which a task is no longer cancelled."""


class Reaper:
    """Cancels tasks until they have ended.

    Args:
        other: Handle of an actor whose method ``cancel_tasks`` is ``cancel_tasks`` of this module.
    """

    def __init__(self, other: Any) -> None:
        self._other = other
        self._pending: dict[Any, float] = {}
        """Tasks that are being cancelled, and since when."""

    @property
    def count(self) -> int:
        """Tasks that are being cancelled."""
        return len(self._pending)

    def cancel(self, ref: Any) -> None:
        """Cancel a task, whose process runs nothing else."""
        self._pending[ref] = time.monotonic()
        ref.future().add_done_callback(lambda future: self._pending.pop(ref, None))
        self._send(ref)

    def _send(self, ref: Any) -> None:
        """Ask for a task's end, and again while it has not ended."""
        since = self._pending.get(ref)
        if since is None:
            return
        seconds = time.monotonic() - since
        if seconds > _GIVE_UP:
            self._pending.pop(ref, None)
            return
        force = seconds >= _KILL

        def settle(future: Any) -> None:
            if future.exception() is not None:  # the other is lost, and the tasks are to end
                cancel_tasks([ref], force)

        self._other.cancel_tasks.remote([ref], force).future().add_done_callback(settle)
        timers().after(_AGAIN, lambda: self._send(ref))


def cancel_tasks(refs: Sequence[Any], force: bool) -> None:
    """Ask tasks to end, or with ``force`` kill their processes."""
    for ref in refs:
        try:
            # not recursive: an attempt's own calls go to the broker and the driver, which must live
            ray.cancel(ref, force=force, recursive=False)
        except (ValueError, TypeError):  # a finished one is not found
            continue
