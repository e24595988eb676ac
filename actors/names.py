"""Names of a session's actors, by which workers find them."""

from __future__ import annotations

NAMESPACE = "distgraph"


def driver_name(session: str) -> str:
    """Name of a session's superstep driver."""
    return f"distgraph-driver-{session}"


def broker_name(session: str) -> str:
    """Name of a session's stream broker."""
    return f"distgraph-broker-{session}"
