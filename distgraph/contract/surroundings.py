"""What of the caller's context a run takes to workers, beside its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ("Surroundings", "Variable")


class Variable(NamedTuple):
    """A context variable of an importable module, and its value."""

    module: str
    name: str
    """Of the attribute; "Class.attribute" in a class of the module."""
    value: bytes
    """Pickled: each attempt has a value of its own."""
    key: str | None = None
    """Where the attribute is a dict of variables: the variable's key."""
    default: tuple[bytes, ...] = ()
    """Of such a variable: its pickled default, if it has one."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The caller's context when the run started."""

    variables: tuple[Variable, ...] = ()
    decimal: Any = None
    """The ``decimal.Context``, None where it is the default."""
    carrier: Mapping[str, str] = field(default_factory=dict)
    """OpenTelemetry's current span and baggage, as they go through headers."""
    cache: bytes | None = None
    """LangChain's global cache for models: its place, pickled."""
    debug: bool | None = None
    """LangChain's global switch; None where LangChain is not loaded."""
    verbose: bool | None = None
