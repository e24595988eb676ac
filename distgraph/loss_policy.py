"""What follows when the process or machine that ran an attempt is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from distgraph._internal.mistakes import nearest
from distgraph._internal.settings import setting
from distgraph.types import OnLostAttempt

__all__ = ("LOSS_OPTIONS", "LossPolicy", "checked_losses", "default_losses")

LOSS_OPTIONS = ("max_attempts", "on_lost_attempt")
"""Keys of a run's config and of a node's ``ray_options``."""

_CHOICES: tuple[str, ...] = get_args(OnLostAttempt)


class LossPolicy(NamedTuple):
    """The options for lost attempts, of a run or of one node."""

    max_attempts: int = 3
    """Attempts in all, the first included, where they are lost with their process or machine."""
    on_lost_attempt: OnLostAttempt = "raise"
    """What follows if events of the lost attempt have been delivered already."""

    def of(self, options: Mapping[str, Any]) -> LossPolicy:
        """Return the policy with what a node's ``ray_options`` say."""
        if not options:
            return self
        own = {key: options[key] for key in LOSS_OPTIONS if options.get(key) is not None}
        if options.get("affinity") is not None:  # the process takes state with it
            own["max_attempts"] = 1
        return self._replace(**own) if own else self


def checked_losses(options: Mapping[str, Any], where: str) -> None:
    """Check the options for lost attempts. ``where``: how errors call the mapping.

    Raises:
        ValueError: A value is not valid.
    """
    most, choice = options.get("max_attempts"), options.get("on_lost_attempt")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise ValueError(f"{where}['max_attempts'] must be at least 1, got {most!r}")
    if choice is not None and choice not in _CHOICES:
        raise ValueError(
            f"{where}['on_lost_attempt'] must be one of {', '.join(map(repr, _CHOICES))}, got "
            f"{choice!r}.{nearest(str(choice), _CHOICES)}"
        )


def default_losses() -> LossPolicy:
    """Return the policy of the environment: ``DISTGRAPH_MAX_ATTEMPTS``,
    ``DISTGRAPH_ON_LOST_ATTEMPT``.

    Raises:
        ValueError: A value is not valid.
    """
    usual = LossPolicy()
    return LossPolicy(
        setting("DISTGRAPH_MAX_ATTEMPTS", usual.max_attempts),
        setting("DISTGRAPH_ON_LOST_ATTEMPT", usual.on_lost_attempt),
    )
