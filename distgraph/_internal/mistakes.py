"""Warnings about mistakes that a graph ignores, with the same text on every backend."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable
from types import FrameType

__all__ = ("nearest", "nearest_key", "warn_at_call", "warn_once")

_KEPT = 1024
_LIBRARY = __name__.partition(".")[0]
_MISSPELT = 0.8
"""Likeness of two names from which one is taken for a misspelling of the other."""
_logger = logging.getLogger("distgraph")
_logged: dict[str, None] = {}


def nearest(name: object, known: Iterable[str], likeness: float = 0.5) -> str:
    """Return a question after the known name that is like ``name``, or an empty string.

    The text starts with a space, to follow a sentence. ``likeness``: how like the names must be, 0
    to 1.
    """
    import difflib  # costs milliseconds, and only errors need it

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=likeness)
    return f" Did you mean {near[0]!r}?" if near else ""


def nearest_key(given: Iterable[object], known: Iterable[str]) -> str:
    """Return a question after the first known name that one of the given ones is a misspelling of,
    or an empty string."""
    names = list(known)
    hints = (nearest(key, names, _MISSPELT) for key in given if key not in names)
    return next(filter(None, hints), "")


def warn_at_call(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and show the line of the program that called this library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame.f_back):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _LIBRARY


def warn_once(messages: Iterable[str]) -> None:
    """Log each message as a warning, once in a process."""
    for message in messages:
        if message not in _logged:
            if len(_logged) >= _KEPT:
                _logged.clear()
            _logged[message] = None
            _logger.warning(message)
