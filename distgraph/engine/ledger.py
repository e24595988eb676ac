"""What is saved of one graph of a run: where it starts from, and what goes to the saver.

A ledger belongs to a graph of the run as its ``Superstep`` does, with or without a saver. The rules
of resuming, of time travel and of forks are LangGraph's, so that a thread which it wrote is
continued here, and the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from distgraph import _keys as k
from distgraph._missing import MISSING
from distgraph.channels.untracked_value import UntrackedValue
from distgraph.constants import START
from distgraph.engine.checkpoints import (
    VERSION,
    PendingWrite,
    Saved,
    channel_values,
    deduplicated,
    open_questions,
    statuses,
)
from distgraph.engine.delta_run import DeltaRun
from distgraph.engine.deltas import replayable, seal
from distgraph.engine.ids import interrupt_id, path_key
from distgraph.engine.instructions import (
    LoadCheckpoint,
    SaveCheckpoint,
    SaveWrites,
    ThreadOptions,
)
from distgraph.engine.message_ids import with_message_ids
from distgraph.engine.spec import Write
from distgraph.engine.superstep import Superstep, Task
from distgraph.errors import EmptyInputError, InvalidUpdateError, UnknownInterruptError
from distgraph.types import Command, Send
from distgraph.worker.protocol import Standing

_INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")


class Ledger:
    """Checkpoints, pending writes and answers of one graph. Only the ``Machine`` drives it."""

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
        self.metadata: dict[str, Any] = {"step": -2}
        self.parent_id: str | None = None
        self.pending: list[PendingWrite] = []
        self.replaying = False
        """Whether finished tasks of the loaded step run again."""
        self.by_id: Mapping[str, Any] = thread.by_id
        self.assumed = thread.assumed
        self._asker: str | None = None
        """The task with the assumed question."""
        self._spare = spare
        self._lent = bool(spare)
        """Whether the answer is that of a graph around this one: it lasts until it is taken."""
        self._nested = nested
        self._run_metadata = metadata
        self._superseded = False
        self._loaded = False
        self._saved_id: str | None = None
        self._base_id = graph.checkpoint_id
        """The checkpoint that the run started from."""
        self._stored: dict[str, Any] = {}
        self._written: set[str] = set()
        """Tasks of this step that wrote in this run."""
        self._known: set[str] = set()
        """Tasks that have pending writes."""
        self._deltas = DeltaRun(graph, at_exit=thread.durability == "exit")
        self._untracked = frozenset(
            n for n, c in graph.spec.channels.items() if isinstance(c, UntrackedValue)
        )

    # --- where it starts ------------------------------------------------------------------------

    @property
    def ns(self) -> str:
        """The graph's namespace at the saver."""
        return self.graph.ns

    @property
    def address(self) -> str | None:
        """Id of the checkpoint that the run was pointed at, None for the latest."""
        named = None if self._nested else self.thread.checkpoint_id
        return self.thread.checkpoint_map.get(self.ns) or named

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
        self._loaded = saved is not None
        if saved is None:
            return
        self.metadata = dict(saved.metadata)
        self.parent_id = saved.parent_id
        self.pending = [(str(task), channel, value) for task, channel, value in saved.pending]
        self._known = {task for task, _, _ in self.pending}
        self._superseded = saved.superseded
        self.graph.restore(saved.checkpoint, self.metadata.get("step", -2), saved.histories)
        self._deltas.loaded(self.pending, latest=self.address is None and self.replay is None)
        self._saved_id = self._base_id = self.graph.checkpoint_id
        self._stored = dict(self.graph.versions)

    def enter(self, value: Any) -> tuple[bool, list[Any]]:
        """Apply the run's input, or go on from what was loaded.

        Returns whether it goes on, and instructions.

        Raises:
            EmptyInputError: There is neither.
            RuntimeError: Answers cannot be told apart, or nothing is there to be answered.
        """
        graph = self.graph
        command = value if isinstance(value, Command) else None
        inherited = self.resuming
        goes_on = self._wants_to_go_on(value) if inherited is None else inherited
        resumes = bool(graph.versions) and goes_on
        travels = self._travels(command, inherited)
        self.replaying = travels or self._superseded
        if travels:
            self.pending = [w for w in self.pending if w[1] != k.RESUME]
        from_update = self.metadata.get("source") in ("update", "fork")
        forks = resumes and travels and (not from_update or self._superseded)
        out: list[Any] = []
        carried: list[Write] = []
        self._deltas.entered(self.pending, hands_back=resumes and not self.replaying)
        if command is not None:
            writes = self._command_writes(command)
            self._deltas.commanded(writes, carried=forks)
            if forks:
                carried = writes
            elif writes:
                out += self.record(k.NULL_TASK_ID, (), writes)
        loose = [(c, v) for task, c, v in self.pending if task == k.NULL_TASK_ID] + carried
        if resumes:
            self._assign(command, [v for c, v in loose if c == k.RESUME])
        if self._nested and self.assumed is not None and (travels or not self._asked_here()):
            # the question will be put again under another id
            self._spare, self._lent = (self.by_id[self.assumed],), True
            self.by_id = {key: v for key, v in self.by_id.items() if key != self.assumed}
            self.assumed = None
        if loose:
            graph.apply_loose(loose)
        bound = graph.checkpoint_id
        if from_update and self.parent_id:
            bound = self.parent_id
        if resumes:
            graph.seen[k.INTERRUPT] = {
                c: version for c, version in graph.versions.items() if c in graph.channels
            }
            if forks:
                self.pending = [w for w in self.pending if w[1] != k.INTERRUPT]
                out += self.checkpoint("fork")
        elif writes := graph.input_writes(value):
            delta_input = self._deltas.input(writes)
            graph.apply_input(writes)
            if delta_input is not None:
                out += self.record(delta_input[0], (), delta_input[1])
            out += self.checkpoint("input")
        elif inherited is None:
            raise EmptyInputError(
                f"graph {graph.spec.name!r} was started without input (got {value!r}); pass a "
                "dict with at least one state key"
            )
        if not self._nested:
            self.resuming = resumes
            self.replay = bound if travels and self._loaded else None
        return resumes, out

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

    def _command_writes(self, command: Command[Any]) -> list[Write]:
        resume = command.resume
        by_id = False
        if resume is not None:
            if not self.saves:
                raise RuntimeError(
                    "Command(resume=...) without checkpointer: it answers a run that was saved. "
                    "Compile the graph with a checkpointer"
                )
            # one that runs again may have answered its questions in the run that went before
            strict = self.thread.strict_resume and not (self._nested or self._superseded)
            by_id = isinstance(resume, dict) and all(_is_interrupt_id(key) for key in resume)
            waiting = {question.id for question in open_questions(self.pending)}
            if by_id:
                if strict:
                    _check_ids(resume, waiting)
                self.by_id = resume
            elif len(waiting) > 1:
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
        writes = [w for w in _writes_of(command) if not (by_id and w[0] == k.RESUME)]
        if not writes and not by_id:
            raise EmptyInputError("the input is an empty Command: give it update, resume or goto")
        return writes

    def _assign(self, command: Command[Any] | None, given: Sequence[Any]) -> None:
        """Find the question that an answer without an id is for.

        One that an earlier run was given is left from then, unless a task has taken it.
        """
        found = statuses(self.pending).values()
        if command is None or command.resume is None or command.resume is self.by_id:
            taken = [answer for status in found for answer in status.answers]
            given = [answer for answer in given if answer not in taken]
        waiting = {question.id for status in found for question in status.waiting}
        if given and len(waiting) == 1:
            self.assumed = waiting.pop()
            self.by_id = {**self.by_id, self.assumed: given[0]}
        elif given:
            self._spare = (given[0],)

    def _asked_here(self) -> bool:
        return any(question.id == self.assumed for question in open_questions(self.pending))

    # --- what its tasks start from --------------------------------------------------------------

    def hand_back(self, tasks: Iterable[Task]) -> None:
        """Give finished tasks of the loaded step their writes back, and answers to the others."""
        found = statuses(self.pending) if self.pending else {}
        unfinished = []
        self._asker = None
        for task in tasks:
            if task.status == "failed":  # its error handler runs in place of it
                continue
            status = found.get(task.id)
            if status is not None and status.output and not self.replaying:
                task.writes = list(status.output)
                task.status = "done"
                task.cached = True
                continue
            unfinished.append((task, status))
            if status is not None and any(q.id == self.assumed for q in status.waiting):
                self._asker = task.id
            task.answers = () if status is None else status.answers
            task.answers += self._answer(task)
        if self.assumed is not None and self._asker is None and self._asked_here():
            self._spare = (self.by_id[self.assumed],)  # a Send has replaced the task that asked
        if self._spare and unfinished:
            asking = [t for t, s in unfinished if s is not None and s.interrupts]
            first = asking[0] if asking else unfinished[0][0]
            first.spare = self._spare

    def hand_back_call(self, task: Task) -> None:
        """As ``hand_back``, for a call, which its caller makes while the step runs."""
        status = None
        if task.id in self._known:  # looking through all writes for each call would be quadratic
            status = statuses(w for w in self.pending if w[0] == task.id).get(task.id)
        if status is not None and status.output and not self.replaying:
            task.writes = list(status.output)
            task.status = "done"
            task.cached = True
            return
        task.answers = () if status is None else status.answers
        task.answers += self._answer(task)

    def spend(self) -> None:
        """The answer that was given without an id has been taken."""
        self._spare = ()

    def _answer(self, task: Task) -> tuple[Any, ...]:
        """Return the answer by id to the task's next question, if it was given."""
        if not self.by_id:
            return ()
        ids = interrupt_id(task.ns, len(task.answers)), interrupt_id(task.ns, 0)
        return next(((self.by_id[i],) for i in ids if i in self.by_id), ())

    def standing(self, task: Task, part: int = 0, parts: int = 1) -> Standing:
        """Return what a task, and graphs that its code invokes, are told of the thread.

        The parts of a task put questions of their own: their answers go by id alone.
        """
        by_id, answers, spare = self.by_id, task.answers, task.spare
        if parts > 1:
            by_id = {**(answers[0] if answers else {}), **by_id}
            answers, spare = (), spare if part == 0 else ()
        return Standing(
            checkpoint_id=self.graph.checkpoint_id,
            checkpoint_map=self.inner_map(),
            durability=self.thread.durability,
            answers=answers,
            spare=spare,
            by_id=by_id,
            assumed=self._assumed_of(task),
            resuming=self.resuming,
            replay=self.replay,
        )

    def inner(self, task: Task) -> ThreadOptions:
        """Return the options of a subgraph in a task."""
        return replace(
            self.thread,
            checkpoint_id=None,
            checkpoint_map=self.inner_map(),
            # another attempt goes on from what the one before has saved
            resuming=True if task.attempt > 1 else self.resuming,
            replay=self.replay,
            by_id=self.by_id,
            assumed=self._assumed_of(task),
        )

    def _assumed_of(self, task: Task) -> str | None:
        return self.assumed if task.id == self._asker else None

    def inner_map(self) -> Mapping[str, str]:
        """Return the checkpoints of the graphs around a task of this graph, by namespace."""
        return {**self.thread.checkpoint_map, self.ns: self.graph.checkpoint_id}

    # --- what is saved --------------------------------------------------------------------------

    def record(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> list[SaveWrites]:
        """Keep what a task wrote, until the checkpoint that contains it.

        Messages for a ``DeltaChannel`` get their ids, in the list that is given.
        """
        if self._deltas.names and isinstance(writes, list):
            with_message_ids(self.graph.spec.channels, writes)
        if not self.saves and task_id != k.NULL_TASK_ID:
            return []
        writes = deduplicated(writes)
        if task_id == k.NULL_TASK_ID:
            kept = [w for w in self.pending if not (w[0] == task_id and w[1] in _SLOTTED)]
            writes = [
                *(w[1:] for w in kept if w[0] == task_id),
                *sorted(writes, key=lambda w: w[0] in _SLOTTED),
            ]
            self.pending = [w for w in kept if w[0] != task_id]
        elif task_id in self._known:
            self.pending = [w for w in self.pending if w[0] != task_id]
        self._known.add(task_id)
        self.pending += [(task_id, channel, value) for channel, value in writes]
        self._written.add(task_id)
        if not self.saves or self.thread.durability == "exit":
            return []
        return [self._save_writes(task_id, path, writes)]

    def _save_writes(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> SaveWrites:
        kept = [
            (channel, self._tracked(value) if channel == k.TASKS else value)
            for channel, value in writes
            if channel not in self._untracked
        ]
        key = path_key(path[:3]) if path else ""
        return SaveWrites(self.ns, self.graph.checkpoint_id, task_id, key, tuple(kept))

    def _tracked(self, value: Any) -> Any:
        """Leave values of untracked channels out of a ``Send``'s argument."""
        if not (self._untracked and isinstance(value, Send) and isinstance(value.arg, dict)):
            return value
        kept = {key: v for key, v in value.arg.items() if key not in self._untracked}
        return Send(value.node, kept, timeout=value.timeout)

    def checkpoint(self, source: str) -> list[SaveCheckpoint]:
        """End a step: the graph gets a new checkpoint, which is saved now or at the exit."""
        graph = self.graph
        if source == "loop":
            self._deltas.finished(self.pending)
        self.metadata = {
            "source": source,
            "step": graph.step,
            "parents": dict(self.thread.checkpoint_map),
            **self._deltas.counted(self.metadata, writes=source != "fork"),
        }
        graph.advance()
        if source == "loop":
            self.pending = []
            self._known.clear()
            self._written.clear()
            if not self._lent:
                self._spare = ()
            self.replaying = False
            self.resuming = None
        if not self.saves or self.thread.durability == "exit":
            return []
        return [self._save()]

    def _save(self) -> SaveCheckpoint:
        graph = self.graph
        self.parent_id = parent = self._saved_id
        values = channel_values(graph.channels, graph.versions)
        if k.TASKS in values:
            values[k.TASKS] = [self._tracked(send) for send in values[k.TASKS]]
        if whole := self._deltas.due(self.metadata):
            values = self._seal(whole, values)
        new = {c: v for c, v in graph.versions.items() if self._stored.get(c) != v}
        self._stored = dict(graph.versions)
        self._saved_id = graph.checkpoint_id
        checkpoint = {
            "v": VERSION,
            "id": graph.checkpoint_id,
            "channel_values": values,
            "channel_versions": dict(graph.versions),
            "versions_seen": {node: dict(seen) for node, seen in graph.seen.items()},
            "updated_channels": None if graph.updated is None else sorted(graph.updated),
        }
        return SaveCheckpoint(self.ns, parent, checkpoint, dict(self.metadata), new)

    def _seal(self, names: set[str], values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a checkpoint's values with these ``DeltaChannel``s whole."""
        graph = self.graph
        sealed = seal(
            names,
            graph.channels,
            values,
            graph.versions,
            graph.seen,
            stored=self._stored,
            next_version=graph.next_version,
            trigger_to_nodes=graph.spec.trigger_to_nodes,
        )
        graph.versions, graph.seen = sealed.versions, sealed.seen
        self._deltas.saved(names, self.metadata)
        return sealed.values

    def _save_left_deltas(self) -> list[Any]:
        """Save, at the exit, the writes of all supersteps on the checkpoint before them.

        A new thread has none: it gets an empty one.
        """
        out: list[Any] = []
        left = self._deltas.left(self.metadata)
        if left and not self._loaded:
            self._saved_id = self._base_id
            empty = {
                "v": VERSION,
                "id": self._base_id,
                "channel_values": {},
                "channel_versions": {},
                "versions_seen": {},
                "updated_channels": None,
            }
            out.append(SaveCheckpoint(self.ns, None, empty, {"step": -2}, {}))
        base = self._base_id
        out += [SaveWrites(self.ns, base, task, path, tuple(ws)) for task, path, ws in left]
        return out

    def settle(self, *, failed: bool) -> list[Any]:
        """Return what is left to be saved when the graph ends: in durability "exit", all of it.

        A subgraph's end is part of its parent's, unless it failed, stopped, or keeps a history of
        its own.
        """
        if not self.saves or self.thread.durability != "exit":
            return []
        own_history = all(k.NS_END not in part for part in self.ns.split(k.NS_SEP))
        if self._nested and not failed and not own_history:
            return []
        out: list[Any] = self._save_left_deltas()
        if self.graph.checkpoint_id != self._saved_id:
            out.append(self._save())
        by_task: dict[str, list[Write]] = {}
        for task_id, channel, value in self.pending:
            if task_id in self._written:
                by_task.setdefault(task_id, []).append((channel, value))
        for task_id, writes in by_task.items():
            task = self.graph.tasks.get(task_id)
            out.append(self._save_writes(task_id, () if task is None else task.path, writes))
        self._written.clear()
        return out


_SLOTTED = frozenset({k.ERROR, k.ERROR_SOURCE, k.INTERRUPT, k.RESUME, k.SCHEDULED})


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
