"""Freed memory: how much of it a process of distgraph keeps.

A value of 1 MB is allocated and freed several times a step: read from the socket, unpickled, made
by the node, pickled. glibc gives such memory back to the system at once, and the system then has to
fill each page with zeros again. This takes longer than all else that is done with the value.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

__all__ = ("KEPT", "keep_freed_memory")

KEPT = 32 << 20
"""Bytes of freed memory that each of glibc's arenas keeps, and the size from which a block is given
back by itself. By default, glibc raises both bounds to these sizes when it frees such blocks."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the bounds."""

_SETTINGS = (
    "GLIBC_TUNABLES",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
)
"""Environment variables by which a user sets the bounds: they stay as they are."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let this process keep freed memory up to ``KEPT`` bytes. Return whether it does.

    It does not without glibc, and where the environment sets glibc's bounds.
    """
    if any(name in environment for name in _SETTINGS):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version") or not hasattr(libc, "mallopt"):
        return False
    return bool(libc.mallopt(_MMAP_THRESHOLD, KEPT) and libc.mallopt(_TRIM_THRESHOLD, KEPT))
