"""Modules that the caller has reloaded: its workers reload them before they read the next program.

Code of an importable module travels by name, so a worker that has the module would go on with what
its file held before. Notebooks reload modules by hand, or by ``%autoreload``.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from distgraph.concurrency.forking import free_in_forks
from distgraph.serde.sources import is_installed

__all__ = ("After", "Reloads", "reloads")

Reloads = tuple[tuple[str, float], ...]
"""Names of modules, and when each was reloaded last, in seconds since the epoch."""

_lock = free_in_forks(threading.RLock())
_known: dict[str, float] = {}
"""What this process has reloaded."""
_now: Reloads = ()
_follows = False
"""Whether this process reloads modules because another one did."""


class _Witness:
    """Asked for the place of each module that is imported or reloaded; knows none."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if not _follows and isinstance(target, ModuleType) and sys.modules.get(name) is target:
            file = getattr(target, "__file__", None)
            if file is not None and not is_installed(file):
                _note(name, time.time())


def _note(name: str, at: float) -> None:
    global _now
    with _lock:
        _known[name] = max(at, _known.get(name, 0.0))
        _now = tuple(_known.items())


sys.meta_path.insert(0, _Witness)


def reloads() -> Reloads:
    """Return what this process has reloaded; the same object until it reloads another module."""
    return _now


class After:
    """Pickles a value so that who unpickles it first reloads modules, if it has them."""

    def __init__(self, modules: Reloads, value: Any) -> None:
        self._modules, self._value = modules, value

    def __reduce__(self) -> tuple[Any, ...]:
        return _second, (_Reloading(self._modules), self._value)


class _Reloading:
    def __init__(self, modules: Reloads) -> None:
        self._modules = modules

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self._modules,)


def _second(_: Any, value: Any) -> Any:
    return value


def _reload(modules: Reloads) -> None:
    global _follows
    with _lock:
        _follows = True
        try:
            for name, at in modules:
                if _known.get(name, 0.0) >= at:
                    continue
                if (module := sys.modules.get(name)) is not None:
                    importlib.reload(module)
                _note(name, at)
        finally:
            _follows = False
