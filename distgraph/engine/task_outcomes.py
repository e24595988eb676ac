"""What follows the end of an attempt, by the outcome that its worker sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import StartTask
from distgraph.contract.spec import PART
from distgraph.contract.stream import shown_attempt
from distgraph.engine.failures import FailedAttempt, after_loss, failure_of
from distgraph.engine.graph_run import GraphRun
from distgraph.engine.machine_state import MachineState
from distgraph.engine.superstep_loop import SuperstepLoop
from distgraph.engine.task import Parts, Task
from distgraph.engine.task_results import TaskResults
from distgraph.errors import GraphDrained, ParentCommand

__all__ = ("TaskOutcomes",)


class TaskOutcomes:
    """Takes the outcomes of attempts."""

    def __init__(self, state: MachineState, results: TaskResults, loop: SuperstepLoop) -> None:
        self._state = state
        self._results = results
        self._loop = loop

    def take(self, outcome: AttemptOutcome) -> None:
        """Go on with the task of an attempt that has ended, once all calls of it have arrived.

        Raises:
            InvalidTransition: The attempt does not run.
        """
        state = self._state
        graph, task, start = state.attempts.expect(outcome)
        if state.calls.holds(outcome):
            return
        state.attempts.end(outcome)
        state.stream.has_seen(outcome.message_ids)
        if outcome.drain is not None:
            state.drain = outcome.drain
        if outcome.null_resume_taken:
            state.null_resume_taken = True
            for around in graph.lineage():
                around.thread.null_resume_taken()
        if outcome.again:
            self._start_again(graph, task, start, outcome)
            return
        if state.options.shared.losses.of(start.ray_options).on_lost_attempt == "reset":
            task.metadata = {**task.metadata, "attempt": shown_attempt(outcome.attempt)}
        failure = failure_of(task, start, outcome)
        if failure is not None:
            self._loop.fail(graph, failure, task, FailedAttempt(start, outcome))
        elif task.parts is not None and PART in outcome.task_id and outcome.status != "drained":
            self._part_ended(graph, task, task.parts, outcome)
        else:
            self._ON_STATUS[outcome.status](self, graph, task, outcome)
        self._loop.task_ended(graph)

    def _start_again(
        self, graph: GraphRun, task: Task, start: StartTask, outcome: AttemptOutcome
    ) -> None:
        """Another attempt follows one that was lost with its process: the same try of the node."""
        state = self._state
        if outcome.void is not None:
            state.out += state.stream.reset(graph, task, outcome)
        state.story.note(task.name, task.id, "lost", "again")
        state.start_attempt(graph, task, after_loss(start, outcome))

    def _part_ended(
        self, graph: GraphRun, task: Task, parts: Parts, outcome: AttemptOutcome
    ) -> None:
        self._loop.guard(graph, lambda: parts.take(task, outcome))
        parts.open -= 1
        if parts.open == 0 and not self._state.is_over(graph):
            self._loop.tasks.join_parts(graph, task, parts)

    def _succeeded(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        task.handed, task.messages = task.handed or outcome.handed, outcome.messages
        self._results.succeed(graph, task, outcome.writes, outcome.resume_values)

    def _interrupted(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        task.resume_values = outcome.resume_values
        self._results.interrupt(graph, task, outcome.interrupts)

    def _drained(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        if task.call is not None:
            self._loop.fail(graph, GraphDrained(outcome.value), task)
        else:
            self._results.drain(graph, task, outcome.value)

    def _left_graph(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        if task.call is not None:
            self._loop.fail(graph, ParentCommand(outcome.value), task)
        else:
            self._loop.leave(graph, outcome.value)

    _ON_STATUS: ClassVar[
        Mapping[str, Callable[[TaskOutcomes, GraphRun, Task, AttemptOutcome], None]]
    ] = {
        "ok": _succeeded,
        "interrupt": _interrupted,
        "drained": _drained,
        "command": _left_graph,
    }
    """By the status of an attempt that did not fail."""
