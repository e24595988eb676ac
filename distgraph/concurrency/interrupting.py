"""Interruption of a thread that runs code of users, by CPython's asynchronous exceptions."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as `signal`, without the enumerations
import ctypes
import signal
import sys
import threading
import traceback
from typing import Any

__all__ = ("Interrupted", "Terminated", "expect_termination", "interrupt", "stack_of")


_SIGTERM = int(signal.SIGTERM)


class Interrupted(BaseException):
    """Raised in a thread that was interrupted. No ``except Exception`` of users stops it."""


class Terminated(SystemExit):
    """Raised in the main thread of a process that is asked to end: its machine leaves, or Ray has
    lost it. What runs there is lost, and did not exit by itself."""


def expect_termination() -> None:
    """Raise ``Terminated`` for SIGTERM, if this is the main thread."""
    alone = threading.current_thread() is threading.main_thread()
    if alone and _signal.getsignal(_SIGTERM) is not _terminate:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: Any) -> None:
    raise Terminated(128 + number)


def interrupt(thread: int) -> None:
    """Raise ``Interrupted`` in a thread, at its next Python instruction: not within a call of C.

    Args:
        thread: Identifier of the thread.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(Interrupted)
    )


def stack_of(thread: int) -> str:
    """Return the Python stack of a thread, "" if it has ended."""
    frame = sys._current_frames().get(thread)
    return "" if frame is None else "".join(traceback.format_stack(frame))
