"""A node's work in parts: dividing it, taking the result of each part, joining the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distgraph._internal.ids import part_interrupt_id
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.spec import PART, Part, PartOptions, Split, Write
from distgraph.engine.superstep import Superstep, Task

__all__ = ("PartStart", "Parts", "divide")


class PartStart(NamedTuple):
    """A part of a task, as it is started."""

    number: int
    part: Part
    options: PartOptions


@dataclass(eq=False, slots=True)
class Parts:
    """The parts of a task and their results."""

    value: Any
    """The task's input."""
    split: Split
    parts: Sequence[Part]
    options: Sequence[PartOptions]
    results: list[Any]
    open: int
    """Parts that have not ended."""
    sent: dict[int, Sequence[Write]] = field(default_factory=dict)
    """By number: writes that code inside the part made by itself."""
    asked: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """By number: the interrupts of a part."""

    def starts(self) -> list[PartStart]:
        """Return the parts in their order."""
        pairs = zip(self.parts, self.options, strict=True)
        return [PartStart(index, part, options) for index, (part, options) in enumerate(pairs)]

    def take(self, task: Task, outcome: AttemptOutcome) -> None:
        """Keep the outcome of a part that did not fail. Raises what ``timed_out`` raises."""
        index = int(outcome.task_id.rsplit(PART, 1)[1])
        if len(self.parts) == 1:
            task.resume_values = outcome.resume_values
        elif outcome.resume_values:
            given = {
                part_interrupt_id(task.ns, f"{PART}{index}", n): value
                for n, value in enumerate(outcome.resume_values)
            }
            task.resume_values = (
                {**(task.resume_values[0] if task.resume_values else {}), **given},
            )
        if outcome.status == "timeout":
            seconds = self.options[index].timeout or 0.0
            self.results[index] = self.split.timed_out(self.parts[index], seconds)
        elif outcome.status == "interrupt":
            self.asked[index] = tuple(outcome.interrupts)
            task.interrupts = tuple(i for at in sorted(self.asked) for i in self.asked[at])
        else:
            self.results[index] = outcome.value
            self.sent[index] = outcome.writes

    def join(self) -> Any:
        """Return what the node returns."""
        return self.split.join(self.value, self.parts, self.results)

    def writes(self) -> list[Write]:
        """Return the writes of the parts' own code, in the order of the parts."""
        return [write for at in sorted(self.sent) for write in self.sent[at]]


def divide(superstep: Superstep, task: Task, split: Split) -> Parts | None:
    """Return the parts of a task's work, None where the task runs as a whole.

    Raises what the node's ``mapper`` and its ``Split`` raise.
    """
    value = superstep.mapped_input_of(task)
    parts_of = split.parts if task.pulled else getattr(split, "sent_parts", split.parts)
    parts: Sequence[Part] | None = parts_of(value)
    if parts is None:
        return None
    options = [split.options(part.key) for part in parts]
    return Parts(value, split, parts, options, [None] * len(parts), len(parts))
