"""``Topic``: a list of everything that was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value
from distgraph.errors import EmptyChannelError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("Topic",)


class Topic(BaseChannel["Sequence[Value]", "Value | list[Value]", "list[Value]"]):
    """Collects all writes in order; a write that is a list adds its items.

    Args:
        typ: Type of one item.
        accumulate: Keep the items of earlier supersteps; if False, each superstep starts empty.
    """

    __slots__ = ("accumulate", "values")
    _config = ("accumulate",)
    _state = ("values",)

    def __init__(self, typ: Any = Any, accumulate: bool = False) -> None:
        super().__init__(typ)
        self.accumulate = accumulate

    @property
    def ValueType(self) -> Any:
        return Sequence[self.typ]  # type: ignore[name-defined]

    @property
    def UpdateType(self) -> Any:
        return self.typ | list[self.typ]  # type: ignore[name-defined]

    def _clear(self) -> None:
        self.values: list[Value] = []

    def copy(self) -> Self:
        new = self._empty()
        new.values = self.values.copy()
        return new

    def checkpoint(self) -> list[Value]:
        return self.values

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = self._empty()
        new.values = [] if checkpoint is MISSING else list(checkpoint)
        return new

    def update(self, values: Sequence[Value | list[Value]]) -> bool:
        updated = not self.accumulate and bool(self.values)
        # A checkpoint that is not saved yet holds the old list.
        self.values = self.values.copy() if self.accumulate else []
        for value in values:
            if isinstance(value, list):
                self.values.extend(value)
                updated = updated or bool(value)
            else:
                self.values.append(value)
                updated = True
        return updated

    def get(self) -> Sequence[Value]:
        if not self.values:
            raise EmptyChannelError(f"channel '{self.key}' is empty")
        return list(self.values)

    def is_available(self) -> bool:
        return bool(self.values)
