"""Whether any job waits for resources of the cluster, as far as is known. Pure.

Idle worker leases are kept beyond their short idle time while nobody waits for what they hold. Only
the cluster's control store knows that, and it may know a second late.
"""

from __future__ import annotations

from math import inf

__all__ = ("CALM", "LOOK_AFTER", "LOOK_EVERY", "Calm")

LOOK_AFTER = 0.05
"""Seconds without a group after which a lease is a reason to look: before its idle time ends."""

LOOK_EVERY = 0.1
"""Seconds between two looks while a lease is idle. A look takes a millisecond, of which half is
CPU time. The control store asks the machines each second: to look more often tells little."""

CALM = 0.3
"""Seconds for which a report counts that nobody waits. The next look comes before, unless the
control store does not answer."""


class Calm:
    """Decides when to look, and how long idle leases are kept.

    Args:
        keep: Seconds without a group for which a lease is kept at most. 0: there are no looks.
    """

    def __init__(self, keep: float) -> None:
        self.keep = keep
        self._until = -inf
        """Up to when the last report counts."""
        self._look_from = -inf

    def look_at(self, since: float) -> float:
        """Return when to look, for leases that are idle since then."""
        return max(since + LOOK_AFTER, self._look_from) if self.keep else inf

    def looks(self) -> None:
        """Note that a look is under way."""
        self._look_from = inf

    def looked(self, is_calm: bool, now: float) -> None:
        """Note what a look has found."""
        self._until = now + CALM if is_calm else now
        self._look_from = now + LOOK_EVERY

    def end_of(self, since: float, due: float) -> float:
        """Return when a lease ends which is idle since then, and otherwise ended when ``due``."""
        return max(due, min(self._until, since + self.keep))
