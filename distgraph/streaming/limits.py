"""The limits of a stream broker, from the environment of the process that makes the broker."""

from __future__ import annotations

from distgraph._internal.settings import setting
from distgraph.contract.started_runs import Retention
from distgraph.streaming.broker import Limits

__all__ = ("limits_from_environment", "retention_from_environment")


def limits_from_environment() -> Limits:
    """Return the broker's limits.

    Raises:
        ValueError: A variable is not allowed.
    """
    return Limits(
        max_bytes=setting("DISTGRAPH_STREAM_BYTES", Limits().max_bytes),
        max_events=setting("DISTGRAPH_STREAM_EVENTS", Limits().max_events),
        retain_bytes=setting("DISTGRAPH_STREAM_RETAINED_BYTES", Limits().retain_bytes),
        started_bytes=setting("DISTGRAPH_STREAM_STARTED_BYTES", Limits().started_bytes),
    )


def retention_from_environment() -> Retention:
    """Return what is kept of a started run that was given no ``retention``.

    Raises:
        ValueError: A variable is not allowed.
    """
    return Retention(
        events=setting("DISTGRAPH_STREAM_KEPT_EVENTS", Retention().events),
        bytes=setting("DISTGRAPH_STREAM_KEPT_BYTES", Retention().bytes),
        seconds=setting("DISTGRAPH_STREAM_KEPT_SECONDS", Retention().seconds),
    )
