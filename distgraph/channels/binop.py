"""``BinaryOperatorAggregate``: the channel of a key with a reducer."""

from __future__ import annotations

import collections.abc
import operator as operators
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value, invalid_update
from distgraph.types import Overwrite

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = (
    "BinaryOperatorAggregate",
    "factory_of",
    "is_keeping_items",
    "keeps_items",
    "overwritten",
    "same_reducer",
)

_CONCRETE: dict[Any, type[Any]] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}
_TAG = "__overwrite__"


def overwritten(value: Any) -> tuple[Any] | None:
    """Return ``(new value,)`` if a write replaces the channel's value, else None.

    Forms: ``Overwrite(v)`` (LangGraph's class too), ``{"__overwrite__": v}``, and an
    ``Overwrite`` that went through JSON, ``{"value": v, "type": "__overwrite__"}``.
    """
    if isinstance(value, Overwrite):
        return (value.value,)
    if isinstance(value, dict):
        if len(value) == 1 and _TAG in value:
            return (value[_TAG],)
        if "value" in value and value.get("type") == _TAG:
            return (value["value"],)
        return None
    cls = type(value)
    if cls.__name__ == "Overwrite" and cls.__module__ == "langgraph.types":
        return (value.value,)
    return None


def factory_of(typ: Any) -> Callable[[], Any] | None:
    """Return what makes the first left operand: the annotated type, if it can be made empty."""
    while hasattr(typ, "__metadata__") or _is_qualifier(get_origin(typ)):
        typ = typ.__origin__ if hasattr(typ, "__metadata__") else typ.__args__[0]
    typ = get_origin(typ) or typ
    typ = _CONCRETE.get(typ, typ) if isinstance(typ, collections.abc.Hashable) else typ
    try:
        typ()
    except Exception:
        return None
    return typ  # type: ignore[no-any-return]


def _is_qualifier(origin: Any) -> bool:
    return getattr(origin, "_name", None) in ("Required", "NotRequired", "ReadOnly")


class BinaryOperatorAggregate(BaseChannel[Value, Any, Value]):
    """Folds every write into the value: ``value = operator(value, write)``, in order.

    Args:
        typ: Type of the value; ``typ()``, where that works, is the value before the first write.
        operator: The reducer, ``(current, write) -> new``.
    """

    __slots__ = ("_made", "operator", "pristine")
    replays = True  # the key may have been a ``DeltaChannel`` before
    _config = ("operator", "_made")
    _state = ("value", "pristine")

    def __init__(self, typ: Any, operator: Callable[[Any, Any], Any] = operators.add) -> None:
        self.operator = operator
        self._made = factory_of(typ)
        super().__init__(typ)

    def _clear(self) -> None:
        self.value = MISSING if self._made is None else self._made()
        self.pristine = True

    def copy(self) -> Self:
        new = super().copy()
        if self.pristine:
            # A reducer may change its left operand in place, and the initial value is a template's.
            new._clear()
        return new

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = super().from_checkpoint(checkpoint)
        new.pristine = checkpoint is MISSING
        return new

    def update(self, values: Sequence[Any]) -> bool:
        if not values:
            return False
        self.pristine = False
        replaced = False
        for value in values:
            replacement = overwritten(value)
            if replacement is not None:
                if replaced:
                    raise invalid_update(
                        self.key, "Can receive only one Overwrite value per super-step."
                    )
                self.value = replacement[0]
                replaced = True
            elif replaced:
                continue
            elif self.value is MISSING:
                self.value = value
            else:
                self.value = self.operator(self.value, value)
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinaryOperatorAggregate) and same_reducer(
            self.operator, other.operator
        )

    __hash__ = None


R = TypeVar("R", bound=Callable[..., Any])

_KEEPING: list[Callable[..., Any]] = [operators.add]


def keeps_items(reducer: R) -> R:
    """Mark a reducer that leaves the items of its list as they are, as ``operator.add`` does.

    A function of the user's is not marked: it may change an item that is in the list already.
    """
    _KEEPING.append(reducer)
    return reducer


def is_keeping_items(reducer: Callable[..., Any]) -> bool:
    """Return whether a reducer is marked by ``keeps_items``."""
    return any(reducer is known for known in _KEEPING)


def same_reducer(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two reducers count as one, where two schemas declare the same key.

    Every evaluation of a lambda is another object: two schemas that spell the same one agree.
    """
    return one is other or "<lambda>" in (_name(one), _name(other))


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "")
