"""When a shared process gets no more attempts, and when it is ended. Pure: it has no clock.

One process serves many attempts. Code that blocks it, or that goes on after its run was left, is no
reason to end attempts of other runs: the process is retired first. New attempts go to another one,
and those that run go on. It is ended when none is left, or when cancelled code keeps it blocked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from distgraph.contract.heartbeats import SILENT
from distgraph.driver.heartbeats import Health

__all__ = ("KILL", "Retirement", "Verdict")

KILL = 10.0
"""Seconds that cancelled code may block a shared process, before the process is ended with all of
its attempts. Cleanup code has five of them."""


class Verdict(NamedTuple):
    """What follows for a process."""

    retire: str = ""
    """Why it gets no more attempts, "" if it does."""
    end: bool = False
    """Whether the process is ended now."""


class Retirement:
    """The state of one shared process.

    Attributes:
        why: Why the process gets no more attempts; "" while it does.
    """

    def __init__(self) -> None:
        self.why = ""

    def retire(self, why: str) -> str:
        """Retire the process. Return why, "" if it was retired before."""
        if self.why:
            return ""
        self.why = why
        return why

    def look(
        self, health: Health, cancelled: Mapping[str, float], running: int, now: float
    ) -> Verdict:
        """Return what follows.

        Args:
            health: The state of the process, from heartbeats.
            cancelled: Attempts that were cancelled and have not come back, and since when.
            running: Attempts that have not come back, the cancelled ones included.
            now: The time.
        """
        stuck = health.stuck >= SILENT
        late = [name for name, since in cancelled.items() if now >= since + KILL]
        why = ""
        if not self.why:
            if stuck:
                why = f"its code has blocked it for {health.stuck:.0f} s"
            elif late:
                why = f"{len(late)} cancelled attempts have not come back"
            elif health.behind:
                why = f"the code of {health.behind} attempts goes on though nobody waits for it"
            self.why = why
        if not self.why:
            return Verdict()
        over = running == len(late) if not stuck else bool(late) or running == 0
        return Verdict(why, over)
