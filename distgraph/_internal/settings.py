"""Names of all environment variables that set something up, and a warning for misspelt ones."""

from __future__ import annotations

import os
from functools import cache

from distgraph._internal.mistakes import nearest, warn_once

__all__ = ("SETTINGS", "warn_of_unknown")

PREFIX = "DISTGRAPH_"
SETTINGS = (
    "DISTGRAPH_AFFINITY_IDLE",
    "DISTGRAPH_API_KEY",
    "DISTGRAPH_BACKEND",
    "DISTGRAPH_DETACHED_IDLE",
    "DISTGRAPH_DOCS",
    "DISTGRAPH_DRIVERS",
    "DISTGRAPH_LEASES",
    "DISTGRAPH_LOG",
    "DISTGRAPH_MAX_ATTEMPTS",
    "DISTGRAPH_MAX_BODY_BYTES",
    "DISTGRAPH_METRICS",
    "DISTGRAPH_MIRROR",
    "DISTGRAPH_MISSING_RESOURCES",
    "DISTGRAPH_ON_LOST_ATTEMPT",
    "DISTGRAPH_OTEL",
    "DISTGRAPH_POOL_IDLE",
    "DISTGRAPH_PORTS",
    "DISTGRAPH_REDUCER_TIMEOUT",
    "DISTGRAPH_REQUESTS_PER_MINUTE",
    "DISTGRAPH_SILENCE",
    "DISTGRAPH_STATUS",
    "DISTGRAPH_STREAM_BYTES",
    "DISTGRAPH_STREAM_EVENTS",
    "DISTGRAPH_STREAM_KEPT_BYTES",
    "DISTGRAPH_STREAM_KEPT_EVENTS",
    "DISTGRAPH_STREAM_KEPT_SECONDS",
    "DISTGRAPH_STREAM_RETAINED_BYTES",
    "DISTGRAPH_STREAM_STARTED_BYTES",
    "DISTGRAPH_TAKEOVER_BYTES",
)


@cache
def warn_of_unknown() -> None:
    """Warn, once in a process, of variables that look like a misspelt setting."""
    for name in os.environ:
        if name.startswith(PREFIX) and name not in SETTINGS:
            hint = nearest(name, SETTINGS, 0.8)
            if hint:
                warn_once([f"the environment variable {name} has no effect.{hint}"])
