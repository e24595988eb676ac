"""Whether the garbage collector runs: it may close an iterator in any thread, between any two
instructions, with any lock held."""

from __future__ import annotations

import gc
import threading
from functools import partial
from typing import Any

__all__ = ("is_collecting",)

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
