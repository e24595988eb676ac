"""A node's work in parts: dividing it, taking what came of each part, joining the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distgraph._internal.ids import interrupt_id
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.spec import PART, Part, PartOptions, Split, Write
from distgraph.engine.superstep import Superstep, Task

__all__ = ("Pieces", "divide")


@dataclass(eq=False, slots=True)
class Pieces:
    """The parts of a task and what has come of them."""

    value: Any
    """The task's input."""
    split: Split
    parts: Sequence[Part]
    how: Sequence[PartOptions]
    results: list[Any]
    open: int
    sent: dict[int, Sequence[Write]] = field(default_factory=dict)
    """Writes that code inside a part made by itself."""

    def take(self, task: Task, outcome: AttemptOutcome) -> None:
        """Take what came of a part that did not fail. Raises what ``timed_out`` raises."""
        index = int(outcome.task_id.rsplit(PART, 1)[1])
        if len(self.parts) == 1:
            task.answers = outcome.answers
        elif outcome.answers:
            ns = f"{task.ns}{PART}{index}"
            given = {interrupt_id(ns, n): a for n, a in enumerate(outcome.answers)}
            task.answers = ({**(task.answers[0] if task.answers else {}), **given},)
        if outcome.status == "timeout":
            late = self.how[index].timeout or 0.0
            self.results[index] = self.split.timed_out(self.parts[index], late)
        elif outcome.status == "interrupt":
            task.interrupts += tuple(outcome.interrupts)
        else:
            self.results[index] = outcome.value
            self.sent[index] = outcome.writes

    def join(self) -> Any:
        """Return what the node returns."""
        return self.split.join(self.value, self.parts, self.results)

    def writes(self) -> list[Write]:
        """Return the writes of the parts' own code, in the order of the parts."""
        return [write for at in sorted(self.sent) for write in self.sent[at]]


def divide(graph: Superstep, task: Task, split: Split) -> Pieces | None:
    """Return the parts of a task's work, None where it runs as a whole.

    Raises what the node's ``mapper`` and its ``Split`` raise.
    """
    value = graph.input_of(task)
    if task.pulled and task.node.mapper is not None:
        value = task.node.mapper(value)
    parts_of = split.parts if task.pulled else getattr(split, "sent_parts", split.parts)
    parts: Sequence[Part] | None = parts_of(value)
    if parts is None:
        return None
    how = [split.options(part.key) for part in parts]
    return Pieces(value, split, parts, how, [None] * len(parts), len(parts))
