"""How far a worker is with a batch of attempts. Pure."""

from __future__ import annotations

import itertools
import threading

__all__ = ("Alarm", "Batch")


class Batch:
    """The attempts of a batch: which of them begin here, and the outcomes of those that have ended.

    The thread that runs the attempts calls ``begin`` and ``ended``; another thread may call
    ``recall`` meanwhile. Each attempt either begins here or is given back, and each outcome is
    returned once.

    Args:
        count: Attempts of the batch.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._end = count
        self._outcomes: list[bytes] = []
        self.is_recalled = False
        """Whether what ``recall`` returned is being sent: what ``take`` returns is sent later."""

    def begin(self) -> int | None:
        """Return the position of the attempt to run now, None where none is left."""
        with self._lock:
            if self._next >= self._end:
                return None
            self._next += 1
            return self._next - 1

    def ended(self, outcome: bytes) -> None:
        """Keep the packed outcome of the attempt that began last."""
        with self._lock:
            self._outcomes.append(outcome)

    def recall(self) -> tuple[list[bytes], int]:
        """Give back what has not begun. Return the outcomes that are there, and the position of the
        first attempt that is given back: none is where it is the number of attempts.

        Outcomes with references, and those behind them, stay: they travel another way.
        ``is_recalled`` is set, for the caller to unset.
        """
        with self._lock:
            self.is_recalled = True
            self._end = self._next
            plain = list(itertools.takewhile(_is_plain, self._outcomes))
            del self._outcomes[: len(plain)]
            return plain, self._end

    def take(self) -> list[bytes]:
        """Return the outcomes that were not returned yet."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
            return outcomes


class Alarm:
    """When the batch that runs is late. One timer serves the batches that follow each other: most
    end long before they are late, and to set a timer costs as much as some attempts. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: tuple[int, float] | None = None
        """The batch that runs, by its number, and when it is late."""
        self._is_set = False

    def set(self, number: int, when: float) -> bool:
        """Note when a batch that has come is late. Return whether a timer is to be set for it."""
        with self._lock:
            self._due = number, when
            needed, self._is_set = not self._is_set, True
            return needed

    def clear(self) -> None:
        """Note that the batch has ended."""
        with self._lock:
            self._due = None

    def look(self, now: float) -> int | float | None:
        """Take the end of the timer. Return the number of the batch that is late, or the seconds
        after which to look again, or None where no batch runs: no timer is set then."""
        with self._lock:
            due = self._due
            if due is not None and due[1] > now:
                return due[1] - now
            self._is_set, self._due = False, None
            return None if due is None else due[0]


def _is_plain(outcome: bytes) -> bool:
    return type(outcome) is bytes
