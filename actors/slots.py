"""How many attempts the cluster can run at once, asked for at most every few seconds."""

from __future__ import annotations

import threading
import time

from actors.untyped import cpus

_FOR = 5.0
_lock = threading.Lock()
_known: tuple[float, int] = (float("-inf"), 1)


def available() -> int:
    """Return the CPUs of the cluster, at least 1."""
    global _known
    with _lock:
        now = time.monotonic()
        if now > _known[0] + _FOR:
            _known = now, cpus()
        return _known[1]
