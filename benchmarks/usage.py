"""CPU time and memory of this process, and of all processes below it: those of a local Ray.

Read from Linux's ``/proc``; elsewhere nothing is measured. Nothing is sampled while a contender
runs: the system itself counts CPU time, and keeps the peak of each process's memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_PROC = Path("/proc")
_RESET_PEAK = "5"
_PPID, _UTIME, _CSTIME = 1, 11, 15
"""Fields of ``/proc/PID/stat`` behind the name: parent; user time, …, system time of children."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes have used."""

    cpu: float
    """Seconds, by all processes that still exist and the children that they waited for."""
    memory: float
    """Megabytes: the sum of the peaks of resident memory. Shared pages count in each process."""


def _stat(pid: int) -> list[str] | None:
    with suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return None


def tree(root: int) -> list[int]:
    """Return the ids of a process and of all processes below it."""
    children: dict[int, list[int]] = {}
    with suppress(OSError):
        for entry in _PROC.iterdir():
            if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
                children.setdefault(int(stat[_PPID]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and of the children that it waited for."""
    stat = _stat(pid)
    return 0.0 if stat is None else sum(map(int, stat[_UTIME:_CSTIME])) / _TICKS


@dataclass(frozen=True, slots=True)
class Clock:
    """CPU seconds of a process."""

    whole: float
    """With those of threads and children that have ended, in the ticks of the system: 10 ms."""
    threads: Mapping[int, float]
    """Those of each thread, to a nanosecond."""

    def since(self, before: Clock) -> float:
        """Return the seconds since then: exact, as long as no thread has ended meanwhile."""
        exact = sum(cpu - before.threads.get(thread, 0.0) for thread, cpu in self.threads.items())
        return max(0.0, exact, self.whole - before.whole - 1 / _TICKS)


def _clock(pid: int) -> Clock:
    threads = {}
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with suppress(OSError):
                threads[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return Clock(cpu_of(pid), threads)


def _peak(pid: int) -> float:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


T = TypeVar("T")


def measured(run: Callable[[], T], *, alone: bool) -> tuple[T, Usage | None]:
    """Call ``run``. Return its result, and what was used meanwhile, None where that is not known.

    Args:
        run: What is measured.
        alone: Whether only this process counts.
    """
    if not _PROC.is_dir():
        return run(), None
    me = os.getpid()
    pids = [me] if alone else tree(me)
    for pid in pids:
        with suppress(OSError):
            (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)
    before = {pid: _clock(pid) for pid in reversed(pids)}  # this process last: looking takes time
    result = run()
    now = {me: _clock(me)}
    pids = [me] if alone else tree(me)
    now |= {pid: _clock(pid) for pid in pids[1:]}
    cpu = sum(clock.since(before.get(pid, Clock(0.0, {}))) for pid, clock in now.items())
    return result, Usage(cpu, sum(map(_peak, pids)))
