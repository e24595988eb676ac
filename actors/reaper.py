"""Ends cancelled Ray tasks for certain: asks, asks again, then kills the worker.

``ray.cancel`` can be lost in a race, and cannot interrupt a blocking C call. A task that does not
end by being asked is killed with its process, so that its CPUs are free again.

The owner of a task does not cancel it by itself: a cancel that meets the task's own end aborts the
owner's process ("Tried to complete task that was not pending", Ray 2.60), and here that would be
the driver with all of its runs. Asked for by another process, it is carried out by the thread that
takes the ends of tasks as well, and cannot meet one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

_AGAIN = 0.1
_KILL = 1.0
"""Seconds after which a task is killed."""
_GIVE_UP = 30.0


@dataclass(eq=False)
class _Entry:
    ref: Any
    since: float
    next: float


class Reaper:
    """Cancels tasks until they have ended. One thread, which ends when there is nothing to do.

    Args:
        other: Handle of an actor whose method ``cancel_tasks`` is ``cancel_tasks`` of this module.
    """

    def __init__(self, other: Any) -> None:
        self._other = other
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []
        self._running = False

    @property
    def count(self) -> int:
        """Tasks that are being cancelled."""
        return len(self._entries)

    def cancel(self, ref: Any) -> None:
        """Cancel a task, whose process runs nothing else."""
        self._ask(ref, force=False)
        now = time.monotonic()
        with self._lock:
            self._entries.append(_Entry(ref, now, now + _AGAIN))
            start = not self._running
            self._running = True
        if start:
            threading.Thread(target=self._serve, name="distgraph-reaper", daemon=True).start()

    def _serve(self) -> None:
        while True:
            time.sleep(_AGAIN / 2)
            now = time.monotonic()
            with self._lock:
                entries = list(self._entries)
            for entry in entries:
                if self._ended(entry, now):
                    with self._lock:
                        self._entries.remove(entry)
            with self._lock:
                if not self._entries:
                    self._running = False
                    return

    def _ended(self, entry: _Entry, now: float) -> bool:
        done, _ = ray.wait([entry.ref], timeout=0, fetch_local=False)
        if done or now > entry.since + _GIVE_UP:
            return True
        if now >= entry.next:
            entry.next = now + _AGAIN
            self._ask(entry.ref, force=now >= entry.since + _KILL)
        return False

    def _ask(self, ref: Any, *, force: bool) -> None:
        def settle(future: Any) -> None:
            if future.exception() is not None:  # it is lost, and the tasks are to end
                cancel_tasks([ref], force)

        self._other.cancel_tasks.remote([ref], force).future().add_done_callback(settle)


def cancel_tasks(refs: Sequence[Any], force: bool) -> None:
    """Ask tasks to end, or with ``force`` kill their processes."""
    for ref in refs:
        try:
            # not recursive: an attempt's own calls go to the broker and the driver, which must live
            ray.cancel(ref, force=force, recursive=False)
        except (ValueError, TypeError):  # a finished one is not found
            continue
