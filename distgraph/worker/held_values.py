"""Large values that a worker keeps, so that they are sent to it once. Pure.

Both sides of a connection, ``SentValues`` and ``ReceivedValues``, treat the same numbers in the
same order: so the sender knows what the receiver has, without a message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from distgraph.worker.snapshots import Snapshot

__all__ = ("KEPT_BYTES", "ReceivedValues", "SentValues")

V = TypeVar("V")

KEPT_BYTES = 64 << 20
"""Bytes of large values that a worker keeps for one session."""


class _LastUsed(Generic[V]):
    """The values that were used last, by number.

    Args:
        limit: Most bytes of them.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._values: OrderedDict[int, tuple[V, int]] = OrderedDict()

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Return which of the numbers are not here, in order."""
        return [n for n in numbers if n not in self._values]

    def _use(self, numbers: Iterable[int], new: Mapping[int, tuple[V, int]]) -> list[V]:
        """Return the values of some numbers, and keep them; drop what was not used for longest.

        Args:
            numbers: What is used, each once.
            new: Values that are missing, each with its size in bytes.
        """
        found = {n: new[n] if n in new else self._values[n] for n in numbers}
        for number, (value, size) in found.items():
            if number in self._values:
                self._values.move_to_end(number)
            else:
                self._values[number] = value, size
                self._bytes += size
        while self._bytes > self._limit:
            _, (_, size) = self._values.popitem(last=False)
            self._bytes -= size
        return [value for value, _ in found.values()]


class SentValues(_LastUsed[None]):
    """What the receiver of a connection keeps, as its sender knows."""

    def send(self, values: Mapping[int, bytes]) -> list[int]:
        """Return which of the values have to be sent, in order: the receiver does not keep them."""
        new = self.missing(values)
        self._use(values, {n: (None, len(values[n])) for n in new})
        return new


class ReceivedValues(_LastUsed[Snapshot]):
    """What the receiver of a connection keeps."""

    def receive(
        self, numbers: Sequence[int], new: Sequence[int], parts: Sequence[bytes | memoryview]
    ) -> list[Snapshot]:
        """Return the values that a packet refers to.

        Args:
            numbers: The values, each once.
            new: Which of them come with the packet.
            parts: The pickles of these.
        """
        arrived = zip(new, parts, strict=True)
        return self._use(numbers, {n: (Snapshot(part), len(part)) for n, part in arrived})
