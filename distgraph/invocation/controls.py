"""LangGraph's ``RunControl`` as the control of a distgraph run."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any
from weakref import WeakSet

from distgraph._internal.loaded import loaded
from distgraph.concurrency.forking import free_in_forks
from distgraph.runtime import RunControl

__all__ = ("adopted",)

_lock = free_in_forks(threading.Lock())
_adopted: WeakSet[_Adopted] = WeakSet()
"""All controls of runs. The set forgets them without the lock: the garbage collector may run in a
thread that holds it."""


class _Adopted(RunControl):
    """Receives the requests of LangGraph's control, and passes requests of nodes on to it."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self._theirs = theirs
        self._reason = theirs.drain_reason

    def is_for(self, control: Any) -> bool:
        """Return whether the control receives the requests of that control of LangGraph's."""
        return self._theirs is control

    def request_drain(self, reason: str = "shutdown") -> None:
        super().request_drain(reason)
        if self._theirs.drain_reason != reason:
            self._theirs.request_drain(reason)


def adopted(control: Any) -> RunControl | None:
    """Return a distgraph control for one of LangGraph's, None for another object."""
    cls: Any = loaded("langgraph.runtime", "RunControl")
    if cls is None or not isinstance(control, cls):
        return None
    watching = _watching(cls)
    with _lock:
        if type(control) is cls:
            control.__class__ = watching  # the class has slots and no hooks
        ours = _Adopted(control)
        _adopted.add(ours)
    return ours


@lru_cache(maxsize=1)
def _watching(cls: Any) -> Any:
    """Return LangGraph's class with a ``request_drain`` that distgraph runs receive."""

    def request_drain(self: Any, reason: str = "shutdown") -> None:
        cls.request_drain(self, reason)
        with _lock:
            known = list(_adopted)
        for ours in known:
            if ours.is_for(self) and ours.drain_reason != reason:
                ours.request_drain(reason)

    return type(cls.__name__, (cls,), {"__slots__": (), "request_drain": request_drain})
