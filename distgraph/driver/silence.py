"""For how long a process that is asked for signs of life has given none. Pure."""

from __future__ import annotations

from collections.abc import Callable

from distgraph.concurrency.patience import Patience

__all__ = ("Silence",)


class Silence:
    """The questions to one process, of which one is open at a time, and its answers.

    Args:
        starts: Seconds for the process to start, or to be started again. They do not count.
        stopped: Seconds without a look after which the asking process itself counts as stopped:
            the answer may be on its way.
        waited: Returns for how long a process has waited for a CPU, or all processes of its machine
            for None; None where that is not known. This time does not count: see ``Patience``.
    """

    def __init__(
        self,
        starts: float,
        stopped: float,
        waited: Callable[[int | None], float | None] = lambda pid: None,
    ) -> None:
        self._starts = starts
        self._stopped = stopped
        self._waited = waited
        self._asked: float | None = None
        """When the open question was asked."""
        self._looked = 0.0
        self._patience = Patience(0.0)
        """With the answer to the open question."""
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
        passed, self._looked = now - self._looked, now
        if self._asked is None:
            self._asked = now
            self._patience = Patience(now)
            return None
        if self.pid is not None and not exists(self.pid):
            self.pid, self._patience = None, Patience(now)
        elif passed > self._stopped:
            self._patience = Patience(now)
        starts = self._starts if self.pid is None else 0.0
        return max(0.0, self._patience.look(now, self._waited(self.pid)) - starts)

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
