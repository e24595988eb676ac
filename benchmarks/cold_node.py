"""The node of ``benchmarks.cold_start``. A worker imports this module when it loads the graph."""

from __future__ import annotations

import time
from typing import Any, TypedDict

IMPORTED = time.time()


class Seen(TypedDict):
    """Times at the worker, in seconds since 1970."""

    loading: float
    """It began to load the graph."""
    node: float
    """It called the node."""


class State(TypedDict, total=False):
    number: int
    seen: Seen


def seen() -> Seen:
    """Return the times of this process."""
    return {"loading": IMPORTED, "node": time.time()}


def report(state: State) -> dict[str, Any]:
    """Say when."""
    return {"seen": seen()}
