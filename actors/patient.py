"""Waits for an answer of an actor, longer where processes of this machine wait for CPUs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from distgraph.concurrency.cpu_waits import cpu_waits
from distgraph.concurrency.patience import Patience

__all__ = ("answer_within",)

_LOOK = 1.0
"""Seconds between two looks at how busy the machine is."""

_GLANCE = 0.05
"""The same, at least."""

Value = TypeVar("Value")


def answer_within(
    seconds: float,
    answer: Future[Value],
    *,
    clock: Callable[[], float] = time.monotonic,
    waited: Callable[[int | None], float | None] = cpu_waits,
) -> Value:
    """Wait for an answer for some seconds. On a machine on which processes wait for CPUs, they last
    up to four times as long: see ``Patience``.

    Raises:
        concurrent.futures.TimeoutError: There is none within the seconds.
    """
    patience = Patience(clock(), waited(None))
    while True:
        left = seconds - patience.look(clock(), waited(None))
        try:
            return answer.result(min(_LOOK, max(_GLANCE, left)))
        except FutureTimeout:
            if left <= 0 or answer.done():
                raise
