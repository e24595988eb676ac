"""A task of a superstep, and the parts of a task whose work is split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from distgraph._internal.ids import part_interrupt_id
from distgraph.constants import TAG_HIDDEN
from distgraph.contract.spec import PART, NodeSpec, Part, PartOptions, Split, Write

if TYPE_CHECKING:
    from distgraph.contract.attempt import AttemptOutcome, NodeFailure
    from distgraph.contract.calls import TaskCall
    from distgraph.contract.events import CacheKey
    from distgraph.types import TimeoutPolicy

__all__ = ("PartStart", "Parts", "Status", "Task", "task_metadata")

Status = Literal["running", "done", "failed", "interrupted"]


@dataclass(eq=False, slots=True)
class Task:
    """One task of the current superstep."""

    id: str
    name: str
    path: tuple[Any, ...]
    triggers: tuple[str, ...]
    node: NodeSpec
    ns: str
    """Checkpoint namespace of the task, which a subgraph in it has as its own."""
    metadata: dict[str, Any]
    input: Any
    """Argument of the ``Send`` that started it; unused where ``pulled``."""
    pulled: bool
    attempt: int = 1
    status: Status = "running"
    cached: bool = False
    """Whether its writes come from an earlier run or a cache: the task does not run."""
    writes: list[Write] = field(default_factory=list)
    interrupts: tuple[Any, ...] = ()
    resume_values: tuple[Any, ...] = ()
    """Resume values that are known, in the order of the task's interrupts."""
    null_resume: tuple[Any, ...] = ()
    """A resume value without an id, for the task's next interrupt, or ()."""
    parts: Parts | None = None
    """Set while the task's work runs in parts."""
    failure: NodeFailure | None = None
    """The failure that the task, an error handler, handles."""
    limit: TimeoutPolicy | None = None
    """Time limit of an attempt."""
    cache_key: CacheKey | None = None
    """The key under which its writes are cached once it has succeeded."""
    sent: list[Write] = field(default_factory=list)
    """Writes of the parts' code, in the order of the parts. They precede the node's writes."""
    call: TaskCall | None = None
    """The call that started the task, if another task's code called it."""
    run_id: str | None = None
    """Id of its run for callbacks, if the driver begins and ends that run."""
    returned: Any = None
    """What it returned, where the driver ends its run."""
    handed: bool = False
    """Whether its writes are those of a ``Command`` that a graph inside of it addressed to it."""
    messages: tuple[Any, ...] | None = None
    """The messages that its node returned, where these are not the ones in ``writes``."""

    @property
    def hidden(self) -> bool:
        """Whether the task appears in no stream."""
        return TAG_HIDDEN in self.node.tags


def task_metadata(
    base: Mapping[str, Any],
    step: int,
    node: NodeSpec,
    triggers: Sequence[str],
    path: tuple[Any, ...],
    ns: str,
) -> dict[str, Any]:
    """Return the metadata that the code and the stream of a task see.

    Later ones win: the metadata of the run or of the task around (``base``), the position of the
    task, the metadata of its node. So a node can hide the position, as in LangGraph: nothing
    internal is read back from here.
    """
    return {
        **base,
        "langgraph_step": step,
        "langgraph_node": node.name,
        "langgraph_triggers": triggers,
        "langgraph_path": path,
        "langgraph_checkpoint_ns": ns,
        **(node.metadata or {}),
    }


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
