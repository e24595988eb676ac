"""Items of lists that only grow, serialized once for all checkpoints that contain them. Pure.

LangGraph's serializer writes a message as an extension of MessagePack, whose bytes do not depend on
what is around it. A list with such extensions in place of its messages is serialized to the same
bytes, in a hundredth of the time. A saver that only serializes what it is given can be given such a
list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from distgraph._internal.loaded import loaded
from distgraph.worker.list_parts import extends, has_id

__all__ = ("SHORT", "Encode", "EncodedLists", "alike", "encoder_of", "settled")

SHORT = 16
"""Items up to which a list is always treated as new."""

_SAVERS = {
    "langgraph.checkpoint.memory.InMemorySaver",
    "langgraph.checkpoint.sqlite.SqliteSaver",
    "langgraph.checkpoint.postgres.PostgresSaver",
    "langgraph.checkpoint.postgres.shallow.ShallowPostgresSaver",
}
"""Exact classes whose ``put`` passes the values of channels to the serializer, and does nothing
else with lists."""

_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
"""First bytes of extensions in MessagePack, and how many bytes such an extension holds."""

_SIZED = {0xC7: 1, 0xC8: 2, 0xC9: 4}
"""First bytes of extensions, and how many bytes behind the first say how many they hold."""

Encode = Callable[[Any], Any]
"""Returns what is serialized to the same bytes as an item, and sooner if that is possible."""


def encoder_of(saver: Any) -> Encode | None:
    """Return what makes items ready for a saver, None if the saver may look at what it is given."""
    cls = type(saver)
    put = getattr(cls, "put", None)
    exact = (
        f"{cls.__module__}.{cls.__qualname__}" in _SAVERS
        and "put" not in vars(saver)
        and type(put) is FunctionType
        and put.__module__ == cls.__module__
        and not hasattr(put, "__wrapped__")  # code of users looks at what is saved
    )
    serde: Any = getattr(saver, "serde", None)
    serializer = loaded("langgraph.checkpoint.serde.jsonplus", "JsonPlusSerializer")
    extension = loaded("ormsgpack", "Ext")
    plain = type(serde) is serializer and "dumps_typed" not in vars(serde)
    pickles = getattr(serde, "pickle_fallback", True)  # all of a list, where one item needs it
    if not (exact and plain) or pickles or extension is None:
        return None

    def encode(item: Any) -> Any:
        try:
            kind, data = serde.dumps_typed(item)
        except Exception:  # it occurs again where the saver serializes the list
            return item
        parts = _extension(data) if kind == "msgpack" else None
        return item if parts is None else extension(*parts)

    return encode


def _extension(data: bytes) -> tuple[int, bytes] | None:
    """Return kind and content of an extension of MessagePack, None if the bytes are no such."""
    first = data[0]
    if first in _FIXED:
        size, begin = _FIXED[first], 1
    elif first in _SIZED:
        begin = 1 + _SIZED[first]
        size = int.from_bytes(data[1:begin], "big")
    else:
        return None
    content = data[begin + 1 :]
    if len(content) != size:
        return None
    return int.from_bytes(data[begin : begin + 1], "big", signed=True), content


def alike(known: list[Any], value: list[Any]) -> int:
    """Return the number of items with which both lists begin."""
    if extends(value, known):
        return len(known)
    pairs = enumerate(zip(known, value, strict=False))
    return next((at for at, (old, new) in pairs if old is not new), min(len(known), len(value)))


def settled(value: list[Any], begin: int) -> int:
    """Return the number of items that stay as they are, of which ``begin`` are known to.

    An item without an id gets one from ``add_messages`` later, in place.
    """
    return next((at for at in range(begin, len(value)) if not has_id(value[at])), len(value))


class EncodedLists:
    """The lists of one run, for a saver that this process calls itself.

    Args:
        only_adds: Whether the reducer of a channel leaves the items of its list as they are, by
            the namespace of a checkpoint and the channel's name.
        encode: See ``encoder_of``.
    """

    def __init__(self, only_adds: Callable[[str, str], bool], encode: Encode) -> None:
        self._only_adds = only_adds
        self._encode = encode
        self._known: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {}
        """Items by namespace and channel, as they were and as they are given to the saver."""

    def encoded(self, ns: str, checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a checkpoint that is serialized to the same bytes."""
        values = checkpoint["channel_values"]
        ready = {
            name: self._ready((ns, name), value)
            for name, value in values.items()
            if type(value) is list and len(value) > SHORT and self._only_adds(ns, name)
        }
        return {**checkpoint, "channel_values": {**values, **ready}} if ready else checkpoint

    def _ready(self, channel: tuple[str, str], value: list[Any]) -> list[Any]:
        items, ready = self._known.get(channel, ([], []))
        kept = alike(items, value)
        ready = [*ready[:kept], *map(self._encode, value[kept:])]
        stay = settled(value, kept)
        self._known[channel] = value[:stay], ready[:stay]
        return ready
