"""``LastValue``: the default channel of a state key, one writer a superstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel, Value, invalid_update
from distgraph.errors import EmptyChannelError

__all__ = ("LastValue", "LastValueAfterFinish")


class LastValue(BaseChannel[Value, Value, Value]):
    """Holds the last value written; two writes in one superstep are an error."""

    __slots__ = ()

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        if len(values) != 1:
            raise invalid_update(
                self.key,
                f"Can receive only one value per step, got {len(values)}. Use an Annotated key "
                "with a reducer to handle multiple values.",
            )
        self.value = values[0]
        return True


class LastValueAfterFinish(BaseChannel[Value, Value, "tuple[Value, bool]"]):
    """Holds the last value written, and shows it when the rest of the run has ended.

    It triggers a deferred node. The value is gone once a node has consumed it.
    """

    __slots__ = ("finished",)
    _state = ("value", "finished")

    def _clear(self) -> None:
        self.value = MISSING
        self.finished = False

    def checkpoint(self) -> tuple[Value, bool] | Any:
        return MISSING if self.value is MISSING else (self.value, self.finished)

    def from_checkpoint(self, checkpoint: tuple[Value, bool] | Any) -> LastValueAfterFinish[Value]:
        new = self._empty()
        new._clear()
        if checkpoint is not MISSING:
            new.value, new.finished = checkpoint
        return new

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        self.finished = False
        self.value = values[-1]
        return True

    def consume(self) -> bool:
        if not self.finished:
            return False
        self._clear()
        return True

    def finish(self) -> bool:
        if self.finished or self.value is MISSING:
            return False
        self.finished = True
        return True

    def get(self) -> Value:
        if not self.is_available():
            raise EmptyChannelError(f"channel '{self.key}' is empty")
        return self.value  # type: ignore[no-any-return]

    def is_available(self) -> bool:
        return self.finished and self.value is not MISSING
