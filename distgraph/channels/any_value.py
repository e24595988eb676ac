"""``AnyValue``: several writers of values that are taken to be equal."""

from __future__ import annotations

from collections.abc import Sequence

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value

__all__ = ("AnyValue",)


class AnyValue(BaseChannel[Value, Value, Value]):
    """Holds one of the values of the last superstep; empty after a superstep without writes."""

    __slots__ = ()

    def update(self, values: Sequence[Value]) -> bool:
        if values:
            self.value = values[-1]
            return True
        if self.value is MISSING:
            return False
        self.value = MISSING
        return True
