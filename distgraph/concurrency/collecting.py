"""Whether the garbage collector runs: it may close an iterator in any thread, between any two
instructions, with any lock held."""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping

__all__ = ("is_collecting",)

_threads: set[int] = set()


def _note(phase: str, info: Mapping[str, int]) -> None:
    (_threads.add if phase == "start" else _threads.discard)(threading.get_ident())


gc.callbacks.append(_note)


def is_collecting() -> bool:
    """Return whether this thread is in a pass of the garbage collector: it must not wait."""
    return threading.get_ident() in _threads
