"""The garbage collector: how often it runs in processes of distgraph, and whether it runs.

It may close an iterator in any thread, between any two instructions, with any lock held.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = ("collect_less", "freeze", "is_collecting", "uncollected")

OWN = 50_000
"""New objects before a pass in a process that runs code of distgraph only. A step of many tasks
makes so many objects that live until its end: each pass looks through them, and finds nothing."""

_phases: dict[str, Any] = {"start": None, "stop": None}
"""Details of the collector's last start and last stop; the newer one is the last item."""

_here = threading.local()

# None of them is written in Python. A signal that comes during a pass would have its handler run in
# such a function, and what the handler raises would be lost there.
gc.callbacks += [_phases.pop, _phases.__setitem__, partial(setattr, _here)]


def is_collecting() -> bool:
    """Return whether this thread is in a pass of the garbage collector: it must not wait."""
    phase, details = next(reversed(_phases.items()))
    return phase == "start" and getattr(_here, "start", None) is details


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector from running in a block that makes many objects and little garbage.

    Imports take an eighth less time so.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def freeze() -> None:
    """Leave what is loaded out of garbage collections.

    A state of many objects causes collections, and each would look through all imported modules.
    """
    gc.freeze()


def collect_less(objects: int) -> None:
    """Let the collector run behind so many new objects, unless it runs more rarely already.

    A threshold of 0, by which a program turns the collector off, stays.
    """
    first, *others = gc.get_threshold()
    if 0 < first < objects:
        gc.set_threshold(objects, *others)
