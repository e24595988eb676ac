"""The child processes that a node's code has started, by ``/proc``: on Linux only."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ("descendants", "kill", "kill_tree")


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, parents first. Empty where there is no ``/proc``."""
    found: list[int] = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


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
