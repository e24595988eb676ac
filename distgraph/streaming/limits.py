"""The limits of a stream broker, from the environment of the process that makes the broker."""

from __future__ import annotations

import os

from distgraph.contract.started import Retention
from distgraph.streaming.broker import Limits

__all__ = ("limits_from_environment", "retention_from_environment")


def limits_from_environment() -> Limits:
    """Return the broker's limits.

    Raises:
        ValueError: A variable is not a whole number.
    """
    return Limits(
        max_bytes=_number("BYTES", Limits.max_bytes),
        max_events=_number("EVENTS", Limits.max_events),
        retain_bytes=_number("RETAINED_BYTES", Limits.retain_bytes),
        started_bytes=_number("STARTED_BYTES", Limits.started_bytes),
    )


def retention_from_environment() -> Retention:
    """Return what is kept of a started run that was given no ``retention``.

    Raises:
        ValueError: A variable is not a whole number from 0.
    """
    return Retention(
        events=_number("KEPT_EVENTS", Retention().events),
        bytes=_number("KEPT_BYTES", Retention().bytes),
        seconds=_number("KEPT_SECONDS", int(Retention().seconds)),
    )


def _number(name: str, default: int) -> int:
    variable = f"DISTGRAPH_STREAM_{name}"
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{variable} must be a whole number, got {text!r}") from None
