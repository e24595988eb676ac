"""Pickles of a list in parts, so that a list that grew is not pickled or sent whole again. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ("HELD_PART", "GrowingList", "Part", "extends", "has_id")

HELD_PART = 16_000
"""Bytes from which a part that did not change is kept by workers, and not sent with each packet."""


class Part(NamedTuple):
    """Consecutive items of a list."""

    items: int
    """Number of the items."""
    blob: bytes | None
    """Their pickle, as a list. None: ``reference`` stands for it."""
    reference: Any = None


def extends(value: Sequence[Any], earlier: Sequence[Any]) -> bool:
    """Return whether a list begins with the very items of an earlier one."""
    return len(value) >= len(earlier) and all(map(operator.is_, earlier, value))


class GrowingList:
    """The parts of one channel's list.

    A part is pickled again together with the parts behind it, once these hold as many items: there
    are about log2(n) parts for n items, and an item is pickled about log2(n) times.

    Args:
        dump: Pickles some items.
        put: Stores a pickle where workers can fetch it and returns the reference to it.
        large: Bytes from which a part is stored at once.
    """

    def __init__(
        self, dump: Callable[[list[Any]], bytes], put: Callable[[bytes], Any], large: int
    ) -> None:
        self._dump = dump
        self._put = put
        self._large = large
        self._items: list[Any] = []
        self._parts: list[Part] = []

    def update(self, value: list[Any]) -> tuple[Part, ...]:
        """Return the parts of the list's next version.

        Raises:
            SerializationError: An item cannot be pickled.
        """
        earlier = self._items
        parts = list(self._parts) if extends(value, earlier) else []
        if not parts or len(value) > len(earlier):
            start = sum(part.items for part in parts)
            while parts and parts[-1].items <= len(value) - start:
                start -= parts.pop().items
            parts = [self._held(part) for part in parts]
            blob = self._dump(value[start:])
            reference = self._put(blob) if len(blob) >= self._large else None
            kept = blob if reference is None else None
            parts.append(Part(len(value) - start, kept, reference))
        # An item without an id gets one from ``add_messages`` later, in place.
        settled = all(has_id(item) for item in value[len(earlier) :])
        self._items, self._parts = (list(value), parts) if settled else ([], [])
        return tuple(parts)

    def _held(self, part: Part) -> Part:
        if part.blob is None or len(part.blob) < min(HELD_PART, self._large):
            return part
        return Part(part.items, None, self._put(part.blob))


def has_id(item: Any) -> bool:
    """Return whether ``add_messages`` leaves an item as it is: a message has an id."""
    if isinstance(item, dict):
        return "role" not in item or item.get("id") is not None
    return getattr(item, "id", "") is not None
