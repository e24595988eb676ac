"""The idle limit of a graph that is a node: its tasks' progress, seen from the engine.

No process sees all tasks of the graph. Each attempt reports progress to the engine, at most once
in a quarter of the limit; the engine counts quarters without a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from distgraph.contract.attempt import Lateness, ProgressReports
from distgraph.contract.events import ProgressMade
from distgraph.contract.stream import AttemptId

if TYPE_CHECKING:
    from distgraph.types import TimeoutPolicy

__all__ = ("IdleWindow", "note_progress", "reports_of", "take_report")


class IdleWindow:
    """The time that a graph may go without progress, counted in quarters.

    The time in which an attempt waits for a worker does not count.
    """

    QUARTERS: ClassVar = 4

    def __init__(self, seconds: float, *, listens: bool) -> None:
        self.quarter = seconds / self.QUARTERS
        """Seconds."""
        self.listens = listens
        """Whether events, callbacks and ends of tasks count, not only heartbeats."""
        self.begun: set[AttemptId] = set()
        """Running attempts that have reached their worker."""
        self.moved = False
        """Whether there was progress in this quarter."""
        self._quiet = 0
        self._passed = 0

    @classmethod
    def of(cls, limit: TimeoutPolicy | None) -> IdleWindow | None:
        """Return the window for a node's limits, None without an idle limit."""
        if limit is None or not isinstance(limit.idle_timeout, float):
            return None
        return cls(limit.idle_timeout, listens=limit.refresh_on == "auto")

    def is_over_with(self, running: Iterable[AttemptId]) -> bool:
        """End a quarter, with the attempts that run. Return whether the whole window is over."""
        ids = set(running)
        self._passed += 1
        self._quiet = 0 if self.moved or not ids <= self.begun else self._quiet + 1
        self.begun &= ids
        self.moved = False
        return self._quiet >= self.QUARTERS

    @property
    def lateness(self) -> Lateness:
        """What the error of the node tells."""
        return Lateness("idle", self._passed * self.quarter)


def note_progress(windows: Iterable[IdleWindow]) -> None:
    """Note that a task has started or ended. ``windows``: those of the graphs around it."""
    for window in windows:
        if window.listens:
            window.moved = True


def take_report(windows: Sequence[IdleWindow], report: ProgressMade) -> None:
    """Note what an attempt has reported. A heartbeat is for the innermost limit alone.

    ``windows``: those of the graphs around the attempt, the innermost first.
    """
    for window in windows:
        window.begun.add(report.attempt_id)
    moved = windows[:1] if report.kind == "heartbeat" else [w for w in windows if w.listens]
    for window in moved:
        window.moved = True


def reports_of(windows: Sequence[IdleWindow]) -> ProgressReports | None:
    """Return which reports the attempts inside of these windows are to send, None for none."""
    if not windows:
        return None
    return ProgressReports(
        min(window.quarter for window in windows), any(window.listens for window in windows)
    )
