"""``DeltaChannel``: a key that is saved as what was written, not as the whole value each time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value, invalid_update
from distgraph.channels.binop import factory_of, overwritten, same_reducer
from distgraph.channels.message_ids import with_ids

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ("DeltaChannel", "DeltaSnapshot", "unwrapped")


class DeltaSnapshot(NamedTuple):
    """A whole value in a checkpoint: what was written before it is not read any more."""

    value: Any


def unwrapped(stored: Any) -> Any:
    """Return the value of a snapshot of either library; any other object unchanged."""
    cls = type(stored)
    if cls is DeltaSnapshot or cls.__name__ == "_DeltaSnapshot":
        return stored.value
    return stored


class DeltaChannel(BaseChannel[Value, Any, Any]):
    """Folds the writes of a superstep into the value at once, and is saved as these writes.

    A checkpoint is small, however long the value is. Reading a checkpoint goes back to the last
    snapshot and replays the later writes. The channel is in beta, as in LangGraph, and has
    LangGraph's layout.

    Args:
        reducer: ``(current, [write, ...]) -> new``. The result must not depend on how the
            writes are divided: ``reducer(reducer(s, a), b) == reducer(s, a + b)``.
        typ: Type of the value, which ``typ()`` makes empty. Within ``Annotated[T, ...]`` it is T.
        snapshot_frequency: Save the whole value after this many updates; at least 1.

    Raises:
        ValueError: ``snapshot_frequency`` is below 1.
        TypeError: ``typ`` cannot be made without arguments.

    Source: the channel of the same name of LangGraph 1.2.
    """

    __slots__ = ("_made", "reducer", "snapshot_frequency")
    saved_as_writes = True
    replays = True
    _config = ("reducer", "snapshot_frequency", "_made")

    def __init__(
        self,
        reducer: Callable[[Any, Sequence[Any]], Any],
        typ: Any = None,
        *,
        snapshot_frequency: int = 100,
    ) -> None:
        if snapshot_frequency <= 0:
            raise ValueError(f"snapshot_frequency must be a positive int, got {snapshot_frequency}")
        made = factory_of(list if typ is None else typ)
        if made is None:
            raise TypeError(
                f"DeltaChannel: {typ!r} cannot be made without arguments, which is what the value "
                "begins with. Annotate the key with list, dict, set or a class of your own"
            )
        self.reducer = reducer
        self.snapshot_frequency = snapshot_frequency
        self._made = made
        super().__init__(made)
        self.value = MISSING

    def of_type(self, typ: Any) -> DeltaChannel[Any]:
        """Return an empty channel like this one, for a key that is annotated with ``typ``."""
        return DeltaChannel(self.reducer, typ, snapshot_frequency=self.snapshot_frequency)

    def _clear(self) -> None:
        self.value = self._made()

    def copy(self) -> Self:
        new = super().copy()
        new.value = copy.copy(self.value)
        return new

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Return the channel with the value of a snapshot, a plain value, or (MISSING) empty."""
        return super().from_checkpoint(unwrapped(checkpoint))

    def checkpoint(self) -> Any:
        """Return MISSING: the value is in the writes, and in snapshots that the engine makes."""
        return MISSING

    def with_ids(self, write: Any) -> Any:
        """Return a write whose messages have ids, because each reading builds them again."""
        of_messages = getattr(self.reducer, "__name__", "") == "_messages_delta_reducer"
        return with_ids(write, messages_only=of_messages)

    def snapshot_due(self, updates: int) -> bool:
        return updates >= self.snapshot_frequency

    def from_writes(self, stored: Any, writes: Sequence[Any]) -> Self:
        """As for any channel; the reducer gets all writes since the last ``Overwrite`` at once."""
        new = self.from_checkpoint(stored)
        base, start = new.value, 0
        for index, write in enumerate(writes):
            replacement = overwritten(write)
            if replacement is not None:
                base, start = self._replaced(replacement[0]), index + 1
        rest = list(writes[start:])
        new.value = self.reducer(base, rest) if rest else base
        return new

    def update(self, values: Sequence[Any]) -> bool:
        if not values:
            return False
        found = [r for r in map(overwritten, values) if r is not None]
        if len(found) > 1:
            raise invalid_update(self.key, "Can receive only one Overwrite value per super-step.")
        if found:
            self.value = self._replaced(found[0][0])
        else:
            base = self._made() if self.value is MISSING else self.value
            self.value = self.reducer(base, list(values))
        return True

    def _replaced(self, value: Any) -> Any:
        return self._made() if value is None else copy.copy(value)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DeltaChannel)
            and self.snapshot_frequency == other.snapshot_frequency
            and same_reducer(self.reducer, other.reducer)
        )

    __hash__ = None
