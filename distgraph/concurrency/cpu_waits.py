"""For how long processes of this machine have waited for a CPU, by Linux's figures."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ("cpu_waits",)


def cpu_waits(pid: int | None) -> float | None:
    """Return the seconds for which the threads of a process have waited for a CPU so far.

    ``pid``: None for all processes of the machine together: seconds in which any of them waited.
    None is returned where the system does not say.
    """
    if pid is None:
        return _of_machine()
    waited, known = 0, False
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError, ValueError, IndexError):  # it has ended
                waited += int(_read(f"/proc/{pid}/task/{thread}/schedstat").split()[1])
                known = True
    return waited / 1e9 if known else None


def _of_machine() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        some = _read("/proc/pressure/cpu").splitlines()[0]
        return int(some.rpartition("total=")[2]) / 1e6
    return None


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
