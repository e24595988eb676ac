"""A checkpoint as a saver returned it, in the form in which the engine reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distgraph._internal.missing import MISSING

PendingWrite = tuple[str, str, Any]
"""Task id, channel and value: a pending write, saved on a checkpoint by a task of the superstep
that follows the checkpoint."""


@dataclass(frozen=True, slots=True)
class History:
    """The source of a channel's value: the last stored value, and the writes since then."""

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
    """Histories of the channels whose value the checkpoint does not contain, by channel name."""
    superseded: bool = False
    """Whether the checkpoint was loaded by its id and is not the latest one of its thread."""
