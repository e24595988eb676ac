"""``NamedBarrierValue``: opens once everyone who is named has written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value, invalid_update
from distgraph.errors import EmptyChannelError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("NamedBarrierValue", "NamedBarrierValueAfterFinish")


class NamedBarrierValue(BaseChannel[Value, Value, Any]):
    """Waits for one write of each of ``names``; triggers a node that joins several.

    Args:
        typ: Type of the names.
        names: What has to be written before the barrier opens.
    """

    __slots__ = ("names", "seen")
    _config = ("names",)
    _state: ClassVar[tuple[str, ...]] = ("seen",)

    def __init__(self, typ: Any = str, names: Iterable[Value] = ()) -> None:
        super().__init__(typ)
        self.names = frozenset(names)

    def _clear(self) -> None:
        self.seen: set[Value] = set()

    def copy(self) -> Self:
        new = super().copy()
        new.seen = self.seen.copy()
        return new

    def checkpoint(self) -> Any:
        return self.seen

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = self._empty()
        new._clear()
        if checkpoint is not MISSING:
            new.seen = set(checkpoint)
        return new

    def update(self, values: Sequence[Value]) -> bool:
        for value in values:
            if value not in self.names:
                raise invalid_update(self.key, f"Value {value!r} not in {sorted(self.names)!r}")  # type: ignore[type-var]
        before = len(self.seen)
        self.seen = self.seen.union(values)  # a checkpoint that is not saved yet holds the old set
        return len(self.seen) != before

    def get(self) -> Value:
        if not self.is_available():
            raise EmptyChannelError(f"channel '{self.key}' is empty")
        return None  # type: ignore[return-value]

    def is_available(self) -> bool:
        return self.seen == self.names

    def consume(self) -> bool:
        if not self.is_available():
            return False
        self._clear()
        return True


class NamedBarrierValueAfterFinish(NamedBarrierValue[Value]):
    """A ``NamedBarrierValue`` that opens when the rest of the run has ended, for deferred nodes."""

    __slots__ = ("finished",)
    _state: ClassVar[tuple[str, ...]] = ("seen", "finished")

    def _clear(self) -> None:
        super()._clear()
        self.finished = False

    def checkpoint(self) -> Any:
        return (self.seen, self.finished)

    def from_checkpoint(self, checkpoint: Any) -> Self:
        new = self._empty()
        new._clear()
        if checkpoint is not MISSING:
            seen, new.finished = checkpoint
            new.seen = set(seen)
        return new

    def is_available(self) -> bool:
        return self.finished and self.seen == self.names

    def finish(self) -> bool:
        if self.finished or self.seen != self.names:
            return False
        self.finished = True
        return True
