"""Which frames of a traceback users see: their own, and what these call."""

from __future__ import annotations

import copy
import itertools
from types import TracebackType
from typing import TypeVar

__all__ = ("entries_of", "error_for_one", "hide_machinery", "module_of")

E = TypeVar("E", bound=BaseException)

_LEADING = frozenset(
    {"actors", "asyncio", "concurrent", "distgraph", "langgraph", "ray", "threading"}
)
"""Packages whose frames lead up to the user's code."""

_OWN = frozenset({"actors", "distgraph", "ray"})
"""Packages whose frames are also left out between two frames of the user."""


def hide_machinery(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames that lead up to the user's code.

    The traceback is changed in place. Where none of its frames is the user's, all are kept; what
    the user's innermost frame called is kept too.
    """
    entries = entries_of(traceback)
    tops = [module_of(entry).partition(".")[0] for entry in entries]
    first = next((i for i, top in enumerate(tops) if top not in _LEADING), None)
    if first is None:
        return traceback
    last = max(i for i, top in enumerate(tops) if top not in _OWN)
    kept = [e for i, e in enumerate(entries) if i >= first and (i > last or tops[i] not in _OWN)]
    for entry, following in itertools.pairwise(kept):
        if entry.tb_next is not following:
            entry.tb_next = following
    return kept[0]


def error_for_one(error: E) -> E:
    """Return a copy of an error, for one of several threads that each raise it.

    A raise changes the traceback of its error. The interpreter walks a traceback that it prints
    without holding the entries, so a second thread that raises the same object meanwhile ends the
    process with a segmentation fault. An error whose class cannot be copied is returned as it is.
    """
    try:
        copied = copy.copy(error)
    except Exception:
        return error
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied


def entries_of(traceback: TracebackType | None) -> list[TracebackType]:
    """Return the entries of a traceback, the outermost first."""
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    return entries


def module_of(entry: TracebackType) -> str:
    """Return the name of the module whose code an entry is in."""
    return str(entry.tb_frame.f_globals.get("__name__", ""))
