"""Savers whose serializer may load more classes than the serializer of the user's saver.

LangGraph derives such a saver for each graph if msgpack is loaded strictly.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from distgraph.concurrency.forking import free_in_forks

__all__ = ("allowing",)

_lock = free_in_forks(threading.Lock())
_derived: weakref.WeakKeyDictionary[Any, dict[frozenset[tuple[str, ...]], Any]] = (
    weakref.WeakKeyDictionary()
)


def allowing(saver: Any, allowlist: frozenset[tuple[str, ...]]) -> Any:
    """Return ``saver.with_allowlist(allowlist)``, the same one each time."""
    if not allowlist or not hasattr(saver, "with_allowlist"):
        return saver
    with _lock:
        known = _derived.setdefault(saver, {})
        if allowlist not in known:
            made = saver.with_allowlist(allowlist)
            # a saver that holds itself would never be freed
            known[allowlist] = None if made is saver else made
        found = known[allowlist]
    return saver if found is None else found
