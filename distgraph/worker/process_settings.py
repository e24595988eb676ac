"""Settings of the caller's process that the code of a node is to find in its worker as well.

A program sets them once, before its graph runs: environment variables, the limits of the
interpreter, and what its loggers write to standard output and standard error. A limit is raised,
never lowered. What a worker's own code has set, or another configuration of its process, stays.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from distgraph.contract.surroundings import LoggerSettings, ProcessSettings, StreamLog
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_data, loads
from distgraph.worker import environment

__all__ = ("apply", "are_applied", "capture")

_RECURSION, _CSV = 1000, 131072
"""What a new interpreter has."""

_NOT_TAKEN = frozenset({"actors", "distgraph", "ray"})
"""Packages whose loggers each process sets up for itself."""

_ROOT = logging.WARNING

_NOTHING = ProcessSettings()

# --- at the caller --------------------------------------------------------------------------------


_captured = _NOTHING


def capture() -> ProcessSettings | None:
    """Return what differs from a new interpreter, None where that is nothing and never was."""
    global _captured
    csv: Any = sys.modules.get("csv")
    found = ProcessSettings(
        recursion_limit=_unless(_RECURSION, sys.getrecursionlimit()),
        int_digits=_unless(_default_digits(), _digits()),
        csv_field=None if csv is None else _unless(_CSV, csv.field_size_limit()),
        disabled=logging.root.manager.disable,
        loggers=tuple(_loggers()),
        environment=environment.set_by_program(),
    )
    if found != _captured._replace(since=0.0):
        _captured = found._replace(since=time.time())
    return _captured if _captured.since else None


def _unless(default: int | None, value: int | None) -> int | None:
    return None if value == default else value


def _default_digits() -> int | None:
    return getattr(sys.int_info, "default_max_str_digits", None)


def _digits() -> int | None:
    get = getattr(sys, "get_int_max_str_digits", None)
    return None if get is None else get()


def _loggers() -> Iterator[LoggerSettings]:
    root = logging.root
    shown = _shown(root)
    if root.level != _ROOT or shown:
        yield LoggerSettings("", root.level, True, shown)
    for name, logger in list(root.manager.loggerDict.items()):
        if logger.__class__ is not logging.Logger or not (logger.level or logger.handlers):
            continue
        shown = _shown(logger)
        if (logger.level or shown) and name.partition(".")[0] not in _NOT_TAKEN:
            yield LoggerSettings(name, logger.level, logger.propagate, shown)


def _shown(logger: logging.Logger) -> tuple[StreamLog, ...]:
    """Return the handlers of a logger that write to a standard stream, as plain data."""
    found = []
    for handler in logger.handlers:
        if type(handler) is not logging.StreamHandler:
            continue
        stream = handler.stream
        name = "stdout" if stream is sys.stdout or stream is sys.__stdout__ else "stderr"
        if name == "stderr" and stream is not sys.stderr and stream is not sys.__stderr__:
            continue
        with suppress(SerializationError):  # a formatter that exists in one process only
            rest = dumps_data((handler.formatter, handler.filters))
            found.append(StreamLog(name, handler.level, rest))
    return tuple(found)


# --- on the worker --------------------------------------------------------------------------------

_applied = _NOTHING
_levels: dict[str, int] = {}
"""Levels that were given to loggers of this process, by name."""
_handlers: dict[tuple[str, StreamLog], logging.Handler] = {}
"""Handlers that were given to them."""


def are_applied(settings: ProcessSettings | None) -> bool:
    """Return whether this process has the settings of a caller already, or later ones."""
    return settings is None or settings.since <= _applied.since


def apply(settings: ProcessSettings, own_variables: Collection[str] = ()) -> None:
    """Give this process the settings of a caller. Threads may do so at the same time.

    The latest settings count for all runs, as they do at the caller.

    Args:
        settings: Of the caller.
        own_variables: Environment variables of this process that stay as they are.
    """
    global _applied
    if are_applied(settings):
        return
    environment.give(settings.environment, own_variables)
    if (settings.recursion_limit or 0) > sys.getrecursionlimit():
        sys.setrecursionlimit(settings.recursion_limit or _RECURSION)
    digits = settings.int_digits
    if digits is not None and _digits() and (digits == 0 or digits > (_digits() or 0)):
        sys.set_int_max_str_digits(digits)
    if settings.csv_field is not None:
        import csv

        csv.field_size_limit(max(settings.csv_field, csv.field_size_limit()))
    logging.disable(settings.disabled)
    for given in settings.loggers:
        _give(logging.getLogger(given.name or None), given)
    _applied = settings


def _give(logger: logging.Logger, given: LoggerSettings) -> None:
    untouched = _ROOT if logger is logging.root else logging.NOTSET
    if given.level and logger.level in (untouched, _levels.get(given.name)):
        logger.setLevel(given.level)
        _levels[given.name] = given.level
    for key in [key for key in _handlers if key[0] == given.name and key[1] not in given.shown]:
        logger.removeHandler(_handlers.pop(key))
    mine = [handler for key, handler in list(_handlers.items()) if key[0] == given.name]
    others = (handler for handler in logger.handlers if handler not in mine)
    if any(not isinstance(handler, logging.NullHandler) for handler in others):
        return
    for log in given.shown:
        logger.addHandler(_handlers.setdefault((given.name, log), _Standard(log)))
    if given.shown:
        logger.propagate = given.propagate


class _Standard(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard stream that there is when a record comes."""

    def __init__(self, log: StreamLog) -> None:
        logging.Handler.__init__(self, log.level)
        self._of_sys = log.stream
        self.formatter, self.filters = loads(log.rest)

    @property
    def stream(self) -> Any:
        return getattr(sys, self._of_sys)
