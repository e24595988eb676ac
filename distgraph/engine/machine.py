"""The superstep machine: events in, instructions out, for a graph and all graphs nested in it.

A subgraph that was added as a node is a frame of its own on this machine: its nodes are tasks
like any other, and no worker waits for a child. The machine is deterministic: the same events
give the same instructions, whatever happens around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.ids import NewCheckpointId, path_key
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import DroppedCall, TaskCall
from distgraph.contract.events import (
    AttemptEnded,
    CacheKey,
    CallDropped,
    CancelRequested,
    CheckpointLoaded,
    DrainRequested,
    Finish,
    Found,
    InputEvent,
    Instruction,
    LookUp,
    Remember,
    RunOptions,
    RunStarted,
    StorageFailed,
    Sync,
    Synced,
    TaskCalled,
    Woken,
)
from distgraph.contract.spec import PART, GraphSpec, Write
from distgraph.engine.caching import assign_keys
from distgraph.engine.calls import called_task, cancelled
from distgraph.engine.checkpoints import CONTROL, increment
from distgraph.engine.frame import Frame
from distgraph.engine.outputs import (
    read_values,
    touches,
)
from distgraph.engine.pieces import Pieces
from distgraph.engine.recovery import (
    Ended,
    failure_of,
)
from distgraph.engine.starting import Starting
from distgraph.engine.superstep import Task
from distgraph.errors import (
    GraphDrained,
    InvalidTransition,
    ParentCommand,
)
from distgraph.types import Command


class Machine(Starting):
    """Decides what runs next. Pure: no I/O, clock, thread or lock."""

    def __init__(
        self,
        spec: GraphSpec,
        options: RunOptions,
        *,
        new_checkpoint_id: NewCheckpointId | None = None,
        next_version: Callable[[Any], Any] = increment,
        random: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(
            options, new_checkpoint_id=new_checkpoint_id, next_version=next_version, random=random
        )
        self._root = self._frame(spec, options.ns, (), options.output_keys, None)

    def handle(self, event: InputEvent) -> list[Instruction]:
        """Take one event and return what is to be done, in order."""
        self._out = self._say.out = []
        if self.finished:
            return self._out
        if isinstance(event, AttemptEnded):
            self._attempt_ended(event.outcome)
        elif isinstance(event, TaskCalled):
            self._called(event.call)
        elif isinstance(event, CallDropped):
            self._dropped(event.call)
        elif isinstance(event, RunStarted):
            if self._story:
                raise InvalidTransition("the run was started already", self.story())
            self._story.append(("started",))
            self._begin(self._root, event.input)
        elif isinstance(event, CancelRequested):
            self._finish(Finish("cancelled"))
        elif isinstance(event, CheckpointLoaded):
            self._answered(event.key, event.saved)
        elif isinstance(event, Found):
            self._answered(event.key, event.values)
        elif isinstance(event, (Synced, Woken)):
            self._answered(event.key)
        elif isinstance(event, DrainRequested):
            self._drain = event.reason
        elif isinstance(event, StorageFailed):
            self._finish(Finish("error", error=event.error))
        else:
            raise InvalidTransition(f"the engine does not know the event {event!r}", self.story())
        return self._out

    # --- the end of tasks -----------------------------------------------------------------------

    def _attempt_ended(self, outcome: AttemptOutcome) -> None:
        entry = self._running.get(outcome.task_id)
        if entry is None or entry[2].request.attempt != outcome.attempt:
            raise InvalidTransition(
                f"attempt {outcome.attempt} of task {outcome.task_id} ended as "
                f"{outcome.status!r}, but it is not running",
                self.story(),
            )
        if self._calls.holds(outcome):
            return
        frame, task, start = self._running.pop(outcome.task_id)
        self._story.append(("ended", task.name, task.id, outcome.status))
        self._say.has_seen(outcome.message_ids)
        if outcome.drain is not None:
            self._drain = outcome.drain
        if task.spare and task.spare[0] in outcome.answers[len(task.answers) :]:
            for around in frame.lineage():
                around.ledger.spend()
        failure = failure_of(task, start, outcome)
        if failure is not None:
            self._fail(frame, failure, task, Ended(start, outcome))
        elif outcome.status == "drained" and task.call is not None:
            self._fail(frame, GraphDrained(outcome.value), task)
        elif outcome.status == "drained":
            self._stopped(frame, task, outcome.value)
        elif task.pieces is not None and PART in outcome.task_id:
            self._part_ended(frame, task, task.pieces, outcome)
        elif outcome.status == "ok":
            self._succeed(frame, task, list(outcome.writes), outcome.answers)
        elif outcome.status == "interrupt":
            task.answers = outcome.answers
            self._interrupt(frame, task, outcome.interrupts)
        elif outcome.status == "command" and task.call is not None:
            self._fail(frame, ParentCommand(outcome.value), task)
        else:
            self._parent_command(frame, outcome.value)
            return
        self._after_task(frame)

    def _part_ended(
        self, frame: Frame, task: Task, pieces: Pieces, outcome: AttemptOutcome
    ) -> None:
        self._guard(frame, lambda: pieces.take(task, outcome))
        pieces.open -= 1
        if pieces.open == 0 and not self._over(frame):
            self._join(frame, task, pieces)

    def _join(self, frame: Frame, task: Task, pieces: Pieces) -> None:
        """Every part has ended: make of their results what the node returns."""
        task.pieces = None
        task.sent = pieces.writes()
        if task.interrupts:
            self._interrupt(frame, task, task.interrupts)
            return
        try:
            value = pieces.join()
        except Exception as error:
            self._fail(frame, error, task)
            return
        if task.node.inline is not None:
            self._write_inline(frame, task, value)
        else:
            self._dispatch(frame, task, "writers", value)

    def _after_task(self, frame: Frame) -> None:
        if not self._over(frame) and self._step_is_over(frame) and self._end_step(frame):
            self._advance(frame)

    def _succeed(
        self, frame: Frame, task: Task, writes: list[Write], answers: Sequence[Any] = ()
    ) -> None:
        task.writes = [*task.sent, *writes]
        if answers := answers or task.answers:
            task.writes.append((k.RESUME, list(answers)))
        if all(channel in CONTROL for channel, _ in task.writes):
            task.writes.append((k.NO_WRITES, None))  # any output tells that it finished
        task.status = "done"
        frame.open -= 1
        self._out += frame.ledger.record(task.id, task.path, task.writes)
        if task.cache_key is not None:
            ttl = None if task.node.cache is None else task.node.cache.ttl
            self._out.append(Remember(frame.path, task.cache_key, tuple(task.writes), ttl))
        self._say.succeeded(frame, task)
        if task.call is not None:
            self._out += self._calls.results(task, None)

    def _interrupt(self, frame: Frame, task: Task, interrupts: Sequence[Any]) -> None:
        task.status = "interrupted"
        frame.open -= 1
        task.interrupts = tuple(interrupts)
        if interrupts:
            asked: list[Write] = [(k.INTERRUPT, task.interrupts)]
            if task.answers:
                asked.append((k.RESUME, list(task.answers)))
            self._out += frame.ledger.record(task.id, task.path, asked)
            if task.call is None:
                self._say.interrupted(frame, task)
        if task.call is not None:  # its caller stops there, and tells of it
            self._out += self._calls.results(task, None)

    def _parent_command(self, frame: Frame, command: Command[Any]) -> None:
        """A node addressed its parent graph: this graph ends here, and the parent's node with
        the command as what it returned."""
        if frame.parent is None:
            if self._options.has_parent:
                self._finish(Finish("command", command))
            else:
                self._fail(frame, ParentCommand(command))
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

    # --- calls ----------------------------------------------------------------------------------

    def _called(self, call: TaskCall) -> None:
        """Start the tasks that running code called, in the order in which it did."""
        for following in self._calls.taken(call):
            entry = self._running.get(call.task_id)
            if entry is None or entry[2].request.attempt != call.attempt:
                return  # the caller was cancelled
            frame, caller, _ = entry
            self._start_call(frame, called_task(frame.graph, caller, following), following)
            if self.finished:
                return
            if self._calls.drops(following):
                self._dropped(DroppedCall(following.task_id, following.attempt, following.seq))
        outcome = self._calls.released(call)
        if outcome is not None:
            self._attempt_ended(outcome)

    def _start_call(self, frame: Frame, task: Task, call: TaskCall) -> None:
        known = frame.graph.tasks.get(task.id)
        if known is not None and known.status in ("running", "done"):
            task = known  # called by an earlier attempt of its caller
            self._calls.wait(task, call)
        else:
            frame.graph.tasks[task.id] = task
            self._calls.wait(task, call)
            self._say.started(frame, [task])
            frame.ledger.hand_back_call(task)
            if not task.cached:
                frame.open += 1
                self._look_up(frame, task)
        if task.status == "done":
            self._out += self._calls.results(task, None)

    def _dropped(self, call: DroppedCall) -> None:
        """End a call that its caller has cancelled."""
        entry = self._running.get(call.task_id)
        if entry is None or entry[2].request.attempt != call.attempt:
            return  # the caller has ended, or was cancelled itself
        frame = entry[0]
        task = frame.graph.tasks.get(self._calls.dropped(call) or "")
        if task is not None and task.status == "running":
            self._cancel(lambda _, running: running is task)
            self._gives_up(frame, task, cancelled(task), None)

    def _look_up(self, frame: Frame, task: Task) -> None:
        """Start a call, unless a cache has its result."""

        def found(values: Mapping[CacheKey, Sequence[Write]]) -> None:
            if task.status != "running":  # its caller has cancelled it
                return
            for writes in values.values():
                frame.open -= 1
                task.writes, task.status, task.cached = list(writes), "done", True
                self._out += frame.ledger.record(task.id, task.path, task.writes)
                self._say.wrote(frame, task)
                self._out += self._calls.results(task, None)
                self._after_task(frame)
                return
            self._start_task(frame, task)

        try:
            keys = assign_keys(frame.graph, [task])
        except Exception as error:
            self._fail(frame, error, task)
            return
        if keys:
            self._out.append(LookUp(self._wait(frame, found), frame.path, tuple(keys)))
        else:
            self._start_task(frame, task)

    # --- the end of steps -----------------------------------------------------------------------

    def _step_is_over(self, frame: Frame) -> bool:
        return not (self.finished or frame.starting or frame.open)

    def _end_step(self, frame: Frame) -> bool:
        """Apply the step's writes. Return whether the graph goes on."""
        if frame.failure is not None:
            self._fail(frame, frame.failure)
            return False
        graph = frame.graph
        interrupted = [t for t in graph.tasks.values() if t.status == "interrupted"]
        if frame.drained is not None:
            self._drained(frame, frame.drained)
            return False
        if interrupted:
            interrupted.sort(key=lambda t: path_key(t.path))
            frame.interrupts = [i for t in interrupted if t.call is None for i in t.interrupts]
            self._end_interrupted(frame)
            return False
        tasks = list(graph.tasks.values())
        writes = self._guard(frame, graph.finish_step)
        if self._over(frame):
            return False
        if touches(frame.output_keys, writes):
            self._say.values(frame)
        self._out += frame.ledger.end_step()
        after = graph.spec.interrupt_after
        if frame.parent is None and self._options.interrupt_after is not None:
            after = self._options.interrupt_after
        if after and graph.stops_at(after, tasks):
            self._say.checkpoint(frame, graph.prepare())
            self._breakpoint(frame)
            return False
        if frame.ledger.saves and frame.ledger.thread.durability == "sync":
            self._out.append(Sync(self._wait(frame, partial(self._advance, frame))))
            return False
        return True

    def _end_interrupted(self, frame: Frame) -> None:
        graph = frame.graph
        self._settle(frame, failed=True)
        for task in graph.tasks.values():
            if task.status == "interrupted":
                task.writes = []
        if any(t.writes for t in graph.tasks.values()):
            writes = self._guard(frame, graph.finish_step)
            if self._over(frame):
                return
            if frame.parent is None and touches(frame.output_keys, writes):
                self._say.values(frame)
        frame.ended = True
        self._interrupted(frame)

    def _breakpoint(self, frame: Frame) -> None:
        frame.ended = True
        self._interrupted(frame)

    def _interrupted(self, frame: Frame) -> None:
        self._settle(frame, failed=True)
        if frame.parent is None:
            # those of calls that nobody waited for, as LangGraph has it
            unseen = any(t.interrupts for t in frame.graph.tasks.values())
            if not (frame.interrupts or unseen or self._options.has_parent):
                self._say.stopped(frame)
            output = read_values(frame.graph.channels, frame.output_keys)
            self._finish(Finish("interrupted", output, interrupts=tuple(frame.interrupts)))
            return
        parent, task = frame.parent
        self._interrupt(parent, task, frame.interrupts)
        self._after_task(parent)

    def _drained(self, frame: Frame, reason: str) -> None:
        """The run was asked to stop: this graph stops here."""
        frame.ended = True
        self._settle(frame, failed=True)
        if frame.parent is None:
            self._finish(Finish("error", error=GraphDrained(reason)))
            return
        parent, task = frame.parent
        self._stopped(parent, task, reason)
        self._after_task(parent)

    def _stopped(self, frame: Frame, task: Task, reason: str) -> None:
        """The graph in a task was drained: its own stops behind the tasks beside it."""
        self._cancel(lambda _, running: running is task)  # other parts of its work
        task.status = "interrupted"
        task.pieces = None
        frame.open -= 1
        frame.drained = reason

    def _complete(self, frame: Frame) -> None:
        frame.ended = True
        if frame.parent is None:
            self._finish(Finish("done", frame.output))
            return
        self._settle(frame, failed=False)
        parent, task = frame.parent
        self._returned(parent, task, frame.output)
