"""Which frames of a traceback users see: their own, and what these call."""

from __future__ import annotations

import itertools
from types import TracebackType

__all__ = ("entries_of", "hide_machinery", "module_of")

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
