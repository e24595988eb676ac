"""When to check a worker for files that code of users has closed or replaced. Pure.

A close look takes about 0.05 ms, and steps take a millisecond: it comes before code of another run,
which is not to suffer, and not before each attempt. While code of several runs is running, the
looks come at intervals.
"""

from __future__ import annotations

__all__ = ("Looks",)

PAUSE = 0.02
"""Seconds between two close looks while code of users is running."""


class Looks:
    """Whether code of users may have damaged this process since it was looked at closely."""

    def __init__(self) -> None:
        self._runs: set[str] = set()
        """Runs whose code has begun since then."""
        self._looked = float("-inf")

    def begins(self, run: str, now: float, *, alone: bool = True) -> bool:
        """Note that code of a run begins. Return whether the process is looked at before.

        Args:
            run: The run.
            now: The time in seconds.
            alone: Whether no other code of users is running here.
        """
        due = bool(self._runs - {run}) if alone else now >= self._looked + PAUSE
        if due:
            self._look(now)
        self._runs.add(run)
        return due

    def rests(self, now: float) -> bool:
        """Note that no code of users is running for now. Return whether to look at the process."""
        due = bool(self._runs)
        if due:
            self._look(now)
        return due

    def _look(self, now: float) -> None:
        self._looked = now
        self._runs.clear()

    @property
    def is_due(self) -> bool:
        """Whether code of users has begun since the last look."""
        return bool(self._runs)
