"""How one graph of a run goes on from what was saved, and what its tasks are told of that.

A ledger belongs to a graph of the run as its ``Superstep`` does, with or without a saver. The rules
of resuming, of time travel and of forks are LangGraph's, so that a thread which it wrote is
continued here, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.missing import MISSING
from distgraph.constants import START
from distgraph.contract.attempt import Standing
from distgraph.contract.checkpoint import PendingWrite, Saved
from distgraph.contract.events import LoadCheckpoint, SaveCheckpoint, SaveWrites, ThreadOptions
from distgraph.contract.spec import Write
from distgraph.engine.answers import Answers
from distgraph.engine.checkpoints import TaskStatus, statuses
from distgraph.engine.deltas import replayable
from distgraph.engine.records import Records
from distgraph.engine.superstep import Superstep, Task
from distgraph.errors import EmptyInputError, InvalidUpdateError
from distgraph.types import Command, Send


class Ledger:
    """Where a graph starts from, and what became of its steps. Only the ``Machine`` drives it.

    What is saved, and when, is said by its ``Records``; which question an answer is for, by its
    ``Answers``.
    """

    def __init__(
        self,
        graph: Superstep,
        thread: ThreadOptions,
        *,
        saves: bool,
        nested: bool,
        metadata: Mapping[str, Any],
        spare: tuple[Any, ...] = (),
    ) -> None:
        self.graph = graph
        self.thread = thread
        """As it holds for this graph: what a subgraph inherits has been adapted."""
        self.saves = saves
        self.resuming: bool | None = thread.resuming
        """Whether the graph, and those in its tasks, go on from what was saved. None: not told."""
        self.replay = thread.replay
        """The checkpoint that the run went back to: subgraphs start from their last before it."""
        self.replaying = False
        """Whether finished tasks of the loaded step run again."""
        self._nested = nested
        self._run_metadata = metadata
        self._superseded = False
        """Whether the thread has moved past the checkpoint that was loaded."""
        self._answers = Answers(thread.by_id, thread.assumed, spare)
        self._records = Records(graph, thread, saves=saves, nested=nested)

    @property
    def ns(self) -> str:
        """The graph's namespace at the saver."""
        return self.graph.ns

    @property
    def address(self) -> str | None:
        """Id of the checkpoint that the run was pointed at, None for the latest."""
        named = None if self._nested else self.thread.checkpoint_id
        return self.thread.checkpoint_map.get(self.ns) or named

    @property
    def pending(self) -> Sequence[PendingWrite]:
        """What was written on top of the current checkpoint."""
        return self._records.pending

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the current checkpoint."""
        return self._records.metadata

    @property
    def parent_id(self) -> str | None:
        """Id of the checkpoint before the current one."""
        return self._records.parent_id

    # --- where it starts ------------------------------------------------------------------------

    def load(self, key: str, visited: set[str]) -> LoadCheckpoint:
        """Return the instruction to fetch what the graph starts from.

        Where the graph around it goes back in time, so does a subgraph, at its first call; later
        calls in the same run start from what the run itself has saved. ``visited``: the subgraphs
        that were called.
        """
        address, before = self.address, None
        if address is None and self.replay is not None:
            stable = self.ns.rsplit(k.NS_END, 1)[0]
            if stable not in visited:
                visited.add(stable)
                before = self.replay
            self.resuming = None  # the input is applied again, on what was there before
        return LoadCheckpoint(key, self.ns, address, before, replayable(self.graph.spec.channels))

    def loaded(self, saved: Saved | None) -> None:
        """Take what the saver had."""
        if saved is not None:
            self._superseded = saved.superseded
            self._records.loaded(saved, latest=self.address is None and self.replay is None)

    def enter(self, value: Any) -> tuple[bool, list[Any]]:
        """Apply the run's input, or go on from what was loaded.

        Returns whether it goes on, and instructions.

        Raises:
            EmptyInputError: There is neither.
            RuntimeError: Answers cannot be told apart, or nothing is there to be answered.
        """
        graph, records = self.graph, self._records
        command = value if isinstance(value, Command) else None
        inherited = self.resuming
        goes_on = self._wants_to_go_on(value) if inherited is None else inherited
        resumes = bool(graph.versions) and goes_on
        travels = self._travels(command, inherited)
        self.replaying = travels or self._superseded
        if travels:
            records.forget(k.RESUME)
        from_update = records.metadata.get("source") in ("update", "fork")
        forks = resumes and travels and (not from_update or self._superseded)
        out: list[Any] = []
        carried: list[Write] = []
        records.deltas.entered(records.pending, hands_back=resumes and not self.replaying)
        if command is not None:
            writes = self._given(command)
            records.deltas.commanded(writes, carried=forks)
            if forks:
                carried = writes
            elif writes:
                out += records.record(k.NULL_TASK_ID, (), writes)
        loose = records.loose() + carried
        if resumes:
            unnamed = [v for c, v in loose if c == k.RESUME]
            resume = None if command is None else command.resume
            self._answers.assign(unnamed, resume, records.pending)
        if self._nested:
            self._answers.unassign(records.pending, again=travels)
        if loose:
            graph.apply_loose(loose)
        bound = graph.checkpoint_id
        if from_update and records.parent_id:
            bound = records.parent_id
        if resumes:
            out += self._go_on(forks)
        else:
            out += self._take_input(value, needs_input=inherited is None)
        if not self._nested:
            self.resuming = resumes
            self.replay = bound if travels and records.found else None
        return resumes, out

    def _go_on(self, forks: bool) -> list[Any]:
        graph, records = self.graph, self._records
        graph.seen[k.INTERRUPT] = {
            c: version for c, version in graph.versions.items() if c in graph.channels
        }
        if not forks:
            return []
        records.forget(k.INTERRUPT)
        return [*records.checkpoint("fork")]

    def _take_input(self, value: Any, *, needs_input: bool) -> list[Any]:
        graph, records = self.graph, self._records
        writes = graph.input_writes(value)
        if writes:
            early = records.deltas.input(writes)
            graph.apply_input(writes)
            kept = [] if early is None else records.record(early[0], (), early[1])
            return [*kept, *records.checkpoint("input")]
        if needs_input:
            raise EmptyInputError(
                f"graph {graph.spec.name!r} was started without input (got {value!r}); pass a "
                "dict with at least one state key"
            )
        return []

    def _wants_to_go_on(self, value: Any) -> bool:
        if value is None or isinstance(value, Command):
            return True
        run_id = self._run_metadata.get("run_id")
        return (
            not self._nested
            and run_id is not None
            and run_id == self.metadata.get("run_id", MISSING)
        )

    def _travels(self, command: Command[Any] | None, inherited: bool | None) -> bool:
        """Whether the run goes back to a checkpoint, to run from there again."""
        if self.address is None and self.thread.replay is None:
            return False
        if self._nested and self.address is not None:
            return True
        return not ((command is not None and command.resume is not None) or bool(inherited))

    def _given(self, command: Command[Any]) -> list[Write]:
        """Return the writes of a ``Command`` as input. Answers by id are none of them."""
        by_id = False
        if command.resume is not None:
            if not self.saves:
                raise RuntimeError(
                    "Command(resume=...) without checkpointer: it answers a run that was saved. "
                    "Compile the graph with a checkpointer"
                )
            # one that runs again may have answered its questions in the run that went before
            strict = self.thread.strict_resume and not (self._nested or self._superseded)
            by_id = self._answers.give(command.resume, self.pending, strict=strict)
        writes = [w for w in _writes_of(command) if not (by_id and w[0] == k.RESUME)]
        if not writes and not by_id:
            raise EmptyInputError("the input is an empty Command: give it update, resume or goto")
        return writes

    # --- what its tasks start from --------------------------------------------------------------

    def hand_back(self, tasks: Iterable[Task]) -> None:
        """Give finished tasks of the loaded step their writes back, and answers to the others."""
        found = statuses(self.pending) if self.pending else {}
        unfinished: list[tuple[Task, TaskStatus | None]] = []
        for task in tasks:
            if task.status == "failed":  # its error handler runs in place of it
                continue
            status = found.get(task.id)
            if not self._restore(task, status):
                unfinished.append((task, status))
        self._answers.hand_out(unfinished, self.pending)

    def hand_back_call(self, task: Task) -> None:
        """As ``hand_back``, for a call, which its caller makes while the step runs."""
        status = self._records.status(task.id)
        if not self._restore(task, status):
            self._answers.hand_to(task, status)

    def _restore(self, task: Task, status: TaskStatus | None) -> bool:
        """Give a task that had finished its writes back. Return whether it had."""
        if self.replaying or status is None or not status.output:
            return False
        task.writes = list(status.output)
        task.status = "done"
        task.cached = True
        return True

    def spend(self) -> None:
        """The answer that was given without an id has been taken."""
        self._answers.spend()

    def standing(self, task: Task, part: int = 0, parts: int = 1) -> Standing:
        """Return what a task, and graphs that its code invokes, are told of the thread.

        The parts of a task put questions of their own: their answers go by id alone.
        """
        by_id, answers, spare = self._answers.by_id, task.answers, task.spare
        if parts > 1:
            by_id = {**(answers[0] if answers else {}), **by_id}
            answers, spare = (), spare if part == 0 else ()
        return Standing(
            checkpoint_id=self.graph.checkpoint_id,
            checkpoint_map=self._inner_map(),
            durability=self.thread.durability,
            answers=answers,
            spare=spare,
            by_id=by_id,
            assumed=self._answers.assumed_in(task),
            resuming=self.resuming,
            replay=self.replay,
        )

    def inner(self, task: Task) -> ThreadOptions:
        """Return the options of a subgraph in a task."""
        return replace(
            self.thread,
            checkpoint_id=None,
            checkpoint_map=self._inner_map(),
            # another attempt goes on from what the one before has saved
            resuming=True if task.attempt > 1 else self.resuming,
            replay=self.replay,
            by_id=self._answers.by_id,
            assumed=self._answers.assumed_in(task),
        )

    def _inner_map(self) -> Mapping[str, str]:
        """Return the checkpoints of the graphs around a task of this graph, by namespace."""
        return {**self.thread.checkpoint_map, self.ns: self.graph.checkpoint_id}

    # --- what became of its steps ---------------------------------------------------------------

    def record(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> list[SaveWrites]:
        """Keep what a task wrote, until the checkpoint that contains it."""
        return self._records.record(task_id, path, writes)

    def end_step(self) -> list[SaveCheckpoint]:
        """Go on to the next step, behind a checkpoint of what the tasks of this one wrote."""
        out = self._records.checkpoint("loop")
        self._answers.step_ended()
        self.replaying = False
        self.resuming = None
        return out

    def settle(self, *, failed: bool) -> list[Any]:
        """Return what is left to be saved when the graph ends."""
        return self._records.settle(failed=failed)


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
