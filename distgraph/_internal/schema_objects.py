"""Instances of state schemas (dataclasses, pydantic models) as updates of a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distgraph._internal.loaded import loaded

__all__ = ("annotated_keys", "is_pydantic", "object_updates")


def is_pydantic(cls: Any) -> bool:
    """Whether a value is a class of pydantic models."""
    model = loaded("pydantic", "BaseModel") if isinstance(cls, type) else None
    return model is not None and issubclass(cls, model)


def annotated_keys(cls: type[Any]) -> tuple[str, ...]:
    """Return the annotated fields of a class, those of its bases first; () if it has none."""
    keys: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        annotations = base.__dict__.get("__annotations__")  # noqa: RUF063
        if annotations is None and base is not object:
            annotations = getattr(base, "__annotations__", None)
        if isinstance(annotations, Mapping):
            keys.update(dict.fromkeys(annotations))
    return tuple(keys)


def object_updates(value: Any, keys: Sequence[str] | None = None) -> list[tuple[str, Any]] | None:
    """Return the state update that a schema object stands for, None if it is no such object.

    Of a pydantic model, None counts as a value only in a field that was set, or whose default is
    not None. ``keys`` restricts the update to these and gives its order.
    """
    cls = type(value)
    fields = annotated_keys(cls)
    if not fields:
        return None
    was_set: Any = ()
    defaults: dict[str, Any] = {}
    if is_pydantic(cls):
        was_set = value.model_fields_set
        defaults = {name: field.default for name, field in cls.model_fields.items()}
    updates: list[tuple[str, Any]] = []
    for key in fields if keys is None else keys:
        if not hasattr(value, key):
            continue
        item = getattr(value, key)
        if item is not None or key in was_set or defaults.get(key, key) is not None:
            updates.append((key, item))
    return updates
