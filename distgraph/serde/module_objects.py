"""Objects of installed modules that cannot be pickled: they travel by name, as functions do.

``from ddtrace import tracer`` gives such an object. Its module makes one in every process, and a
function of that module would use the one of its process as well. Objects that can be pickled travel
by value, with what the program has changed in them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from distgraph.errors import SerializationError
from distgraph.serde import live
from distgraph.serde.sources import is_installed

__all__ = ("let_travel_by_name", "of_module", "reduce_by_name")

_places: dict[int, tuple[object, str, str]] = {}
"""Object, module and name of those that travel by name, by ``id``. Their modules keep them too."""


# --- at the sender --------------------------------------------------------------------------------


def reduce_by_name(obj: Any) -> Any:
    """Reduce an object that travels by name; None: it is not one."""
    place = _places.get(id(obj)) if _places else None
    if place is None or place[0] is not obj:
        return None
    _, module, name = place
    if getattr(sys.modules.get(module), name, None) is not obj:  # the module has another by now
        return None
    return of_module, (module, name, _class_name(obj))


def let_travel_by_name(around: Sequence[object]) -> bool:
    """Let an object travel by name from now on; return whether there was one that can.

    Args:
        around: An object that cannot be pickled, preceded by those that contain it. The innermost
            that a module names is taken: what contains it goes by value.
    """
    for obj in reversed(around):
        if reduce_by_name(obj) is not None:
            return False  # and yet it was refused
        place = min(_found(obj), default=None)
        if place is not None:
            _places[id(obj)] = obj, *place[-2:]
            if reduce_by_name(obj) is not None:
                return True
            del _places[id(obj)]  # a module that answers with something else than it holds
    return False


def _found(obj: object) -> Iterator[tuple[bool, int, str, str]]:
    """Yield module and name of an object, behind what makes one better than another.

    Private names are left out: of these, many get their value while a program runs. So are classes,
    functions and containers, and what exists in one process only wherever it is.
    """
    cls = type(obj)
    if isinstance(obj, type) or cls.__module__ == "builtins" or not _is_installed(cls.__module__):
        return
    if any(f"{base.__module__}.{base.__qualname__}" in live.REFUSED for base in cls.__mro__):
        return
    package = cls.__module__.partition(".")[0]
    for module in list(sys.modules):
        for name, value in list(getattr(sys.modules[module], "__dict__", {}).items()):
            if value is obj and not name.startswith("_") and _is_installed(module):
                other = module.partition(".")[0] != package
                yield other, module.count("."), module, name


def _is_installed(module: str) -> bool:
    if module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return isinstance(file, str) and is_installed(file)


def _class_name(obj: object) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}"


# --- at the receiver ------------------------------------------------------------------------------


def of_module(module: str, name: str, cls: str) -> Any:
    """Return this process's object of that name.

    Raises:
        SerializationError: the module has none here, or one of another class than ``cls``.
    """
    found = getattr(importlib.import_module(module), name, None)
    if _class_name(found) != cls:
        raise SerializationError(
            f"{module}.{name} ({cls}) cannot be pickled and travels by name, but an import of "
            f"{module} gives {_class_name(found)} in this process. Remedy: create the object inside"
            " the node, or tell how it travels with distgraph.register_serializer"
            f"({cls.rpartition('.')[2]}, ...)"
        )
    return found
