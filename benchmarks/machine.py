"""Where a run of the benchmarks took place."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def cores() -> int:
    """Return the number of cores."""
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Return cores, memory, versions, load and date."""
    return {
        "cores": cores(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("distgraph", "ray", "langgraph")},
        "load_at_start": _load(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _load() -> float | None:
    """Other work at the start makes figures worthless: it is told with them."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        if name == "distgraph":
            import distgraph

            return distgraph.__version__
        return "not installed"
