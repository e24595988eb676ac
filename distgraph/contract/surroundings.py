"""The caller's context that a run carries to workers, in addition to its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distgraph._internal.records import pickled_by_fields

__all__ = ("LoggerSettings", "ProcessSettings", "StreamLog", "Surroundings", "Variable")


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


class StreamLog(NamedTuple):
    """A log handler that writes to a standard stream."""

    stream: str
    """Its name in ``sys``."""
    level: int
    rest: bytes
    """Formatter and filters, pickled."""


class LoggerSettings(NamedTuple):
    """A logger's level and handlers."""

    name: str
    """"" for the root logger."""
    level: int
    propagate: bool
    shown: tuple[StreamLog, ...]


class ProcessSettings(NamedTuple):
    """What the caller's process has set; None stands for what a new interpreter has."""

    recursion_limit: int | None = None
    int_digits: int | None = None
    csv_field: int | None = None
    disabled: int = 0
    """The level up to which all loggers are silent (``logging.disable``)."""
    loggers: tuple[LoggerSettings, ...] = ()
    environment: tuple[tuple[str, str | None], ...] = ()
    """Variables that the program has set; None stands for a removed one."""
    since: float = 0.0
    """When a run first found these settings, in seconds since the epoch; 0.0 for the default."""


@pickled_by_fields
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
    floats: Mapping[str, Any] | None = None
    """What numpy does about errors of floating-point numbers, None where it is the default."""
    process: ProcessSettings | None = None
