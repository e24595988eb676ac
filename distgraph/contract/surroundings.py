"""The caller's context that a run carries to workers, in addition to its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ("Surroundings", "Variable")


class Variable(NamedTuple):
    """A context variable, and its value."""

    module: str
    """Of an importable module; "" for a variable of a script or function."""
    name: str
    """Name of the attribute; "Class.attribute" for an attribute of a class in the module."""
    value: bytes
    """Pickled: each attempt has a value of its own."""
    key: str | None = None
    """Key of the variable, if the attribute is a dict of context variables; the token of a
    variable of a script."""
    default: tuple[bytes, ...] = ()
    """Pickled default of a context variable, if the variable has a default."""


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
