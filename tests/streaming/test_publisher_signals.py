"""A ``KeyboardInterrupt`` at any point of ``emit`` loses no event that was accepted.

CPython runs signal handlers behind calls and backward jumps only. An opcode trace raises the
interrupt at each such point in turn.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import CodeType, FrameType
from typing import Any

from distgraph.contract.stream import END_MODE, Admit, Commit, Event, Finish, Segment
from distgraph.streaming import publisher as publisher_module
from distgraph.streaming.log import RunLog
from distgraph.streaming.publisher import Publisher

from .support import END_BLOB, read_all

FILES = {publisher_module.__file__, threading.__file__}


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


class InterruptAt:
    """Raises ``KeyboardInterrupt`` at the n-th point that the publisher's code passes."""

    def __init__(self, n: int) -> None:
        self.left = n
        self.where = ""
        self._codes: dict[CodeType, frozenset[int]] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in FILES:
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
                    raise KeyboardInterrupt
        return self


def _run(interrupt: InterruptAt) -> tuple[list[int], list[int], int, bool]:
    """Interrupt an attempt that goes on regardless; return what arrived of it and of another."""
    log, now, acks = RunLog(), [100.0], list[Future[float]]()
    log.drive(1, [Admit("a", 1, 1), Admit("b", 1, 1)])

    def send(run_key: str, segments: list[Segment]) -> Future[float]:
        for segment in segments:
            log.publish(segment)
        acks.append(Future())
        return acks[-1]

    def settle() -> None:
        now[0] += 1
        publisher.pump()
        while acks:
            acks.pop().set_result(0.0)
            now[0] += 1
            publisher.pump()

    publisher = Publisher(send, lambda: now[0], spawn=lambda body: None)
    a, b = publisher.open("run", "a", 1, 1), publisher.open("run", "b", 1, 1)
    b.emit(Event((), "custom", 0))
    settle()
    accepted = 0
    sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it before tracing begins
    sys.settrace(interrupt)
    try:
        for i in range(3):
            a.emit(Event((), "custom", i))
            accepted += 1
            if i == 0:
                b.emit(Event((), "custom", 1))
                acks.pop().set_result(0.0)
                now[0] += 1
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    a.emit(Event((), "custom", 99))
    b.emit(Event((), "custom", 2))
    settle()
    b.emit(Event((), "custom", 3))
    settle()
    log.drive(2, [Commit("a", 1, *a.close()), Commit("b", 1, *b.close()), Finish(END_BLOB)])
    events = [e for e in read_all(log) if e.mode != END_MODE]
    arrived = {t: [e.payload for e in events if e.task_id == t] for t in ("a", "b")}
    return arrived["a"], arrived["b"], accepted, log.ended


def test_no_point_of_emit_loses_or_repeats_an_event_when_interrupted() -> None:
    points = 0
    while True:
        interrupt = InterruptAt(points + 1)
        a, b, accepted, ended = _run(interrupt)
        if interrupt.left > 0:
            break
        points += 1
        assert ended, f"the stream hangs after an interrupt at {interrupt.where}"
        # The event that was interrupted may have been accepted or not.
        assert a in ([*range(accepted), 99], [*range(accepted + 1), 99]), interrupt.where
        assert b in ([0, 1, 2, 3], [0, 2, 3]), interrupt.where
    assert points > 50
