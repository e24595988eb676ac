"""Actor calls that are repeated while an actor is temporarily unavailable.

Ray answers such a call with ``ActorUnavailableError`` and does not say whether it was carried out.
What goes through here may be carried out twice: the broker takes segments, batches and requests
only once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from distgraph.concurrency.timers import timers

PATIENCE = 20.0
"""Seconds for which an actor may be out of reach."""

AGAIN = 0.1
"""Seconds between two tries."""


def is_passing(error: BaseException | None) -> bool:
    """Whether a call failed because its actor was unavailable, and not because the actor died."""
    return isinstance(error, ActorUnavailableError) and not isinstance(error, ActorDiedError)


def persistent(call: Callable[[], Any]) -> Future[Any]:
    """Return the result of a remote call, tried again while its actor is out of reach.

    What is raised by anything but Ray, such as a signal handler, leaves this call.

    Args:
        call: Makes the call and returns its reference.
    """
    result: Future[Any] = Future()
    until = time.monotonic() + PATIENCE

    def again() -> None:
        try:
            call().future().add_done_callback(settle)
        except Exception as error:
            result.set_exception(error)

    def settle(future: Future[Any]) -> None:
        error = future.exception()
        if is_passing(error) and time.monotonic() < until:
            timers().after(AGAIN, again)
        elif error is not None:
            result.set_exception(error)
        else:
            result.set_result(future.result())

    try:
        call().future().add_done_callback(settle)
    except RayError as error:
        result.set_exception(error)
    return result
