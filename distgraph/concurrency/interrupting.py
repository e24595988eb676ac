"""Interruption of a thread that runs code of users, by CPython's asynchronous exceptions."""

from __future__ import annotations

import ctypes
import sys
import traceback

__all__ = ("Interrupted", "interrupt", "stack_of")


class Interrupted(BaseException):
    """Raised in a thread that was interrupted. No ``except Exception`` of users stops it."""


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
