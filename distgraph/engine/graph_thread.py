"""How one graph of a run continues from its thread, and what its tasks receive from the thread.

Every graph of a run has a ``GraphThread`` beside its ``Superstep``, with or without a saver. The
rules of resuming, of time travel and of forks are LangGraph's: each engine continues a thread of
the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.missing import MISSING
from distgraph.constants import START
from distgraph.contract.attempt import Standing
from distgraph.contract.checkpoint import PendingWrite, Saved
from distgraph.contract.events import (
    Instruction,
    LoadCheckpoint,
    SaveCheckpoint,
    SaveWrites,
    ThreadOptions,
)
from distgraph.contract.spec import Write
from distgraph.engine.checkpoint_writer import CheckpointWriter
from distgraph.engine.checkpoints import TaskStatus, statuses
from distgraph.engine.deltas import replayable
from distgraph.engine.resume_values import ResumeValues
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import Task
from distgraph.errors import EmptyInputError, InvalidUpdateError
from distgraph.types import Command, Send

__all__ = ("Entry", "GraphThread")


@dataclass(frozen=True, slots=True)
class Entry:
    """How a graph has started."""

    resumes: bool
    """It goes on from the loaded checkpoint, in place of an input."""
    saves: list[Instruction]


@dataclass(frozen=True, slots=True)
class _Start:
    """How a graph is to start."""

    resumes: bool
    rewinds: bool
    """It goes back to a checkpoint, to run again from there."""
    edited: bool
    """The checkpoint was made by ``update_state``, or is a fork."""
    forks: bool
    """Its first checkpoint is a new branch."""


class GraphThread:
    """Where a graph starts from, and the results of its supersteps.

    ``CheckpointWriter`` decides what is saved and when, ``ResumeValues`` which interrupt a resume
    value belongs to.
    """

    def __init__(
        self,
        superstep: Superstep,
        options: ThreadOptions,
        *,
        saves: bool,
        nested: bool,
        metadata: Mapping[str, Any],
        null_resume: tuple[Any, ...] = (),
    ) -> None:
        self.superstep = superstep
        self.options = options
        """As they hold for this graph: a subgraph's are derived by ``inner``."""
        self.saves = saves
        self.resuming: bool | None = options.resuming
        """Whether the graph and its subgraphs go on from checkpoints. None: the input decides."""
        self.replay = options.replay
        """The checkpoint that the run went back to: subgraphs start from their last before it."""
        self.replaying = False
        """Whether finished tasks of the loaded superstep run again."""
        self._first_steps: dict[str, int] = {}
        """The superstep in which each node first ran."""
        self._nested = nested
        self._run_metadata = metadata
        self._superseded = False
        """Whether the loaded checkpoint is not the thread's latest."""
        self._resume = ResumeValues(options.resume_map, options.matched_id, null_resume)
        self._writer = CheckpointWriter(superstep, options, saves=saves, nested=nested)

    @property
    def ns(self) -> str:
        """The graph's namespace at the saver."""
        return self.superstep.ns

    @property
    def address(self) -> str | None:
        """Id of the checkpoint that the run was pointed at, None for the latest."""
        named = None if self._nested else self.options.checkpoint_id
        return self.options.checkpoint_map.get(self.ns) or named

    @property
    def pending(self) -> Sequence[PendingWrite]:
        """Pending writes of the current checkpoint."""
        return self._writer.pending

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the current checkpoint."""
        return self._writer.metadata

    @property
    def parent_id(self) -> str | None:
        """Id of the checkpoint before the current one."""
        return self._writer.parent_id

    # --- where it starts ------------------------------------------------------------------------

    def load(self, key: str, rewound: set[str]) -> LoadCheckpoint:
        """Return the instruction to fetch the checkpoint that the graph starts from.

        Where the graph around it goes back in time, so does a subgraph, at its first call; later
        calls in the same run start from what the run itself has saved. ``rewound``: namespaces of
        the subgraphs that were called, to which this one is added.
        """
        address, before = self.address, None
        if address is None and self.replay is not None:
            stable = self.ns.rsplit(k.NS_END, 1)[0]
            if stable not in rewound:
                rewound.add(stable)
                before = self.replay
            self.resuming = None  # the input is applied again, on what was there before
        names = replayable(self.superstep.spec.channels)
        return LoadCheckpoint(key, self.ns, address, before, names)

    def loaded(self, saved: Saved | None) -> None:
        """Take the checkpoint that the saver had."""
        if saved is not None:
            self._superseded = saved.superseded
            self._writer.loaded(saved, latest=self.address is None and self.replay is None)

    def enter(self, value: Any) -> Entry:
        """Apply the run's input, or go on from the loaded checkpoint.

        Raises:
            EmptyInputError: There is neither.
            RuntimeError: ``Command(resume=...)`` without an id is ambiguous, or nothing is saved.
        """
        superstep, writer = self.superstep, self._writer
        command = value if isinstance(value, Command) else None
        start = self._start_with(value)
        needs_input = self.resuming is None
        self.replaying = start.rewinds or self._superseded
        if start.rewinds:
            writer.forget(k.RESUME)
        hands_back = start.resumes and not self.replaying
        writer.deltas.entered(writer.pending, hands_back=hands_back)
        out, carried = self._take_command(command, forks=start.forks)
        null_writes = [*writer.null_writes(), *carried]
        if start.resumes:
            given = [v for c, v in null_writes if c == k.RESUME]
            resume = None if command is None else command.resume
            self._resume.match(given, resume, writer.pending)
        if self._nested:
            self._resume.unmatch(writer.pending, again=start.rewinds)
        if null_writes:
            superstep.apply_null_writes(null_writes)
        bound = (writer.parent_id if start.edited else None) or superstep.checkpoint_id
        if start.resumes:
            out += self._go_on(forks=start.forks)
        else:
            out += self._take_input(value, needs_input=needs_input)
        if not self._nested:
            self.resuming = start.resumes
            self.replay = bound if start.rewinds and writer.found else None
        return Entry(start.resumes, out)

    def _start_with(self, value: Any) -> _Start:
        inherited = self.resuming
        goes_on = self._wants_to_go_on(value) if inherited is None else inherited
        resumes = bool(self.superstep.versions) and goes_on
        rewinds = self._rewinds(value, inherited)
        edited = self.metadata.get("source") in ("update", "fork")
        forks = resumes and rewinds and (not edited or self._superseded)
        return _Start(resumes, rewinds, edited, forks)

    def _wants_to_go_on(self, value: Any) -> bool:
        if value is None or isinstance(value, Command):
            return True
        run_id = self._run_metadata.get("run_id")
        return (
            not self._nested
            and run_id is not None
            and run_id == self.metadata.get("run_id", MISSING)
        )

    def _rewinds(self, value: Any, inherited: bool | None) -> bool:
        if self.address is None and self.options.replay is None:
            return False
        if self._nested and self.address is not None:
            return True
        is_resume = isinstance(value, Command) and value.resume is not None
        return not (is_resume or inherited)

    def _take_command(
        self, command: Command[Any] | None, *, forks: bool
    ) -> tuple[list[Instruction], list[Write]]:
        """Return what is saved of a ``Command`` as input, and the writes that a fork carries."""
        if command is None:
            return [], []
        writes = self._writes_given(command)
        self._writer.deltas.commanded(writes, carried=forks)
        if forks:
            return [], writes
        return [*self._writer.record(k.NULL_TASK_ID, (), writes)] if writes else [], []

    def _writes_given(self, command: Command[Any]) -> list[Write]:
        """Return the writes of a ``Command`` as input, without a map of resume values by id."""
        by_id = False
        if command.resume is not None:
            if not self.saves:
                raise RuntimeError(
                    "Command(resume=...) without checkpointer: it answers a run that was saved. "
                    "Compile the graph with a checkpointer"
                )
            # a graph that runs again may have been resumed in the run that went before
            strict = self.options.strict_resume and not (self._nested or self._superseded)
            by_id = self._resume.take_command(command.resume, self.pending, strict=strict)
        writes = [w for w in _writes_of(command) if not (by_id and w[0] == k.RESUME)]
        if not writes and not by_id:
            raise EmptyInputError("the input is an empty Command: give it update, resume or goto")
        return writes

    def _go_on(self, *, forks: bool) -> list[Instruction]:
        superstep, writer = self.superstep, self._writer
        superstep.seen[k.INTERRUPT] = {
            c: version for c, version in superstep.versions.items() if c in superstep.channels
        }
        if not forks:
            return []
        writer.forget(k.INTERRUPT)
        return [*writer.checkpoint("fork")]

    def _take_input(self, value: Any, *, needs_input: bool) -> list[Instruction]:
        superstep, writer = self.superstep, self._writer
        writes = superstep.input_writes(value)
        if writes:
            early = writer.deltas.input(writes)
            superstep.apply_input(writes)
            kept = [] if early is None else writer.record(early[0], (), early[1])
            return [*kept, *writer.checkpoint("input")]
        if needs_input:
            raise EmptyInputError(
                f"graph {superstep.spec.name!r} was started without input (got {value!r}); pass a "
                "dict with at least one state key"
            )
        return []

    # --- what its tasks start from --------------------------------------------------------------

    def hand_back(self, tasks: Iterable[Task]) -> None:
        """Give finished tasks of the loaded step their writes, and the others resume values."""
        found = statuses(self.pending) if self.pending else {}
        unfinished: list[tuple[Task, TaskStatus | None]] = []
        for task in tasks:
            if task.status == "failed":  # its error handler runs in place of it
                continue
            status = found.get(task.id)
            if not self._restore(task, status):
                unfinished.append((task, status))
        self._resume.hand_out(unfinished, self.pending)

    def hand_back_call(self, task: Task) -> None:
        """As ``hand_back``, for a call, which its caller makes while the step runs."""
        status = self._writer.status(task.id)
        if not self._restore(task, status):
            self._resume.hand_to(task, status)

    def _restore(self, task: Task, status: TaskStatus | None) -> bool:
        """Give a task that had finished its writes back. Return whether it had."""
        if self.replaying or status is None or not status.output:
            return False
        task.writes = list(status.output)
        task.status = "done"
        task.cached = True
        return True

    def null_resume_taken(self) -> None:
        """Forget the resume value without an id: a task has used it."""
        self._resume.null_resume_taken()
        self._writer.null_resume_taken()

    def standing(self, task: Task, part: int = 0, parts: int = 1) -> Standing:
        """Return the position of a task in the thread, for its code and graphs that it invokes.

        The parts of a task raise interrupts of their own: their resume values go by id alone.
        """
        resume_map, values = self._resume.resume_map, task.resume_values
        null_resume = task.null_resume
        if parts > 1:
            resume_map = {**(values[0] if values else {}), **resume_map}
            values, null_resume = (), null_resume if part == 0 else ()
        return Standing(
            checkpoint_id=self.superstep.checkpoint_id,
            checkpoint_map=self._inner_map(task),
            durability=self.options.durability,
            resume_values=values,
            null_resume=null_resume,
            resume_map=resume_map,
            matched_id=self._resume.matched_in(task),
            resuming=self.resuming,
            replay=self._replay_in(task),
        )

    def _replay_in(self, task: Task) -> str | None:
        """Return the checkpoint that graphs which a task's code invokes start before: only in the
        first superstep of its node."""
        first = self._first_steps.setdefault(task.name, self.superstep.step)
        return self.replay if first == self.superstep.step else None

    def inner(self, task: Task) -> ThreadOptions:
        """Return the options of a subgraph in a task."""
        return replace(
            self.options,
            checkpoint_id=None,
            checkpoint_map=self._inner_map(task),
            # another attempt goes on from what the one before has saved
            resuming=True if task.attempt > 1 else self.resuming,
            replay=self.replay,
            resume_map=self._resume.resume_map,
            matched_id=self._resume.matched_in(task),
        )

    def _inner_map(self, task: Task) -> Mapping[str, str]:
        """Return the checkpoints around what a task runs, by namespace: those of the graphs, and
        of the tasks whose code called this one."""
        current = self.superstep.checkpoint_id
        found = {**self.options.checkpoint_map, self.ns: current}
        if task.call is not None:
            parts = task.ns.split(k.NS_SEP)
            own = len(self.ns.split(k.NS_SEP)) if self.ns else 0
            for end in range(own + 1, len(parts)):
                found[k.NS_SEP.join(parts[:end])] = current
        return found

    # --- results of its supersteps ---------------------------------------------------------------

    def record(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> list[SaveWrites]:
        """Keep a task's writes until the checkpoint that contains them."""
        return self._writer.record(task_id, path, writes)

    def end_step(self) -> list[SaveCheckpoint]:
        """Go on to the next superstep, after a checkpoint of the writes of this one."""
        out = self._writer.checkpoint("loop")
        self._resume.step_ended()
        self.replaying = False
        self.resuming = None
        return out

    def settle(self, *, failed: bool) -> list[Instruction]:
        """Return what is left to be saved when the graph ends."""
        return self._writer.settle(failed=failed)


def _writes_of(command: Command[Any]) -> Iterable[Write]:
    """Yield the writes of a ``Command`` that is given as input."""
    if command.graph == Command.PARENT:
        raise InvalidUpdateError("the input is a Command(graph=Command.PARENT): there is no parent")
    goto = command.goto if isinstance(command.goto, (list, tuple)) else [command.goto]
    for target in goto if command.goto else ():
        if isinstance(target, Send):
            yield k.TASKS, target
        elif isinstance(target, str):
            yield k.BRANCH_TO.format(target), START
        else:
            raise TypeError(
                f"Command.goto of the input: expected a node's name or a Send, got "
                f"{type(target).__name__}"
            )
    if command.resume is not None:
        yield k.RESUME, command.resume
    if command.update:
        yield from command.update_as_tuples()
