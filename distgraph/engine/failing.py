"""What becomes of failures: another attempt, an error handler, or the end of the graph."""

from __future__ import annotations

from functools import partial

from distgraph._internal import keys as k
from distgraph.contract.events import Finish, StartTask, Sync
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import Write
from distgraph.engine.core import Core
from distgraph.engine.frame import Frame
from distgraph.engine.handlers import handler_of
from distgraph.engine.recovery import (
    Ended,
    another,
    is_refused_answer,
    time_before_next,
)
from distgraph.engine.superstep import Task


class Failing(Core):
    """The part of the ``Machine`` that deals with failures."""

    def _fail(
        self,
        frame: Frame,
        error: ShippedError | BaseException,
        task: Task | None = None,
        ended: Ended | None = None,
    ) -> None:
        """A task failed, or a graph itself: try again, hand over to an error handler, or give up.

        What a graph does not recover from is a failure of the task that it is in.
        """
        level = 0
        while True:
            if task is not None:
                seconds, error = time_before_next(task, error, ended, level, self._random)
                if seconds is not None:
                    self._again(frame, task, seconds, ended if level == 0 else None)
                    return
                if self._gives_up(frame, task, error, ended if level == 0 else None):
                    return
                if is_refused_answer(error):  # others that were answered come to their end first
                    frame.open -= 1
                    frame.failure = frame.failure or error
                    self._after_task(frame)
                    return
            if frame.parent is None:
                self._finish(Finish("error", error=error))
                return
            self._drop(frame)
            frame, task = frame.parent
            level += 1

    def _again(self, frame: Frame, task: Task, seconds: float, ended: Ended | None) -> None:
        """Start another attempt of a task, or of a part of it, after a while."""

        def go_on() -> None:
            if task.status != "running":  # another part has failed for good
                return
            if ended is not None:
                self._launch(frame, task, another(ended))
            else:
                task.attempt += 1
                self._start_task(frame, task)

        self._story.append(("again", task.name, task.id, "in", seconds))
        self._later(frame, seconds, go_on)

    def _gives_up(
        self,
        frame: Frame,
        task: Task,
        error: ShippedError | BaseException,
        ended: Ended | None,
    ) -> bool:
        """A task has failed for good. Return whether its graph goes on all the same."""
        if ended is not None and ended.outcome.writes:
            # a conditional edge failed, behind what its node had written
            task.writes = list(ended.outcome.writes)
            self._say.wrote(frame, task)
        task.status = "failed"
        task.pieces = None
        try:
            handler = handler_of(frame.graph, task, error)
        except Exception:  # its input cannot be had: that is what the task has failed of
            handler = None
        marks: list[Write] = [(k.ERROR, error)]
        if handler is not None:
            marks.append((k.ERROR_SOURCE, task.name))
        self._out += frame.ledger.record(task.id, task.path, [*task.writes, *marks])
        self._say.ended(frame, task, error)
        if task.call is not None:  # its caller's code decides what becomes of the run
            frame.open -= 1
            self._out += self._calls.results(task, error)
            return True
        if handler is None:
            return False
        self._cancel(lambda _, running: running is task)
        frame.graph.tasks[handler.id] = handler
        go_on = partial(self._start_task, frame, handler)
        if frame.ledger.saves and frame.ledger.thread.durability != "exit":
            self._out.append(Sync(self._wait(frame, go_on)))  # the failure is durable before
        else:
            go_on()
        return True

    # --- further up -----------------------------------------------------------------------------

    def _after_task(self, frame: Frame) -> None:
        raise NotImplementedError

    def _start_task(self, frame: Frame, task: Task) -> None:
        raise NotImplementedError

    def _launch(self, frame: Frame, task: Task, start: StartTask) -> None:
        raise NotImplementedError
