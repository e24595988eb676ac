"""The child processes that a node's code has started, by ``/proc``: on Linux only."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

__all__ = (
    "descendants",
    "kill",
    "kill_tree",
    "marked",
    "now_since_boot",
    "same",
    "started_since",
)


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, parents first. Empty where there is no ``/proc``."""
    found: list[int] = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def now_since_boot() -> float:
    """Return the seconds since the machine was started; 0.0 where that is not known."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock)


def started_since(pids: list[int], begin: float) -> list[int]:
    """Return the processes that were started at or after a time, as ``now_since_boot`` returns it.

    The system keeps hundredths of a second.
    """
    ticks = int(begin * os.sysconf("SC_CLK_TCK"))
    return [pid for pid in pids if (started := _started(pid)) is not None and started >= ticks]


def marked(pids: list[int]) -> list[tuple[int, int]]:
    """Return processes that exist, each with a mark that no later process of its number has."""
    return [(pid, started) for pid in pids if (started := _started(pid)) is not None]


def same(marks: list[tuple[int, int]]) -> list[int]:
    """Return the processes that were marked and still exist."""
    return [pid for pid, started in marks if _started(pid) == started]


def _started(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def kill(pids: list[int]) -> None:
    """Kill processes that have not ended."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Kill a process and all processes below it. A child cannot get away meanwhile."""
    with suppress(OSError):
        os.kill(pid, signal.SIGSTOP)  # it starts no more
    kill([*descendants(pid), pid])


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found
