"""The node of ``benchmarks.cold_start``. A worker imports this module when it loads the graph."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, TypedDict

IMPORTED = time.time()


class Seen(TypedDict):
    """Times at the worker, in seconds since 1970."""

    process: float
    """Its process began, to a hundredth of a second."""
    loading: float
    """It began to load the graph."""
    node: float
    """It called the node."""


class State(TypedDict, total=False):
    number: int
    seen: Seen


def seen() -> Seen:
    """Return the times of this process."""
    now = time.time()
    began = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(began) / os.sysconf("SC_CLK_TCK")
    return {"process": now - age, "loading": IMPORTED, "node": now}


def report(state: State) -> dict[str, Any]:
    """Say when."""
    return {"seen": seen()}
