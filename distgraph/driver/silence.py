"""For how long a process that is asked for signs of life has given none. Pure."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ("Silence",)


_COUNTS = 2.0
"""Seconds between two looks that count at most: who asks each second, and looks later, does not get
the CPU, and could not have read the answer."""


class Silence:
    """The questions to one process, of which one is open at a time, and its answers.

    Args:
        starts: Seconds for the process to start, or to be started again. They do not count.
        stopped: Seconds without a look after which the asking process itself counts as stopped:
            the answer may be on its way.
    """

    def __init__(self, starts: float, stopped: float) -> None:
        self._starts = starts
        self._stopped = stopped
        self._asked: float | None = None
        """When the open question was asked."""
        self._since = self._looked = 0.0
        self.pid: int | None = None
        """The process that answered last, None for one that has not answered yet."""
        self.seen = float("-inf")
        """When it was asked for its last sign of life: it lived then, or later."""

    def look(self, now: float, exists: Callable[[int], bool]) -> float | None:
        """Return the seconds of silence, None if the next question is to be asked now.

        Args:
            now: The time in seconds.
            exists: Whether a process of that id exists.
        """
        looked, self._looked = self._looked, now
        if self._asked is None:
            self._asked = self._since = now
            return None
        if now - looked > self._stopped:
            self._since = now
        elif self._since <= looked:
            self._since += max(0.0, now - looked - _COUNTS)
        if self.pid is not None and not exists(self.pid):
            self.pid, self._since = None, now
        starts = self._starts if self.pid is None else 0.0
        return max(0.0, now - self._since - starts)

    def answered(self, asked: float, pid: int | None) -> None:
        """Note the answer to the question of a time; None if the process has died."""
        if self._asked != asked:
            return
        if pid is not None:
            self.pid, self.seen = pid, asked
        self._asked = None  # one that has died, or begins again, is asked anew

    def ended(self) -> None:
        """Note that the process was ended. One that follows it is asked anew."""
        self.pid = self._asked = None
