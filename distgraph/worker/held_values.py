"""Large values that a worker keeps, so that they are sent to it once. Pure.

Sender and receiver of one connection each have a ``HeldValues`` and treat the same numbers in the
same order: so the sender knows what the receiver has, without a message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

__all__ = ("KEPT_BYTES", "HeldValues")

V = TypeVar("V")

KEPT_BYTES = 64 << 20
"""Bytes of large values that a worker keeps for one session."""


class HeldValues(Generic[V]):
    """The values that were used last, by number.

    Args:
        limit: Most bytes of them.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._values: OrderedDict[int, tuple[V, int]] = OrderedDict()

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Return which of the numbers are not here, in order and each once."""
        return [n for n in dict.fromkeys(numbers) if n not in self._values]

    def use(self, numbers: Sequence[int], new: dict[int, tuple[V, int]]) -> list[V]:
        """Return the values of some numbers, and keep them; drop what was not used for longest.

        Args:
            numbers: What is used.
            new: Values that were ``missing``, each with its size in bytes.
        """
        found = [new[n] if n in new else self._values[n] for n in numbers]
        for number, (value, size) in zip(numbers, found, strict=True):
            if number in self._values:
                self._values.move_to_end(number)
            else:
                self._values[number] = value, size
                self._bytes += size
        while self._bytes > self._limit:
            _, (_, size) = self._values.popitem(last=False)
            self._bytes -= size
        return [value for value, _ in found]
