"""What ``interrupt()`` does in an attempt: an answer that is known is returned, else it stops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from distgraph.engine.ids import interrupt_id
from distgraph.errors import GraphInterrupt, mark_invalid_resume
from distgraph.types import Interrupt
from distgraph.worker.context import TaskContext, part_question

__all__ = ("ask",)


def ask(task: TaskContext, value: Any, schema: Any) -> Any:
    """Return the answer to the task's next question.

    Raises:
        GraphInterrupt: There is none yet.
        pydantic.ValidationError: It does not fit the schema.
    """
    index = next(task.asked)
    check = None
    if schema is not None and not isinstance(schema, dict):
        from pydantic import TypeAdapter

        adapter = TypeAdapter(schema)
        check, schema = partial(_checked, adapter.validate_python), adapter.json_schema()
    if index < len(task.answers):
        answer = task.answers[index]
        return answer if check is None else check(answer)
    if task.request.part[1] > 1:
        question = part_question(task.request, task.task_ns, len(task.answers))
    else:  # by the answers so far: a node may have swallowed a question, and put another
        question = interrupt_id(task.task_ns, len(task.answers))
    standing = task.request.standing
    known = {} if standing is None else standing.by_id
    if question in known:
        answer = known[question]
    elif task.spare:
        answer = task.spare[0]
    else:
        raise GraphInterrupt((Interrupt(value, question, schema),))
    checked = answer if check is None else check(answer)
    if question not in known:
        task.spare.pop()
    task.answers.append(answer)
    return checked


def _checked(validate: Callable[[Any], Any], answer: Any) -> Any:
    from pydantic import ValidationError

    try:
        return validate(answer)
    except ValidationError as error:
        mark_invalid_resume(error)
        raise
