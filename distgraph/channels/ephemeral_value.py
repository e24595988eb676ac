"""``EphemeralValue``: a value that lives for one superstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value

__all__ = ("EphemeralValue",)


class EphemeralValue(BaseChannel[Value, Value, Value]):
    """Holds the value of the preceding superstep and is empty after the next.

    Args:
        typ: Type of the value.
        guard: Refuse a second write in one superstep; if False, the last one counts.
    """

    __slots__ = ("guard",)
    _config = ("guard",)

    def __init__(self, typ: Any = Any, guard: bool = True) -> None:
        super().__init__(typ)
        self.guard = guard

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            if self.value is MISSING:
                return False
            self.value = MISSING
            return True
        self.value = self._last(values, self.guard)
        return True
