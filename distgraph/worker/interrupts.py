"""``interrupt()`` in an attempt: returns the resume value if there is one, else raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distgraph._internal import ids
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.spec import PART
from distgraph.errors import GraphInterrupt, mark_invalid_resume
from distgraph.types import Interrupt

if TYPE_CHECKING:
    from distgraph.worker.context import TaskContext

__all__ = ("ids_answered", "interrupts_of", "part_interrupt_id", "resume_value")


def resume_value(task: TaskContext, value: Any, schema: Any) -> Any:
    """Return the resume value of the task's next interrupt.

    Raises:
        GraphInterrupt: No resume value exists yet.
        pydantic.ValidationError: The resume value does not fit the schema.
    """
    index = task.next_interrupt()
    check = None
    if schema is not None and not isinstance(schema, dict):
        from pydantic import TypeAdapter

        adapter = TypeAdapter(schema)
        check, schema = partial(_checked, adapter.validate_python), adapter.json_schema()
    if index < len(task.resume_values):
        answer = task.resume_values[index]
        return answer if check is None else check(answer)
    if task.request.part[1] > 1:
        question = part_interrupt_id(task.request, task.task_ns, len(task.resume_values))
    else:  # numbered by resume values: a node may have caught an interrupt and raised another
        question = ids.interrupt_id(task.task_ns, len(task.resume_values))
    standing = task.request.standing
    known = {} if standing is None else standing.resume_map
    if question in known:
        answer = known[question]
    elif task.null_resume:
        answer = task.null_resume[0]
    else:
        raise GraphInterrupt((Interrupt(value, question, schema),))
    checked = answer if check is None else check(answer)
    if question not in known:
        task.null_resume.pop()
    task.resume_values.append(answer)
    return checked


def ids_answered(task: TaskContext) -> tuple[str, ...]:
    """Return the ids that the last of the task's known resume values may have been given for."""
    last = len(task.request.standing.resume_values) - 1 if task.request.standing else 0
    # LangGraph numbers no interrupts: in its threads, all of a task have the first's id
    return ids.interrupt_id(task.task_ns, last), ids.interrupt_id(task.task_ns, 0)


def _checked(validate: Callable[[Any], Any], answer: Any) -> Any:
    from pydantic import ValidationError

    try:
        return validate(answer)
    except ValidationError as error:
        mark_invalid_resume(error)
        raise


def part_interrupt_id(request: AttemptRequest, ns: str, number: int) -> str:
    """Return the id of a part's interrupt: each part of a node's work has its own interrupts."""
    return ids.part_interrupt_id(ns, f"{PART}{request.task_id.rsplit(PART, 1)[1]}", number)


def interrupts_of(task: TaskContext, interrupts: Sequence[Interrupt]) -> tuple[Interrupt, ...]:
    """Return the interrupts with which an attempt ended.

    LangGraph's ``interrupt`` numbers the interrupts of all parts of a node alike; these ids are
    replaced by ids of the part.
    """
    request, answered = task.request, len(task.resume_values)
    if request.part[1] == 1:
        return tuple(interrupts)
    shared = {ids.interrupt_id(task.task_ns, number) for number in range(answered + 1)}
    own = part_interrupt_id(request, task.task_ns, answered)
    return tuple(replace(i, id=own) if i.id in shared else i for i in interrupts)
