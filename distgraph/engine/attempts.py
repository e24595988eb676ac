"""The attempts of a run that are on workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import CancelTask, StartTask
from distgraph.contract.stream import GENERATION, AttemptId, shown_attempt
from distgraph.engine.graph_run import GraphRun
from distgraph.engine.task import Task
from distgraph.engine.transitions import Story
from distgraph.errors import InvalidTransition

__all__ = ("Attempts", "RunningAttempt")


class RunningAttempt(NamedTuple):
    """An attempt on a worker, and what it works for."""

    graph: GraphRun
    task: Task
    start: StartTask


class Attempts:
    """The running attempts, by the id of their task or part. Writes the story of each."""

    def __init__(self, story: Story) -> None:
        self._running: dict[str, RunningAttempt] = {}
        self._story = story
        self.generation = 0
        """Drivers that have handed the run on."""

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[RunningAttempt]:
        return iter(self._running.values())

    def find(self, id: AttemptId) -> RunningAttempt | None:
        """Return an attempt, None if it does not run."""
        found = self._running.get(id.task_id)
        return None if found is None or found.start.request.attempt != id.attempt else found

    def start(self, graph: GraphRun, task: Task, start: StartTask, drain: str | None) -> StartTask:
        """Return the instruction that starts an attempt. ``drain``: why the run is to stop."""
        request = start.request
        if drain is not None:
            request = replace(request, drain=drain)
        if self.generation:
            number = self.generation * GENERATION + shown_attempt(request.attempt)
            request = replace(request, attempt=number)
        if request is not start.request:
            start = replace(start, request=request)
        graph.note_progress()
        self._running[request.task_id] = RunningAttempt(graph, task, start)
        self._story.note(task.name, request.task_id, "waiting", request.attempt)
        return start

    def within(self, graph: GraphRun) -> list[AttemptId]:
        """Return the attempts that run in a graph, or inside of it."""
        running = self._running.values()
        return [a.start.request.attempt_id for a in running if a.graph.within(graph)]

    def expect(self, outcome: AttemptOutcome) -> RunningAttempt:
        """Return the attempt that an outcome belongs to.

        Raises:
            InvalidTransition: It does not run.
        """
        found = self._running.get(outcome.task_id)
        if found is None or found.start.request.attempt != outcome.attempt:
            raise InvalidTransition(
                f"attempt {outcome.attempt} of task {outcome.task_id} ended as "
                f"{outcome.status!r}, but it is not running",
                task=outcome.task_id,
                start="absent" if found is None else f"attempt {found.start.request.attempt}",
                finish=outcome.status,
                story=self._story.of(outcome.task_id) or self._story.of(),
            )
        return found

    def end(self, outcome: AttemptOutcome) -> None:
        """Note that an attempt has ended."""
        ended = self._running.pop(outcome.task_id)
        ended.graph.note_progress()
        self._story.note(ended.task.name, outcome.task_id, outcome.attempt, outcome.status)

    def cancel(self, unwanted: Callable[[RunningAttempt], bool]) -> list[CancelTask]:
        """Return the instructions that end the unwanted attempts."""
        ids = [id for id, attempt in self._running.items() if unwanted(attempt)]
        return [self._cancel(id, self._running.pop(id)) for id in ids]

    def _cancel(self, id: str, attempt: RunningAttempt) -> CancelTask:
        number = attempt.start.request.attempt
        self._story.note(attempt.task.name, id, number, "cancelled")
        return CancelTask(id, number)
