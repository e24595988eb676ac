"""``UntrackedValue``: a value that no checkpoint stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value

__all__ = ("UntrackedValue",)


class UntrackedValue(BaseChannel[Value, Value, Value]):
    """Holds the last value written and leaves it out of checkpoints.

    Args:
        typ: Type of the value.
        guard: Refuse a second write in one superstep; if False, the last one counts.
    """

    __slots__ = ("guard",)
    _config = ("guard",)

    def __init__(self, typ: Any = Any, guard: bool = True) -> None:
        super().__init__(typ)
        self.guard = guard

    def checkpoint(self) -> Any:
        return MISSING

    def from_checkpoint(self, checkpoint: Any) -> UntrackedValue[Value]:
        new = self._empty()
        new._clear()
        return new

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        self.value = self._last(values, self.guard)
        return True
