"""Frozen dataclasses that are made and pickled often."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, TypeVar

__all__ = ("pickled_by_fields",)

T = TypeVar("T")


def pickled_by_fields(cls: type[T]) -> type[T]:
    """Let objects of a frozen dataclass be made, copied and pickled several times as fast.

    The class has slots and no subclasses.

    The generated ``__getstate__`` and ``__setstate__`` of a frozen dataclass with slots look up all
    fields each time.
    """
    values: Any = attrgetter(*(f.name for f in fields(cls)))  # type: ignore[arg-type]

    def __reduce__(self: T) -> tuple[type[T], tuple[Any, ...]]:
        return cls, values(self)

    cls.__reduce__ = __reduce__  # type: ignore[method-assign, assignment]
    return _made_quickly(cls)


def _made_quickly(cls: type[T]) -> type[T]:
    """Let objects of a frozen dataclass with slots be made several times as fast. They need a
    ``__reduce__``: ``__new__`` takes the fields.

    The generated ``__init__`` sets each field by a call of ``object.__setattr__``, 0.1 µs each.
    Here, an object of a class with the same slots, which is not frozen, becomes one of ``cls`` once
    its fields are set.
    """
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    factories = {
        f.name: f.default_factory
        for f in fields(cls)  # type: ignore[arg-type]
        if f.default_factory is not MISSING
    }
    given: Any = cls.__init__
    open_class = type(cls.__name__, (), {"__slots__": tuple(names)})
    known: dict[str, Any] = {"_open": open_class, "_new": object.__new__}
    parameters = ["_cls"]
    for name, parameter in list(inspect.signature(given).parameters.items())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        if parameter.default is parameter.empty:
            parameters.append(name)
        else:
            known[f"_{name}"] = parameter.default
            parameters.append(f"{name}=_{name}")
    lines = [f"def __new__({', '.join(parameters)}):", " self = _new(_open)"]
    for name in names:
        if name in factories:
            known[f"_made_{name}"] = factories[name]
            lines.append(f" if {name} is _{name}: {name} = _made_{name}()")
        lines.append(f" self.{name} = {name}")
    lines += [" self.__class__ = _cls", " return self"]
    exec("\n".join(lines), known)
    cls.__new__ = known["__new__"]  # type: ignore[method-assign]
    del cls.__init__
    return cls
