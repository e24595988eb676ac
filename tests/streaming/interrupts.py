"""Exceptions at every point at which CPython may run a signal handler.

That is behind calls and backward jumps only. An opcode trace raises the exception at each such
point of some files in turn.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any


class SoftTimeLimit(Exception):
    """As a signal handler of a program raises it."""


def _points(code: CodeType) -> frozenset[int]:
    """Offsets before which an interrupt may be raised."""
    points, due = set(), False
    for instruction in dis.get_instructions(code):
        if due and instruction.opname != "CACHE":
            points.add(instruction.offset)
            due = False
        if instruction.opname.startswith(("CALL", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "RESUME")):
            due = True
    return frozenset(points)


def point() -> None:
    """A point at which an exception may be raised, where this file is among the traced ones."""


@contextmanager
def untraced() -> Iterator[None]:
    """No exception is raised within: what happens here happens elsewhere in a real program."""
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)


class InterruptAt:
    """Raises an exception at the n-th point that the code of some files passes."""

    def __init__(self, n: int, error: type[BaseException], files: Collection[str]) -> None:
        self.left = n
        self.error = error
        self.where = ""
        self._files = files
        self._codes: dict[CodeType, frozenset[int]] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            code = frame.f_code
            points = self._codes.get(code)
            if points is None:
                points = self._codes[code] = _points(code)
            if frame.f_lasti in points:
                self.left -= 1
                if self.left == 0:
                    sys.settrace(None)
                    self.where = f"{code.co_name}:{frame.f_lineno}"
                    raise self.error
        return self

    def begin(self) -> None:
        """Trace this thread from here on."""
        sys._getframe(1).f_trace_opcodes = True  # Python 3.12 asks for it before tracing begins
        sys.settrace(self)
