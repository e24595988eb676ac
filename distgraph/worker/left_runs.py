"""What a coroutine of a run that has ended may still emit, until the cancel reaches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from distgraph.contract.stream import Event
from distgraph.errors import RunCancelled

__all__ = ("until_cancelled",)

_AWAITS = 1.0
"""Seconds after which code that has not been cancelled counts as code that never awaits."""


def until_cancelled(
    emit: Callable[[Event], None],
    goes_on: Callable[[], object],
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[Event], None]:
    """Return ``emit`` for the code of the running asyncio task: events of a left run are dropped.

    The cancel follows the end of the run, and is raised where the code awaits, as in LangGraph. An
    event in between must not raise anything else: the code would not see ``CancelledError``.
    The code that then cleans up may emit too. In a thread that the code has started, ``emit``
    raises as it does.

    Args:
        emit: Publishes an event.
        goes_on: Called once when code that was cancelled still emits, a second later: what it emits
            is lost, and nothing else says so.
        clock: Seconds, monotonic.

    Raises:
        RunCancelled: By the function that is returned: the run ended more than a second ago, and no
            cancel has reached the code.
    """
    attempt = asyncio.current_task()
    refused: float | None = None
    told = False

    def emit_or_drop(event: Event) -> None:
        nonlocal refused, told
        try:
            emit(event)
        except RunCancelled:
            if attempt is None or attempt.done() or not _is_on(attempt.get_loop()):
                raise
            if refused is None:
                refused = clock()
            is_cancelled = getattr(attempt, "cancelling", int)()  # not in Python 3.10
            if clock() <= refused + _AWAITS or told:
                return
            if not is_cancelled:
                raise
            told = True
            goes_on()

    return emit_or_drop


def _is_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the calling thread runs the loop: code in another thread is not cancelled."""
    return asyncio._get_running_loop() is loop
