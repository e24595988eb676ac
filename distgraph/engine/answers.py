"""Answers that a run was given, and which question of a graph each of them is for.

An answer by id goes to its question, wherever in the run that is put. One without an id is assigned
before the tasks start, since tasks on different machines cannot race for it: to the one open
question if there is just one, else to the first task of the step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distgraph._internal.ids import interrupt_id
from distgraph.contract.checkpoint import PendingWrite
from distgraph.engine.checkpoints import TaskStatus, open_questions, statuses
from distgraph.engine.superstep import Task
from distgraph.errors import UnknownInterruptError

__all__ = ("Answers",)

_INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")


class Answers:
    """The answers that hold for one graph of a run. Its ``Ledger`` drives them."""

    def __init__(
        self, by_id: Mapping[str, Any], assumed: str | None, spare: tuple[Any, ...]
    ) -> None:
        self.by_id = by_id
        """By interrupt id: also for graphs in this graph's tasks."""
        self._assumed = assumed
        """The question in ``by_id`` that was found for an answer without an id."""
        self._asker: str | None = None
        """The task of the step that puts it, itself or in a graph within."""
        self._spare = spare
        """An answer without an id for which no question was found."""
        self._lent = bool(spare)
        """Whether that is an answer to a graph around this one: it lasts until it is taken."""

    # --- what the run was given -----------------------------------------------------------------

    def give(self, resume: Any, pending: Sequence[PendingWrite], *, strict: bool) -> bool:
        """Take what a ``Command`` answers. Return whether it says to which questions.

        ``strict``: what answers no open question is an ``UnknownInterruptError``.

        Raises:
            RuntimeError: There are several questions, and it does not say which of them is meant.
        """
        waiting = {question.id for question in open_questions(pending)}
        if isinstance(resume, dict) and all(_is_interrupt_id(key) for key in resume):
            if strict:
                _check_ids(resume, waiting)
            self.by_id = resume
            return True
        if len(waiting) > 1:
            message = (
                "When there are multiple pending interrupts, you must specify the interrupt id "
                "when resuming: Command(resume={interrupt.id: answer, ...}). Pending: "
                f"{', '.join(sorted(waiting))}"
            )
            if strict:
                raise UnknownInterruptError(
                    message, reason="ambiguous", pending_ids=sorted(waiting)
                )
            raise RuntimeError(message)
        return False

    def assign(self, given: Sequence[Any], resume: Any, pending: Sequence[PendingWrite]) -> None:
        """Find the question that an answer without an id is for.

        ``given``: the answers without an id on the checkpoint, ``resume`` among them. One that an
        earlier run was given is left from then, unless a task has taken it.
        """
        found = statuses(pending).values()
        if resume is None or resume is self.by_id:
            taken = [answer for status in found for answer in status.answers]
            given = [answer for answer in given if answer not in taken]
        waiting = {question.id for status in found for question in status.waiting}
        if given and len(waiting) == 1:
            self._assumed = waiting.pop()
            self.by_id = {**self.by_id, self._assumed: given[0]}
        elif given:
            self._spare = (given[0],)

    def unassign(self, pending: Sequence[PendingWrite], *, again: bool) -> None:
        """Give the assumed answer to the first question instead, where its own is not put.

        ``again``: the graph starts over, and puts the question under another id.
        """
        if self._assumed is None or (self._is_asked(pending) and not again):
            return
        self._spare, self._lent = (self.by_id[self._assumed],), True
        self.by_id = {key: v for key, v in self.by_id.items() if key != self._assumed}
        self._assumed = None

    # --- what the tasks get ---------------------------------------------------------------------

    def hand_out(
        self,
        tasks: Sequence[tuple[Task, TaskStatus | None]],
        pending: Sequence[PendingWrite],
    ) -> None:
        """Give the tasks of a step that are to run the answers to their questions."""
        self._asker = None
        for task, status in tasks:
            if status is not None and any(q.id == self._assumed for q in status.waiting):
                self._asker = task.id
            self.hand_to(task, status)
        if self._assumed is not None and self._asker is None and self._is_asked(pending):
            self._spare = (self.by_id[self._assumed],)  # a Send has replaced the task that asked
        if self._spare and tasks:
            asking = [task for task, status in tasks if status is not None and status.interrupts]
            first = asking[0] if asking else tasks[0][0]
            first.spare = self._spare

    def hand_to(self, task: Task, status: TaskStatus | None) -> None:
        """Give a task the answers that it had before, and that by id to its next question."""
        task.answers = () if status is None else status.answers
        if self.by_id:
            # LangGraph numbers no questions: in its threads, all of a task have the first's id
            ids = interrupt_id(task.ns, len(task.answers)), interrupt_id(task.ns, 0)
            task.answers += next(((self.by_id[i],) for i in ids if i in self.by_id), ())

    def assumed_in(self, task: Task) -> str | None:
        """Return the assumed question, if it is this task's."""
        return self._assumed if task.id == self._asker else None

    # --- what becomes of the one without an id --------------------------------------------------

    def spend(self) -> None:
        """It has been taken."""
        self._spare = ()

    def step_ended(self) -> None:
        """The step that it was given to is over."""
        if not self._lent:
            self._spare = ()

    def _is_asked(self, pending: Iterable[PendingWrite]) -> bool:
        return any(question.id == self._assumed for question in open_questions(pending))


def _is_interrupt_id(key: Any) -> bool:
    return isinstance(key, str) and _INTERRUPT_ID.fullmatch(key) is not None


def _check_ids(resume: Mapping[str, Any], waiting: set[str]) -> None:
    pending = sorted(waiting)
    if not resume:
        raise UnknownInterruptError(
            "the resume map names no interrupt", reason="empty_map", pending_ids=pending
        )
    unknown = sorted(resume.keys() - waiting)
    if unknown:
        raise UnknownInterruptError(
            f"Unknown or already-consumed interrupt: {unknown[0]}",
            reason="not_pending",
            interrupt_ids=unknown,
            pending_ids=pending,
        )
