"""From a state schema to channels, and from its instances to updates.

A schema is a TypedDict, a dataclass, a pydantic model, or a bare ``Annotated[T, reducer]``.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from distgraph._internal.adapters import adapter_of
from distgraph._internal.keys import ROOT
from distgraph._internal.schema_objects import is_pydantic
from distgraph.channels.base import BaseChannel
from distgraph.channels.binop import BinaryOperatorAggregate
from distgraph.channels.delta import DeltaChannel
from distgraph.channels.last_value import LastValue
from distgraph.graph.message import own_reducer
from distgraph.managed import ManagedKind, is_managed, managed_kind

__all__ = (
    "Schema",
    "SchemaMapper",
    "has_fields",
    "mapper_of",
    "read_schema",
)


@dataclass(frozen=True)
class Schema:
    """The channels and managed values that one schema declares, by key, in order."""

    channels: Mapping[str, BaseChannel]
    managed: Mapping[str, ManagedKind]

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys in the order in which a node's input has them."""
        return (*self.channels, *self.managed)

    @property
    def is_root(self) -> bool:
        """Whether the whole state is one value rather than keys."""
        return self.keys == (ROOT,)


def _name(schema: Any) -> str:
    return getattr(schema, "__name__", None) or repr(schema)


def read_schema(schema: Any) -> Schema:
    """Turn a schema into channels.

    Raises:
        ValueError: A reducer that does not take two positional arguments; names the key.
        NameError: An annotation that cannot be evaluated; names the schema.
    """
    if not isinstance(schema, type) and not get_args(schema):
        warnings.warn(
            f"Invalid state_schema: {schema!r}. Expected a type or Annotated[type, reducer].",
            stacklevel=4,
        )
    if not hasattr(schema, "__annotations__"):
        return Schema({ROOT: _channel(ROOT, schema, schema)}, {})
    channels: dict[str, BaseChannel] = {}
    managed: dict[str, ManagedKind] = {}
    for key, annotation in _hints(schema).items():
        if key == "__slots__":
            continue
        annotation = _unqualified(annotation)
        if kind := _managed(annotation, _where(key, schema)):
            managed[key] = kind
        else:
            channels[key] = _channel(key, annotation, schema)
    return Schema(channels, managed)


def _hints(schema: Any) -> dict[str, Any]:
    try:
        return get_type_hints(schema, include_extras=True)
    except NameError as error:
        raise NameError(
            f"The annotations of schema {_name(schema)} cannot be evaluated: {error}. Define "
            "what they name at module level, or drop `from __future__ import annotations` there"
        ) from error


def _is_qualifier(origin: Any) -> bool:
    # By name: `typing` and `typing_extensions` may each have their own.
    return getattr(origin, "_name", None) in ("Required", "NotRequired", "ReadOnly")


def _unqualified(annotation: Any) -> Any:
    while _is_qualifier(get_origin(annotation)):
        annotation = get_args(annotation)[0]
    return annotation


def _managed(annotation: Any, where: str) -> ManagedKind | None:
    metadata = getattr(annotation, "__metadata__", ())
    marker = metadata and (get_origin(metadata[-1]) or metadata[-1])
    if marker and (kind := managed_kind(marker)):
        return kind
    if marker and is_managed(marker) and (adapter := adapter_of(marker)):
        adapter.as_channel(marker, annotation.__origin__, where)  # refuses it, by name
    args = get_args(annotation) if get_origin(annotation) is not None else ()
    return _managed(args[0], where) if args and args[0] is not annotation else None


def _where(key: str, schema: Any) -> str:
    return f"State key {key!r} of {_name(schema)}"


def _channel(key: str, annotation: Any, schema: Any) -> BaseChannel:
    channel = _declared(annotation, _where(key, schema)) or _reduced(key, annotation, _name(schema))
    channel = channel or LastValue(annotation)
    channel.key = key
    return channel


def _declared(annotation: Any, where: str) -> BaseChannel | None:
    """Return the channel of an annotation as a distgraph channel."""
    for item in getattr(annotation, "__metadata__", ()):
        typ = _unqualified(annotation.__origin__)
        if isinstance(item, DeltaChannel):
            return item.of_type(typ)
        if isinstance(item, BaseChannel):
            return item.copy()
        if isinstance(item, type) and issubclass(item, BaseChannel):
            return item(typ)
        if adapter := adapter_of(item):
            channel: BaseChannel = adapter.as_channel(item, typ, where)
            return channel
        if _is_channel_class(get_origin(item)):
            raise ValueError(
                f"{where} is annotated with {item}, which is a type. Give a channel, such as "
                "Topic(str), or its class, such as Topic"
            )
    return None


def _is_channel_class(cls: Any) -> bool:
    return isinstance(cls, type) and (issubclass(cls, BaseChannel) or adapter_of(cls) is not None)


def _reduced(key: str, annotation: Any, schema: str) -> BaseChannel | None:
    metadata = getattr(annotation, "__metadata__", ())
    if not metadata or not callable(metadata[-1]):
        return None
    reducer: Callable[[Any, Any], Any] = metadata[-1]
    try:
        signature = inspect.signature(reducer)
    except ValueError:
        # Some builtins have no signature to read; what they take shows when they run.
        return BinaryOperatorAggregate(annotation, own_reducer(reducer))
    try:
        signature.bind(None, None)
    except TypeError:
        raise ValueError(
            f"Invalid reducer signature for key '{key}' of {schema}. Expected (a, b) -> c. "
            f"Got {signature}"
        ) from None
    return BinaryOperatorAggregate(annotation, own_reducer(reducer))


# --- instances of a schema ----------------------------------------------------------------------


@dataclass(frozen=True)
class SchemaMapper:
    """Builds the instance of a schema's class that a node receives from its channel values."""

    schema: type[Any]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        return self.schema(**values)


def mapper_of(schema: Any, keys: Sequence[str]) -> SchemaMapper | None:
    """Return the mapper of a dataclass or pydantic schema; None where a dict is the state."""
    if tuple(keys) == (ROOT,) or not isinstance(schema, type):
        return None
    if dataclasses.is_dataclass(schema) or is_pydantic(schema):
        return SchemaMapper(schema)
    return None


def has_fields(annotation: Any) -> bool:
    """Return whether a parameter's annotation names a schema: a class with annotated fields."""
    if not isinstance(annotation, type):
        return False
    try:
        return bool(get_type_hints(annotation))
    except Exception:
        return False
