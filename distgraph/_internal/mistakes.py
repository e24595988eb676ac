"""Warnings of what a graph ignores, in the words that every backend uses."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable

__all__ = ("nearest", "warn_once")

_KEPT = 1024
_logger = logging.getLogger("distgraph")
_told: dict[str, None] = {}


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a question after the known name that is like ``name``, or an empty string."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def warn_once(messages: Iterable[str]) -> None:
    """Log each message as a warning, once in a process."""
    for message in messages:
        if message not in _told:
            if len(_told) >= _KEPT:
                _told.clear()
            _told[message] = None
            _logger.warning(message)
