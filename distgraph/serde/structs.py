"""Classes of ``msgspec.Struct`` that travel by value: their fields are made with the class."""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from typing import Any

__all__ = ("with_fields",)

_CONFIG = (
    "array_like",
    "cache_hash",
    "dict",
    "eq",
    "forbid_unknown_fields",
    "frozen",
    "gc",
    "omit_defaults",
    "order",
    "repr_omit_defaults",
    "tag",
    "tag_field",
    "weakref",
)
"""Attributes of a struct's configuration that are arguments of its class."""


def with_fields(cls: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what cloudpickle makes of a class; that of a struct keeps its fields.

    Cloudpickle sets the annotations of a class after it has made it; ``msgspec`` reads them before.
    """
    if not hasattr(cls, "__struct_config__"):
        return reduced
    make, (meta, name, bases, members, *rest), (attributes, slots), *contents = reduced
    config = {k: getattr(cls.__struct_config__, k) for k in _CONFIG}
    fields = importlib.import_module("msgspec.structs").fields(cls)
    own = [field.name for field in fields if field.name in attributes.get("__annotations__", {})]
    parameters = inspect.signature(cls).parameters
    config["kw_only"] = any(parameters[n].kind is inspect.Parameter.KEYWORD_ONLY for n in own)
    nothing = importlib.import_module("msgspec").NODEFAULT
    settings = {
        field.name: {
            "name": None if field.encode_name == field.name else field.encode_name,
            **({} if field.default is nothing else {"default": field.default}),
            **(
                {}
                if field.default_factory is nothing
                else {"default_factory": field.default_factory}
            ),
        }
        for field in fields
        if field.name in own
    }
    meta = partial(_make, meta, config, settings)
    kept = {k: v for k, v in attributes.items() if k != "__slots__" and k not in own}
    # the types of fields are read when they are needed: until then, the names do
    members = {**members, "__annotations__": dict.fromkeys(own, object)}
    return make, (meta, name, bases, members, *rest), (kept, slots), *contents


def _make(
    meta: Any,
    config: dict[str, Any],
    settings: dict[str, dict[str, Any]],
    name: str,
    bases: tuple[type, ...],
    members: dict[str, Any],
) -> Any:
    field = importlib.import_module("msgspec").field
    for key, given in settings.items():
        members[key] = field(**given)
    return meta(name, bases, members, **config)
