"""A thread that is answered soon looks for the answer again and again before it sleeps.

A core that has slept takes 0.05 ms to wake, and then runs the same code half as fast: its caches
hold other things. Between two processes that answer each other at once, sleep is most of the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from distgraph._internal.settings import setting

__all__ = (
    "BACK_OFF",
    "BUSY",
    "HELD_UP",
    "ROW",
    "BusyPoll",
    "cpus_of_process",
    "cpus_of_quota",
    "window",
)

T = TypeVar("T")

BUSY = 0.0005
"""Seconds for which a thread looks at most. A step of a trivial node takes less on each side."""

ROW = 4
"""Waits in a row that have to be shorter before a thread looks. Two processes that answer each
other reach them at once; what begins and ends a run does not."""

HELD_UP = 0.00004
"""Seconds of one look behind which a thread sleeps: another thread wanted its core, or the
interpreter, meanwhile."""

BACK_OFF = 4, 1024
"""Short waits for which it does not look after that: this many, and twice as many each time that it
is held up again before it has once found something, up to the latter."""

_give_way: Callable[[], None] = getattr(os, "sched_yield", partial(time.sleep, 0))


class BusyPoll:
    """Waits on one thread at a time.

    Args:
        seconds: For which it looks at most; 0 for a wait that always sleeps.
        clock: Seconds.
        give_way: Lets other threads have the core.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.perf_counter,
        give_way: Callable[[], None] = _give_way,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._give_way = give_way
        self._short = 0
        """How many of the last waits were short, ``ROW`` at most. Less than 0: it backs off."""
        self._back_off = BACK_OFF[0]

    def wait(self, look: Callable[[float | None], Sequence[T]], wait: float | None) -> Sequence[T]:
        """Return what ``look`` finds.

        Args:
            look: Returns what is ready, as soon as something is, and nothing after some seconds.
                None: it waits for as long as that takes.
            wait: Seconds after which nothing is returned. None for no bound.
        """
        if not self._seconds or (wait is not None and wait <= 0):
            return look(wait)
        began = self._clock()
        if self._short >= ROW:
            ready = self._poll(look, began, wait)
            if ready:
                self._back_off = BACK_OFF[0]
                return ready
            if wait is not None:
                wait = max(0.0, began + wait - self._clock())
        ready = look(wait)
        is_short = bool(ready) and self._clock() - began < self._seconds
        self._short = min(ROW, self._short + 1) if is_short else min(0, self._short)
        return ready

    def _poll(
        self, look: Callable[[float | None], Sequence[T]], began: float, wait: float | None
    ) -> Sequence[T]:
        until = began + (self._seconds if wait is None else min(self._seconds, wait))
        now = began
        while now < until:
            ready = look(0)
            if ready:
                return ready
            self._give_way()
            was, now = now, self._clock()
            if now - was > HELD_UP:
                self._short = -self._back_off
                self._back_off = min(BACK_OFF[1], 2 * self._back_off)
                break
        return ()


def window() -> float:
    """Return the seconds for which threads of this process look. On one CPU, that would keep those
    from it that they wait for."""
    return setting("DISTGRAPH_BUSY_POLL", BUSY) if cpus_of_process() > 1 else 0.0


def cpus_of_process() -> float:
    """Return how many CPUs this process may use, by its affinity and its container's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")  # macOS has none
    there = float(len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)
    for folder, files in (("", ("cpu.max",)), ("cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us"))):
        with suppress(OSError):
            texts = [Path("/sys/fs/cgroup", folder, file).read_text() for file in files]
            return min(there, cpus_of_quota(" ".join(texts)))
    return there


def cpus_of_quota(text: str) -> float:
    """Return the CPUs of a control group.

    Args:
        text: Its quota and its period, as files of Linux have them. A quota of "max" or -1 is none.
    """
    quota, period = text.split()
    return float("inf") if quota in ("max", "-1") else int(quota) / int(period)
