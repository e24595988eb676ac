"""What the end of a task leaves behind: its writes, what is saved of them, and its stream events.

A result ends a task, and nothing more: whether the superstep is over then is for ``superstep_loop``
to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph._internal import keys as k
from distgraph.contract.events import Remember
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import Write
from distgraph.engine.checkpoints import CONTROL
from distgraph.engine.error_handlers import handler_of
from distgraph.engine.failures import FailedAttempt
from distgraph.engine.graph_run import GraphRun
from distgraph.engine.machine_state import MachineState
from distgraph.engine.task import Task
from distgraph.errors import GraphDrained, GraphInterrupt

__all__ = ("TaskResults",)


class TaskResults:
    """Ends tasks, each with one of five results."""

    def __init__(self, state: MachineState) -> None:
        self._state = state

    def succeed(
        self,
        graph: GraphRun,
        task: Task,
        writes: Sequence[Write],
        resume_values: Sequence[Any] = (),
    ) -> None:
        """End a task with its writes. ``resume_values``: those that its interrupts have used."""
        state = self._state
        task.writes = [*task.sent, *writes]
        if values := resume_values or task.resume_values:
            task.writes.append((k.RESUME, list(values)))
        if all(channel in CONTROL for channel, _ in task.writes):
            task.writes.append((k.NO_WRITES, None))  # any output says that the task finished
        task.status = "done"
        graph.open -= 1
        state.out += graph.thread.record(task.id, task.path, task.writes)
        if task.cache_key is not None:
            ttl = None if task.node.cache is None else task.node.cache.ttl
            state.out.append(Remember(graph.path, task.cache_key, tuple(task.writes), ttl))
        state.out += state.callbacks.node_ended(graph, task, task.returned)
        task.returned = None
        state.out += state.stream.succeeded(graph, task)
        if task.call is not None:
            state.out += state.calls.results(task, None)

    def take_cached(self, graph: GraphRun, task: Task, writes: Sequence[Write]) -> None:
        """End a task with the writes that a cache has for it."""
        state = self._state
        task.writes, task.status, task.cached = list(writes), "done", True
        state.out += graph.thread.record(task.id, task.path, task.writes)
        state.out += state.stream.cached(graph, task)
        state.out += state.stream.wrote(graph, task)

    def interrupt(self, graph: GraphRun, task: Task, interrupts: Sequence[Any]) -> None:
        """End a task that waits for resume values."""
        state = self._state
        task.status = "interrupted"
        graph.open -= 1
        task.interrupts = tuple(interrupts)
        state.out += state.callbacks.node_failed(graph, task, GraphInterrupt(task.interrupts))
        if interrupts:
            writes: list[Write] = [(k.INTERRUPT, task.interrupts)]
            if task.resume_values:
                writes.append((k.RESUME, list(task.resume_values)))
            state.out += graph.thread.record(task.id, task.path, writes)
            if task.call is None:
                state.out += state.stream.interrupted(graph, task)
        if task.call is not None:  # its caller stops there, and reports the interrupts
            state.out += state.calls.results(task, None)

    def drain(self, graph: GraphRun, task: Task, reason: str) -> None:
        """End a task that was drained: its graph stops once the other tasks of the superstep have
        ended."""
        self._state.cancel_attempts_of(task)  # other parts of its work
        task.status = "interrupted"
        task.parts = None
        graph.open -= 1
        graph.drained = reason
        self._state.out += self._state.callbacks.node_failed(graph, task, GraphDrained(reason))

    def fail(
        self,
        graph: GraphRun,
        task: Task,
        error: ShippedError | BaseException,
        failed: FailedAttempt | None,
    ) -> Task | None:
        """End a task that no attempt follows. Return the task that handles its error, if any.

        ``failed``: the attempt of the task in which the failure began. A call ends here; the code
        that made it decides what becomes of the run.
        """
        state = self._state
        if failed is not None and failed.outcome.writes:
            # a conditional edge failed, behind what its node had written
            task.writes = list(failed.outcome.writes)
            state.out += state.stream.wrote(graph, task)
        task.status = "failed"
        task.parts = None
        try:
            handler = handler_of(graph.superstep, task, error)
        except Exception:  # its input cannot be had: that is the error that the task failed with
            handler = None
        marks: list[Write] = [(k.ERROR, error)]
        if handler is not None:
            marks.append((k.ERROR_SOURCE, task.name))
        state.out += graph.thread.record(task.id, task.path, [*task.writes, *marks])
        state.out += state.stream.ended(graph, task, error)
        if task.call is not None:
            graph.open -= 1
            state.out += state.calls.results(task, error)
        return handler
