"""Use of a library that the program has imported already, without importing it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ("loaded",)

_complete: dict[str, ModuleType] = {}
"""Modules that were found imported to their end."""


def loaded(module: str, name: str) -> Any:
    """Return a module's attribute if the module is loaded, else None.

    Another thread may be in the middle of importing it: then the import is waited for.
    """
    found = sys.modules.get(module)
    if found is None:
        return None
    if _complete.get(module) is not found:
        try:
            if getattr(getattr(found, "__spec__", None), "_initializing", False):
                found = importlib.import_module(module)
            _complete[module] = found
        except ImportError:
            pass
    return getattr(found, name, None)
