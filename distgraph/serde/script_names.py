"""Objects that pickle as a name which no other process can look up: those of a script or notebook.

``typing.NewType("UserId", int)`` is such an object, and so is an instance of a class whose
``__reduce__`` returns the name of a variable. Each process has one object for each original, known
by a token: an object that comes home is the original.
"""

from __future__ import annotations

import secrets
import threading
import typing
from contextlib import suppress
from typing import Any

from cloudpickle import cloudpickle as _cp

from distgraph.concurrency.forking import free_in_forks

__all__ = ("TYPES", "reduce_named")

_lock = free_in_forks(threading.Lock())
_originals: dict[str, Any] = {}
_tokens: dict[int, str] = {}
# Both keep the objects: a module would keep them as well.

TYPES: dict[type, tuple[str, ...]] = {typing.NewType: ("__name__", "__supertype__")}
"""Types of the standard library, with the attributes that they are made from."""
TYPES |= {
    getattr(typing, name): attributes
    for name, attributes in (
        ("ParamSpec", ("__name__",)),
        ("TypeVarTuple", ("__name__",)),
        ("TypeAliasType", ("__name__", "__value__")),
    )
    if hasattr(typing, name)
}


def reduce_named(obj: Any) -> Any:
    """Reduce an object as itself does, unless that is a name that receivers cannot look up."""
    reduced = obj.__reduce_ex__(5)
    if not isinstance(reduced, str):
        return reduced
    found = _cp._lookup_module_and_qualname(obj, name=reduced)
    if found is not None and not _cp._is_registered_pickle_by_value(found[0]):
        return NotImplemented
    with _lock:
        token = _tokens.setdefault(id(obj), secrets.token_hex(12))
        _originals[token] = obj
    cls = type(obj)
    if cls in TYPES:
        arguments = tuple(getattr(obj, name) for name in TYPES[cls])
        return _made, (token, cls, arguments, {"__module__": obj.__module__})
    return _made, (token, cls, None, getattr(obj, "__dict__", {}))


def _made(token: str, cls: Any, arguments: tuple[Any, ...] | None, state: dict[str, Any]) -> Any:
    """Return this process's object for an original."""
    with _lock:
        if token not in _originals:
            made = cls.__new__(cls) if arguments is None else cls(*arguments)
            with suppress(AttributeError):  # a type alias has no attributes to set
                made.__dict__.update(state)
            _originals[token] = made
            _tokens[id(made)] = token
        return _originals[token]
