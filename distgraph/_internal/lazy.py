"""Modules whose public names are imported at their first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from distgraph._internal.mistakes import nearest

__all__ = ("lazy_names",)


def lazy_names(
    module: str, homes: Mapping[str, str], modules: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a module.

    Assign both under ``if not TYPE_CHECKING``: with a module-level ``__getattr__``, type checkers
    accept every name.

    Args:
        module: The module's ``__name__``.
        homes: The module that defines each name; ``"module:other"`` where it has another name
            there.
        modules: Submodules that are attributes without an import of their own.
    """

    def get(name: str) -> Any:
        home = homes.get(name)
        if name in modules:
            return import_module(f"{module}.{name}")
        if home is None:
            hint = "" if name.startswith("_") else nearest(name, [*homes, *modules])
            raise AttributeError(
                f"module {module!r} has no attribute {name!r}.{hint}"
                if hint
                else f"module {module!r} has no attribute {name!r}"
            )
        source, _, other = home.partition(":")
        value = getattr(import_module(source), other or name)
        sys.modules[module].__dict__[name] = value
        return value

    def names() -> list[str]:
        """Return what consoles complete: no imports of the module's own code."""
        given = sys.modules[module].__dict__
        public = {*given["__all__"], *homes, *modules}
        own = (n for n, v in given.items() if n.startswith("__") or isinstance(v, ModuleType))
        return sorted(public.union(own))

    return get, names
