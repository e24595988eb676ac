"""How much time counts while a process waits for another one. Pure; the clock is an argument."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ("Patience", "Question", "attended", "left_out")

MOST = 2.0
"""Seconds between two looks that count at most: who looks each second, and looks later, did not run
meanwhile, and could not have seen an answer."""

_LEFT_OUT = 0.75
"""Part of the time between two looks that is left out at most, however long the other process has
waited for a CPU: the bound of a wait holds on a machine without free CPUs too, four times as
long."""


def left_out(passed: float, before: float | None, waited: float | None) -> float:
    """Return how many seconds do not count of those that have passed.

    Args:
        passed: Seconds.
        before: Seconds for which the other process had waited for a CPU at their begin, on whatever
            scale; None where they are not known.
        waited: The same at their end.
    """
    if before is None or waited is None:
        return 0.0
    return min(max(0.0, waited - before), passed * _LEFT_OUT)


class Patience:
    """Counts the seconds that another process could have used.

    A process that waits for a CPU is neither stopped nor lost: that time is left out. So is time in
    which the process that counts did not run itself.

    Args:
        now: The time.
        waited: Seconds for which the other process has waited for a CPU until now, on whatever
            scale; None where they are not known.
    """

    def __init__(self, now: float, waited: float | None = None) -> None:
        self._looked = now
        self._waited = waited
        self.seconds = 0.0
        """What was counted until the last look."""

    def look(self, now: float, waited: float | None = None) -> float:
        """Return the seconds until now. To be called each second. For ``waited``, see the class."""
        passed = min(max(0.0, now - self._looked), MOST)
        self.seconds += passed - left_out(passed, self._waited, waited)
        self._looked, self._waited = now, waited
        return self.seconds


class Question:
    """Questions to another process, one at a time, that somebody looks at each second.

    Attributes:
        asked: When the open question was asked; None while none is open.
        bound: Seconds for the answer.
    """

    def __init__(self) -> None:
        self.asked: float | None = None
        self.bound = 0.0
        self._patience: tuple[float, Patience] | None = None
        """With the answer to the question of a time."""

    def is_over(self, now: float, waited: float | None = None) -> bool:
        """Return whether the answer does not come in time. For ``waited``, see ``Patience``."""
        if self.asked is None:
            return False
        if self._patience is None or self._patience[0] != self.asked:
            self._patience = self.asked, Patience(self.asked)
        return self._patience[1].look(now, waited) >= self.bound


def attended(clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that leaves out time in which its own process did not run.

    Somebody has to ask for the time each second. Any thread may.
    """
    lock = threading.RLock()  # the garbage collector may close a stream at any moment
    asked = clock()
    at = asked

    def now() -> float:
        nonlocal asked, at
        with lock:
            current = clock()
            at += min(max(0.0, current - asked), MOST)
            asked = current
            return at

    return now
