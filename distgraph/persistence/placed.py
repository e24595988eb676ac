"""The location of a saver, store or cache, as other processes get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ("Kind", "Placed", "Role")

Role = Literal["checkpointer", "store", "cache", "limiter", "llm_cache"]
Kind = Literal["caller", "file", "server"]


@dataclass(frozen=True, slots=True)
class Placed:
    """The location of one saver, store or cache, and the data to open the resource elsewhere.

    The data may contain a database password, which ``repr`` omits.
    """

    role: Role
    kind: Kind
    key: str
    """Under which the owner's process has the object, and another one what it opened."""
    label: str
    """Name of the resource in errors."""
    opener: str = ""
    """Module of this package that opens it, and the class that it opens."""
    settings: bytes = field(default=b"", repr=False)
    """Pickled arguments for the opener."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    """Properties of the resource that a proxy needs without a call."""
    everywhere: bool = False
    """Whether every machine of a cluster can open the resource."""
    allowlist: frozenset[tuple[str, ...]] = frozenset()
    """Classes that a saver's serializer may load besides its own, by module and name."""
