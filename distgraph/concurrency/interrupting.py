"""Interruption of a thread that runs code of users, by CPython's asynchronous exceptions."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as `signal`, without the enumerations
import ctypes
import os
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


_expecting: set[int] = set()
"""Ids of the process that raises ``Terminated``, and of those that it is forked from."""


def expect_termination() -> None:
    """Raise ``Terminated`` for SIGTERM in this process, if this is the main thread."""
    alone = threading.current_thread() is threading.main_thread()
    if alone and _signal.getsignal(_SIGTERM) is not _terminate:
        _expecting.add(os.getpid())
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: Any) -> None:
    if os.getpid() in _expecting:
        raise Terminated(128 + number)
    # A process that a node has forked ends as every process does. An exception could be lost:
    # ``multiprocessing`` ends those of a pool while they still begin, and waits for their end.
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


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
