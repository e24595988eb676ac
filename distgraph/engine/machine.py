"""The superstep machine: events in, instructions out, for a graph and all graphs nested in it.

A subgraph that was added as a node is a frame of its own on this machine: its nodes are tasks
like any other, and no worker waits for a child. The machine is deterministic: the same events
give the same instructions, whatever happens around it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

from distgraph import _keys as k
from distgraph.engine.frame import PART, Frame, Piece, start_task
from distgraph.engine.ids import NewCheckpointId, derived_checkpoint_ids, path_key
from distgraph.engine.instructions import (
    AttemptEnded,
    CancelRequested,
    CancelTask,
    Finish,
    InputEvent,
    Instruction,
    RunOptions,
    RunStarted,
)
from distgraph.engine.narrator import Narrator
from distgraph.engine.outputs import (
    read_values,
    touches,
)
from distgraph.engine.spec import GraphSpec, Split, Write
from distgraph.engine.superstep import Pieces, Superstep, Task
from distgraph.errors import (
    EmptyInputError,
    GraphRecursionError,
    InvalidTransition,
    InvalidUpdateError,
    NodeCancelledError,
    ParentCommand,
)
from distgraph.serde.exceptions import ShippedError
from distgraph.types import Command
from distgraph.worker.messages import message_ids
from distgraph.worker.protocol import AttemptOutcome


class Machine:
    """Decides what runs next. Pure: no I/O, clock, thread or lock."""

    def __init__(
        self,
        spec: GraphSpec,
        options: RunOptions,
        *,
        new_checkpoint_id: NewCheckpointId | None = None,
    ) -> None:
        self._options = options
        self._say = Narrator(options)
        self._new_checkpoint_id = new_checkpoint_id or derived_checkpoint_ids(options.run_id)
        self._root = self._frame(spec, options.ns, (), options.output_keys, None)
        self._running: dict[str, tuple[Frame, Task]] = {}
        self._out: list[Instruction] = []
        self._story: deque[tuple[Any, ...]] = deque(maxlen=32)
        self.finished = False

    @property
    def running(self) -> int:
        """Number of attempts that are on workers."""
        return len(self._running)

    def handle(self, event: InputEvent) -> list[Instruction]:
        """Take one event and return what is to be done, in order."""
        self._out = self._say.out = []
        if self.finished:
            return self._out
        if isinstance(event, AttemptEnded):
            self._attempt_ended(event.outcome)
        elif isinstance(event, RunStarted):
            if self._story:
                raise InvalidTransition("the run was started already", self.story())
            self._story.append(("started",))
            self._begin(self._root, event.input)
        elif isinstance(event, CancelRequested):
            self._finish(Finish("cancelled"))
        else:
            raise InvalidTransition(f"the engine does not know the event {event!r}", self.story())
        return self._out

    def story(self) -> list[str]:
        """Return the last transitions, as text."""
        return [" ".join(str(part) for part in entry) for entry in self._story]

    # --- frames ---------------------------------------------------------------------------------

    def _frame(
        self,
        spec: GraphSpec,
        ns: tuple[str, ...],
        path: tuple[str, ...],
        output_keys: tuple[str, ...] | str | None,
        parent: tuple[Frame, Task] | None,
    ) -> Frame:
        graph = Superstep(
            spec,
            ns=k.NS_SEP.join(ns),
            limit=self._options.recursion_limit,
            new_checkpoint_id=self._new_checkpoint_id,
            base_metadata=self._options.metadata if parent is None else _inherited(parent[1]),
        )
        keys = spec.output_channels if output_keys is None else output_keys
        return Frame(graph, ns, path, keys, parent)

    def _begin(self, frame: Frame, value: Any) -> None:
        if not self._guard(frame, lambda: frame.graph.apply_input(value)):
            if not self.finished:
                self._fail(
                    frame,
                    EmptyInputError(
                        f"graph {frame.graph.spec.name!r} was started without input (got "
                        f"{value!r}); pass a dict with at least one state key"
                    ),
                )
            return
        self._advance(frame)

    def _guard(self, frame: Frame, call: Callable[[], Any]) -> Any:
        """Run what may raise by the user's doing (reducers, schemas); a failure ends the run."""
        try:
            return call()
        except Exception as error:
            self._fail(frame, error)
            return None

    # --- steps ----------------------------------------------------------------------------------

    def _advance(self, frame: Frame) -> None:
        """Start steps until one has to wait for workers, or the graph ends."""
        while not self.finished:
            graph = frame.graph
            tasks = graph.prepare()
            if graph.step > graph.stop:
                self._fail(frame, self._out_of_steps(graph, tasks))
                return
            if not tasks:
                self._complete(frame)
                return
            before = graph.spec.interrupt_before
            if frame.parent is None and self._options.interrupt_before is not None:
                before = self._options.interrupt_before
            if before and graph.stops_at(before, tasks):
                graph.tasks = {}
                self._breakpoint(frame)
                return
            self._start_step(frame, tasks)
            if not (self._step_is_over(frame) and self._end_step(frame)):
                return

    def _out_of_steps(self, graph: Superstep, tasks: Sequence[Task]) -> GraphRecursionError:
        names = ", ".join(sorted({repr(t.name) for t in tasks}))
        rest = f"{names} would run next" if names else "one step short of seeing that it ended"
        return GraphRecursionError(
            f"graph {graph.spec.name!r}: recursion limit of {graph.stop} supersteps reached "
            f"without an end; {rest}. Check that a path to END is taken, or pass a higher "
            'config={"recursion_limit": ...}'
        )

    def _start_step(self, frame: Frame, tasks: Sequence[Task]) -> None:
        self._say.started(frame, tasks)
        frame.starting = True
        frame.open = len(tasks)
        for task in tasks:
            self._start_task(frame, task)
            if self.finished:
                return
        frame.starting = False

    def _start_task(self, frame: Frame, task: Task) -> None:
        node = task.node
        if node.subgraph is not None:
            value = frame.graph.input_of(task)
            if task.pulled and node.mapper is not None:
                mapper = node.mapper
                value = self._guard(frame, lambda: mapper(value))
                if self.finished:
                    return
            self._say.has_seen(message_ids(value))
            child = self._frame(
                node.subgraph,
                (*frame.ns, task.ns.rsplit(k.NS_SEP, 1)[-1]),
                (*frame.path, node.name),
                None,
                (frame, task),
            )
            self._begin(child, {} if value is None else value)
        elif node.split is not None:
            self._start_split(frame, task, node.split)
        elif node.inline is not None:
            self._write_inline(frame, task, frame.graph.input_of(task))
        else:
            self._dispatch(frame, task, "node", task.input)

    def _start_split(self, frame: Frame, task: Task, split: Split) -> None:
        """Start each part of a task's work as an attempt of its own."""
        try:
            value = frame.graph.input_of(task)
            if task.pulled and task.node.mapper is not None:
                value = task.node.mapper(value)
            divide = split.parts if task.pulled else getattr(split, "sent_parts", split.parts)
            parts = divide(value)
            options = [split.options(part.key) for part in parts or ()]
        except Exception as error:
            self._fail(frame, error, task)
            return
        if parts is None:
            self._dispatch(frame, task, "node", task.input)
            return
        task.pieces = Pieces(value, parts, [None] * len(parts), len(parts))
        for index, (part, how) in enumerate(zip(parts, options, strict=True)):
            self._dispatch(frame, task, "part", part.input, (index, part, how))
        if not parts:
            self._join(frame, task, task.pieces)

    def _dispatch(
        self,
        frame: Frame,
        task: Task,
        kind: Literal["node", "part", "writers"],
        value: Any,
        piece: Piece | None = None,
    ) -> None:
        start = start_task(frame, task, kind, value, piece)
        self._running[start.request.task_id] = (frame, task)
        self._story.append(
            (
                "start",
                task.name,
                start.request.task_id,
                "attempt",
                task.attempt,
                "of",
                frame.graph.step,
            )
        )
        self._out.append(start)

    def _write_inline(self, frame: Frame, task: Task, value: Any) -> None:
        """Compute the writes of a node without user code right here."""
        program = task.node.inline
        assert program is not None

        def no_reading(_: Sequence[str] | str) -> Any:
            raise InvalidTransition(f"inline node {task.name!r} reads state", self.story())

        def compute() -> list[Write]:
            return [w for writer in program.writers for w in writer(value, no_reading, {})]

        try:
            writes = compute()
        except ParentCommand as bubble:
            self._parent_command(frame, bubble.command)
            return
        except Exception as error:
            self._fail(frame, error, task)
            return
        self._succeed(frame, task, writes)

    # --- the end of tasks -----------------------------------------------------------------------

    def _attempt_ended(self, outcome: AttemptOutcome) -> None:
        entry = self._running.get(outcome.task_id)
        if entry is None or entry[1].attempt != outcome.attempt:
            raise InvalidTransition(
                f"attempt {outcome.attempt} of task {outcome.task_id} ended as "
                f"{outcome.status!r}, but it is not running",
                self.story(),
            )
        frame, task = self._running.pop(outcome.task_id)
        self._story.append(("ended", task.name, task.id, outcome.status))
        self._say.has_seen(outcome.message_ids)
        if task.pieces is not None and PART in outcome.task_id:
            self._part_ended(frame, task, task.pieces, outcome)
        elif outcome.status == "ok":
            self._succeed(frame, task, list(outcome.writes))
        elif outcome.status == "interrupt":
            task.writes = list(outcome.writes)
            self._interrupt(frame, task, outcome.interrupts)
        elif outcome.status == "command":
            self._parent_command(frame, outcome.value)
            return
        else:
            error = outcome.error or _cancelled_itself(task)
            task.writes = list(outcome.writes)
            if task.writes:  # a conditional edge failed, behind what its node had written
                self._say.wrote(frame, task)
            self._fail(frame, error, task)
        self._after_task(frame)

    def _part_ended(
        self, frame: Frame, task: Task, pieces: Pieces, outcome: AttemptOutcome
    ) -> None:
        index = int(outcome.task_id.rsplit(PART, 1)[1])
        split = task.node.split
        assert split is not None
        if outcome.status == "timeout":
            part = pieces.parts[index]
            pieces.results[index] = self._guard(
                frame, lambda: split.timed_out(part, split.options(part.key).timeout or 0.0)
            )
        elif outcome.status == "interrupt":
            task.interrupts += tuple(outcome.interrupts)
        elif outcome.status == "ok":
            pieces.results[index] = outcome.value
            pieces.sent[index] = outcome.writes
        else:
            error = outcome.error or _cancelled_itself(task)
            self._fail(frame, error, task)
        pieces.open -= 1
        if pieces.open == 0 and not self.finished:
            self._join(frame, task, pieces)

    def _join(self, frame: Frame, task: Task, pieces: Pieces) -> None:
        """Every part has ended: make of their results what the node returns."""
        split = task.node.split
        assert split is not None
        task.pieces = None
        task.sent = [write for at in sorted(pieces.sent) for write in pieces.sent[at]]
        if task.interrupts:
            self._interrupt(frame, task, task.interrupts)
            return
        try:
            value = split.join(pieces.value, pieces.parts, pieces.results)
        except Exception as error:
            self._fail(frame, error, task)
            return
        if task.node.inline is not None:
            self._write_inline(frame, task, value)
        else:
            self._dispatch(frame, task, "writers", value)

    def _after_task(self, frame: Frame) -> None:
        if (
            not self.finished
            and not frame.ended
            and self._step_is_over(frame)
            and self._end_step(frame)
        ):
            self._advance(frame)

    def _succeed(self, frame: Frame, task: Task, writes: list[Write]) -> None:
        task.writes = [*task.sent, *writes]
        task.status = "done"
        frame.open -= 1
        self._say.succeeded(frame, task)

    def _interrupt(self, frame: Frame, task: Task, interrupts: Sequence[Any]) -> None:
        task.status = "interrupted"
        frame.open -= 1
        task.interrupts = tuple(interrupts)
        if interrupts:
            self._say.interrupted(frame, task)

    def _parent_command(self, frame: Frame, command: Command[Any]) -> None:
        """A node addressed its parent graph: this graph ends here, and the parent's node with
        the command as what it returned."""
        if frame.parent is None:
            if self._options.has_parent:
                self._finish(Finish("command", command))
            else:
                self._fail(
                    frame,
                    InvalidUpdateError(
                        f"graph {frame.graph.spec.name!r}: a node returned "
                        "Command(graph=Command.PARENT), but this graph is no subgraph"
                    ),
                )
            return
        self._drop(frame)
        parent, task = frame.parent
        own = Command(update=command.update, goto=command.goto, resume=command.resume)
        self._returned(parent, task, own)

    def _returned(self, frame: Frame, task: Task, value: Any) -> None:
        """The subgraph in ``task`` gave ``value``: turn it into the task's writes."""
        if task.node.inline is not None:
            self._write_inline(frame, task, value)
            self._after_task(frame)
        else:
            self._dispatch(frame, task, "writers", value)

    # --- the end of steps -----------------------------------------------------------------------

    def _step_is_over(self, frame: Frame) -> bool:
        return not (self.finished or frame.starting or frame.open)

    def _end_step(self, frame: Frame) -> bool:
        """Apply the step's writes. Return whether the graph goes on."""
        graph = frame.graph
        interrupted = [t for t in graph.tasks.values() if t.status == "interrupted"]
        if interrupted:
            interrupted.sort(key=lambda t: path_key(t.path))
            frame.interrupts = [i for t in interrupted for i in t.interrupts]
            self._end_interrupted(frame)
            return False
        tasks = list(graph.tasks.values())
        writes = self._guard(frame, graph.finish_step)
        if self.finished:
            return False
        if touches(frame.output_keys, writes):
            self._say.values(frame)
        after = graph.spec.interrupt_after
        if frame.parent is None and self._options.interrupt_after is not None:
            after = self._options.interrupt_after
        if after and graph.stops_at(after, tasks):
            self._breakpoint(frame)
            return False
        return True

    def _end_interrupted(self, frame: Frame) -> None:
        graph = frame.graph
        for task in graph.tasks.values():
            if task.status == "interrupted":
                task.writes = []
        if any(t.writes for t in graph.tasks.values()):
            writes = self._guard(frame, graph.finish_step)
            if self.finished:
                return
            if frame.parent is None and touches(frame.output_keys, writes):
                self._say.values(frame)
        frame.ended = True
        self._interrupted(frame)

    def _breakpoint(self, frame: Frame) -> None:
        self._say.stopped(frame)
        frame.ended = True
        self._interrupted(frame)

    def _interrupted(self, frame: Frame) -> None:
        if frame.parent is None:
            output = read_values(frame.graph.channels, frame.output_keys)
            self._finish(Finish("interrupted", output, interrupts=tuple(frame.interrupts)))
            return
        parent, task = frame.parent
        self._interrupt(parent, task, frame.interrupts)
        self._after_task(parent)

    def _complete(self, frame: Frame) -> None:
        frame.ended = True
        if frame.parent is None:
            self._finish(Finish("done", frame.output))
            return
        parent, task = frame.parent
        self._returned(parent, task, frame.output)

    # --- the end of the run ---------------------------------------------------------------------

    def _fail(
        self, frame: Frame, error: ShippedError | BaseException, task: Task | None = None
    ) -> None:
        if task is not None:
            task.status = "failed"
            self._say.ended(frame, task, error)
        while frame.parent is not None:
            frame, outer = frame.parent
            self._say.ended(frame, outer, error)
        self._finish(Finish("error", error=error))

    def _drop(self, frame: Frame) -> None:
        """Cancel whatever runs in a frame and below it."""
        frame.ended = True
        for task_id, (owner, task) in list(self._running.items()):
            at: Frame | None = owner
            while at is not None and at is not frame:
                at = at.parent[0] if at.parent else None
            if at is frame:
                del self._running[task_id]
                owner.ended = True
                self._out.append(CancelTask(task_id, task.attempt))

    def _finish(self, finish: Finish) -> None:
        for task_id, (_, task) in self._running.items():
            self._out.append(CancelTask(task_id, task.attempt))
        self._running.clear()
        self._story.append(("finished", finish.status))
        self.finished = True
        self._out.append(finish)


def _cancelled_itself(task: Task) -> NodeCancelledError:
    return NodeCancelledError(
        task.name,
        f"Node {task.name!r} raised asyncio.CancelledError or KeyboardInterrupt, though nobody had "
        "cancelled its run. Catch it in the node where what the node waits for may be cancelled",
    )


def _inherited(task: Task) -> dict[str, Any]:
    """Return the metadata that a subgraph's tasks start from: that of the task around it."""
    own = {key: v for key, v in task.metadata.items() if not key.startswith("langgraph_")}
    own.setdefault("checkpoint_ns", task.ns)
    return own
