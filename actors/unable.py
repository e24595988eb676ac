"""Actors that cannot do their work on their machine, and say so.

An actor with concurrency groups whose ``__init__`` raises aborts its process (Ray 2.60), with a
dump of its C++ stack on the console of every program of the job.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from distgraph.concurrency.timers import timers
from distgraph.errors import UnsupportedClusterError

__all__ = ("check_able", "says_if_unable")

_TOLD = 10.0
"""Seconds for those who started an actor to ask whether it works, before its process ends."""


def says_if_unable(init: Callable[..., None]) -> Callable[..., None]:
    """Make an ``__init__`` keep an ``UnsupportedClusterError`` for ``check_able``."""

    @functools.wraps(init)
    def made(self: Any, *arguments: Any, **options: Any) -> None:
        self.unable = None
        try:
            init(self, *arguments, **options)
        except UnsupportedClusterError as error:
            self.unable = error
            timers().after(_TOLD, partial(os._exit, 1))

    return made


def check_able(actor: Any) -> None:
    """Raise what keeps an actor from its work.

    Raises:
        UnsupportedClusterError: See there.
    """
    if actor.unable is not None:
        raise actor.unable
