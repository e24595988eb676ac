"""Frozen dataclasses that are made and pickled often."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from operator import attrgetter, is_
from typing import Any, TypeVar

__all__ = ("given_fields", "pickled_by_fields")

T = TypeVar("T")


def given_fields(cls: type[T], usual: str | None = None) -> Callable[[T], tuple[Any, ...]]:
    """Return what returns the fields of an object, as arguments for its class.

    The last ones are left out where all of them have their defaults.

    Args:
        cls: A dataclass.
        usual: The last field that is mostly given; by default, the last one without a default.
    """
    names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    defaults = [f.default for f in fields(cls)]  # type: ignore[arg-type]
    values: Any = attrgetter(*names)
    always = 1 + max(i for i, default in enumerate(defaults) if default is MISSING)
    always = always if usual is None else max(always, names.index(usual) + 1)
    rare = tuple(defaults[always:])

    def given(obj: T) -> tuple[Any, ...]:
        found: tuple[Any, ...] = values(obj)
        # not by `==`: a value may be anything
        return found[:always] if all(map(is_, found[always:], rare)) else found

    return given


def pickled_by_fields(cls: type[T]) -> type[T]:
    """Let objects of a frozen dataclass be made, copied and pickled several times as fast.

    The class has slots and no subclasses.

    The generated ``__getstate__`` and ``__setstate__`` of a frozen dataclass with slots look up all
    fields each time.
    """
    given = given_fields(cls)

    def __reduce__(self: T) -> tuple[type[T], tuple[Any, ...]]:
        return cls, given(self)

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
