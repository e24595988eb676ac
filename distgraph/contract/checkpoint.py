"""A checkpoint as a saver returned it, in the form in which the engine reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distgraph._internal.missing import MISSING

PendingWrite = tuple[str, str, Any]
"""Task id, channel, value: written on top of a checkpoint by a task of the step behind it."""


@dataclass(frozen=True, slots=True)
class History:
    """What a channel was made of: its last stored value, and what was written since."""

    seed: Any = MISSING
    writes: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint as a saver returned it."""

    checkpoint: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parent_id: str | None = None
    pending: tuple[PendingWrite, ...] = ()
    histories: Mapping[str, History] = field(default_factory=dict)
    """Of channels that have no value in the checkpoint: what it is made of."""
    superseded: bool = False
    """It was asked for by its id, and the thread has moved past it."""
