"""The resume values of a run, and the interrupt of a graph that each of them belongs to.

A value that names an interrupt id goes to that interrupt, wherever in the run it is raised. A value
without an id (LangGraph: *null resume*) is matched before the tasks start, since tasks on different
machines cannot race for it: with the first pending interrupt if just one task has any, else with
the first task of the superstep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distgraph._internal.ids import interrupt_id, task_of_interrupt
from distgraph.contract.checkpoint import PendingWrite
from distgraph.engine.checkpoints import TaskStatus, pending_interrupts, statuses
from distgraph.engine.task import Task
from distgraph.errors import UnknownInterruptError

__all__ = ("ResumeValues",)

_INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")


class ResumeValues:
    """The resume values that one graph of a run has for its tasks, and for graphs inside of them.

    Args:
        resume_map: Values by interrupt id.
        matched_id: The id in ``resume_map`` that the graph around this one matched a value with
            that was given without an id.
        null_resume: A value without an id that the graph around this one left unmatched, or ().
    """

    def __init__(
        self, resume_map: Mapping[str, Any], matched_id: str | None, null_resume: tuple[Any, ...]
    ) -> None:
        self.resume_map = resume_map
        self._matched_id = matched_id
        self._matched_task: str | None = None
        """Id of the task of the superstep whose interrupt, or one in a graph inside of it, has
        ``_matched_id``."""
        self._null_resume = null_resume
        self._outlives_step = bool(null_resume)
        """Whether the null resume is kept until a task takes it: it was given to a graph around."""

    # --- what the run was given -----------------------------------------------------------------

    def take_command(self, resume: Any, pending: Sequence[PendingWrite], *, strict: bool) -> bool:
        """Take ``Command(resume=...)``. Return whether it is a map of interrupt ids.

        ``strict``: an id that is not pending is an ``UnknownInterruptError``.

        Raises:
            RuntimeError: Several tasks have pending interrupts, and the value names no id.
        """
        waiting = {interrupt.id for interrupt in pending_interrupts(pending)}
        if isinstance(resume, dict) and all(_is_interrupt_id(key) for key in resume):
            if strict:
                _check_ids(resume, waiting)
            self.resume_map = resume
            return True
        if len(_first_of_each_task(pending)) > 1:
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

    def match(self, given: Sequence[Any], resume: Any, pending: Sequence[PendingWrite]) -> None:
        """Match a value without an id with a pending interrupt: the first of the only task that
        waits.

        ``given``: the values without an id on the checkpoint, ``resume`` among them. A value of an
        earlier run counts unless a task has taken it.
        """
        found = statuses(pending).values()
        if resume is None or resume is self.resume_map:
            taken = [value for status in found for value in status.resume_values]
            given = [value for value in given if value not in taken]
        waiting = _first_of_each_task(pending)
        if given and len(waiting) == 1:
            (self._matched_id,) = waiting
            self.resume_map = {**self.resume_map, self._matched_id: given[0]}
        elif given:
            self._null_resume = (given[0],)

    def unmatch(self, pending: Sequence[PendingWrite], *, again: bool) -> None:
        """Give the matched value to the first interrupt, if its own interrupt is not raised here.

        ``again``: the graph starts over, and raises the interrupt under another id.
        """
        if self._matched_id is None or (self._is_pending(pending) and not again):
            return
        self._null_resume, self._outlives_step = (self.resume_map[self._matched_id],), True
        self.resume_map = {key: v for key, v in self.resume_map.items() if key != self._matched_id}
        self._matched_id = None

    # --- what the tasks get ---------------------------------------------------------------------

    def hand_out(
        self,
        tasks: Sequence[tuple[Task, TaskStatus | None]],
        pending: Sequence[PendingWrite],
    ) -> None:
        """Give the tasks of a superstep that are to run their resume values."""
        self._matched_task = None
        for task, status in tasks:
            if status is not None and any(i.id == self._matched_id for i in status.waiting):
                self._matched_task = task.id
            self.hand_to(task, status)
        if (
            self._matched_id is not None
            and self._matched_task is None
            and self._is_pending(pending)
        ):
            # a Send has replaced the task that raised the interrupt
            self._null_resume = (self.resume_map[self._matched_id],)
        if self._null_resume and tasks:
            interrupted = [
                task for task, status in tasks if status is not None and status.interrupts
            ]
            first = interrupted[0] if interrupted else tasks[0][0]
            first.null_resume = self._null_resume

    def hand_to(self, task: Task, status: TaskStatus | None) -> None:
        """Give a task the values of its earlier interrupts, and the value by id for its next."""
        task.resume_values = () if status is None else status.resume_values
        if self.resume_map:
            # LangGraph numbers no interrupts: in its threads, all of a task have the first's id
            ids = interrupt_id(task.ns, len(task.resume_values)), interrupt_id(task.ns, 0)
            known = self.resume_map
            task.resume_values += next(((known[i],) for i in ids if i in known), ())

    def matched_in(self, task: Task) -> str | None:
        """Return the id of the matched interrupt if it is this task's."""
        return self._matched_id if task.id == self._matched_task else None

    def null_resume_taken(self) -> None:
        """Forget the null resume: a task has used it."""
        self._null_resume = ()

    def step_ended(self) -> None:
        """Forget a null resume that counted for one superstep."""
        if not self._outlives_step:
            self._null_resume = ()

    def _is_pending(self, pending: Iterable[PendingWrite]) -> bool:
        return any(i.id == self._matched_id for i in pending_interrupts(pending))


def _first_of_each_task(pending: Iterable[PendingWrite]) -> list[str]:
    """Return the ids of the interrupts that a value without an id may be for.

    The tool calls of one node do not compete, as in LangGraph: they are answered in their order.
    """
    first: dict[str, str] = {}
    for interrupt in pending_interrupts(pending):
        first.setdefault(task_of_interrupt(interrupt.id), interrupt.id)
    return list(first.values())


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
