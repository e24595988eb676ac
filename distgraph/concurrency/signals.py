"""Calls that an exception of a signal handler cannot leave half done."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from distgraph.concurrency.threads import elsewhere

__all__ = ("safe_from_signals",)

_GRACE = 1.0
"""Seconds that a call may take to begin."""

_GLANCE = 0.001
"""Seconds between two looks whether a call that nobody waits for any more has ended."""

_T = TypeVar("_T")


def safe_from_signals(
    call: Callable[[], _T], left: Callable[[_T], object] = lambda result: None
) -> _T:
    """Make a call that no signal handler may leave amid a step, and wait for its end.

    On the main thread a handler may raise at any moment: there, the call is made in another thread.

    Args:
        call: What is called.
        left: Called with the result if a signal handler has raised meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    began = threading.Lock()  # not an Event: its Python code could be left amid a step too
    over = threading.Lock()
    began.acquire()
    over.acquire()
    results: list[_T] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def carry_out() -> None:
        began.release()
        try:
            results.append(context.run(call))
        except BaseException as error:
            errors.append(error)
        over.release()

    def leave() -> None:
        if began.acquire(timeout=_GRACE):  # else the handler had raised before the call was made
            while not (results or errors):
                time.sleep(_GLANCE)
            for result in results:
                left(result)

    try:
        if not elsewhere(carry_out):
            return call()
        over.acquire()
    except BaseException:
        elsewhere(leave)
        raise
    if errors:
        raise errors.pop()
    return results[0]
