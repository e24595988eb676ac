"""The superstep machine: events in, instructions out, for a graph and all graphs nested in it.

A subgraph that was added as a node is a ``GraphRun`` of its own on this machine: its nodes are
tasks like any other, and no worker waits for a child. The machine is deterministic: the same events
give the same instructions (``Recording`` and ``replay``).

How to read it: ``handle`` looks the event up in ``_ON_EVENT``; the end of an attempt goes on in
``_ON_OUTCOME``, by the outcome's status. From there the methods follow the life of a graph. It
*begins*: its checkpoint is loaded, its input applied. It *advances* from superstep to superstep.
It *ends*, which gives the task around it a result. Other files decide the rest: ``superstep`` which
tasks run, ``thread`` what is loaded and saved, ``graph_run`` what a worker is sent, ``failures``
which failures are tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

from distgraph._internal import keys as k
from distgraph._internal.ids import (
    NewCheckpointId,
    derived_checkpoint_ids,
    in_generation,
    path_key,
    scatter,
)
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import DroppedCall, TaskCall
from distgraph.contract.checkpoint import Saved
from distgraph.contract.events import (
    AttemptEnded,
    CacheKey,
    CallDropped,
    CancelRequested,
    CheckpointLoaded,
    DrainRequested,
    DriverReplaced,
    Finish,
    Found,
    InputEvent,
    Instruction,
    LookUp,
    ProgressMade,
    Remember,
    RunOptions,
    RunStarted,
    StartTask,
    StorageFailed,
    Sync,
    Synced,
    TaskCalled,
    Wake,
    Woken,
)
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import PART, GraphSpec, Split, Write
from distgraph.contract.stream import shown_attempt
from distgraph.engine import invariants
from distgraph.engine.attempts import Attempts
from distgraph.engine.caching import assign_keys
from distgraph.engine.callback_events import CallbackEvents
from distgraph.engine.checkpoints import CONTROL, increment
from distgraph.engine.error_handlers import handler_of, handlers_of
from distgraph.engine.failures import (
    FailedAttempt,
    after_loss,
    failure_of,
    is_rejected_resume,
    next_attempt,
    retried,
    timed_out,
)
from distgraph.engine.graph_run import GraphRun, Phase, attempt_of, inherited_metadata
from distgraph.engine.idle import IdleWindow, take_report
from distgraph.engine.outputs import touches
from distgraph.engine.parts import Parts, PartStart, divide
from distgraph.engine.story import Recording, Story, Transition
from distgraph.engine.stream_events import StreamEvents
from distgraph.engine.superstep import Superstep, Task, out_of_steps
from distgraph.engine.task_calls import TaskCalls, called_task, cancelled
from distgraph.engine.thread import GraphThread
from distgraph.errors import (
    GraphDrained,
    GraphInterrupt,
    InvalidTransition,
    ParentCommand,
)
from distgraph.types import Command

__all__ = ("Machine", "replay")

Error = ShippedError | BaseException


class Machine:
    """Decides what runs next. Pure: no I/O, clock, thread or lock.

    Args:
        spec: The root graph.
        options: What the run was asked for.
        new_checkpoint_id: By default, ids are derived from the run's id.
        next_version: The saver's rule for versions of channels.
        random: Numbers of [0, 1) for the jitter of retries; by default, derived from the run's id.
        record: Keep a ``recording`` of all events. It grows with the run.
    """

    validates: ClassVar[bool] = False
    """Whether every event is followed by ``validate``. On in tests, off in production."""

    def __init__(
        self,
        spec: GraphSpec,
        options: RunOptions,
        *,
        new_checkpoint_id: NewCheckpointId | None = None,
        next_version: Callable[[Any], Any] = increment,
        random: Callable[[], float] | None = None,
        record: bool = False,
    ) -> None:
        self._options = options
        self._new_checkpoint_id = new_checkpoint_id or derived_checkpoint_ids(options.shared.run_id)
        self._next_version = next_version
        self._random = random or scatter(options.shared.run_id)
        self.recording: Recording | None = None
        """All events so far, with ``record``."""
        if record:
            self.recording = Recording(spec, options)
            self._new_checkpoint_id = self.recording.drawing(self._new_checkpoint_id)
            self._next_version = self.recording.drawing(self._next_version)
            self._random = self.recording.drawing(self._random)
        self._story = Story()
        self._stream = StreamEvents(options)
        self._callbacks = CallbackEvents(options)
        self._attempts = Attempts(self._story)
        self._calls = TaskCalls()
        self._graphs: list[GraphRun] = []
        """Graphs that have not ended, each behind the graph around it."""
        self._awaited: dict[str, tuple[GraphRun, Callable[..., None]]] = {}
        """By the key of a request to the saver, a cache or the clock: the graph that waits for the
        reply, and the function that takes it."""
        self._requests = 0
        self._restarts = 0
        self._begun = 0
        """Graphs that were started again."""
        self._rewound: set[str] = set()
        """Namespaces of subgraphs that have gone back in time with the graph around them."""
        self._drain: str | None = None
        self.ignored: dict[str, None] = {}
        """Messages about writes that were ignored, without repetitions."""
        self._out: list[Instruction] = []
        self._started = False
        self.finished = False
        self._null_resume_taken = False
        self._root = self._add_graph(spec, options.ns, (), options.output_keys, None)

    @property
    def running(self) -> int:
        """Number of attempts that are on workers."""
        return len(self._attempts)

    @property
    def drain(self) -> str | None:
        """The reason to stop behind the current superstep, None if nobody asked for it."""
        return self._drain

    def story(self, id: str | None = None) -> tuple[Transition, ...]:
        """Return the last transitions: of one task id or graph namespace, or of everything."""
        return self._story.of(id)

    def validate(self) -> None:
        """Check the invariants of the machine.

        Raises:
            InvalidTransition: One of them does not hold.
        """
        waiting = [graph for graph, _ in self._awaited.values()]
        broken = invariants.broken(self._graphs, list(self._attempts), waiting)
        if broken is not None and self._started:
            raise InvalidTransition(f"invariant broken: {broken}", story=self.story())

    def handle(self, event: InputEvent) -> list[Instruction]:
        """Take one event and return the instructions that follow from it, in order.

        Raises:
            InvalidTransition: The event is impossible in the machine's state: a bug of the caller.
        """
        out: list[Instruction] = []
        self._out = out
        if self.finished:
            return out
        take = self._ON_EVENT.get(type(event))
        if take is None:
            raise InvalidTransition(
                f"the engine does not know the event {event!r}", story=self.story()
            )
        if self.recording is not None:
            self.recording.keep(event)
        self._story.begin(event)
        take(self, event)
        if self.validates:
            self.validate()
        return out

    # --- events -----------------------------------------------------------------------------------

    def _run_started(self, event: RunStarted) -> None:
        if self._started:
            raise InvalidTransition("the run was started already", story=self.story())
        self._started = True
        self._story.note("", "", "new", "started")
        self._begin(self._root, event.input)

    def _task_called(self, event: TaskCalled) -> None:
        """Start the tasks that running code called, in the order of its calls."""
        for call in self._calls.in_order(event.call):
            caller = self._attempts.find(call.attempt_id)
            if caller is None:  # it was cancelled
                return
            graph, task, _ = caller
            self._start_call(graph, called_task(graph.superstep, task, call), call)
            if self.finished:
                return
            if self._calls.was_dropped(call):
                self._drop_call(DroppedCall(call.task_id, call.attempt, call.seq))
        outcome = self._calls.released(event.call)
        if outcome is not None:
            self._take_outcome(outcome)

    def _progress_made(self, event: ProgressMade) -> None:
        running = self._attempts.find(event.attempt_id)
        if running is not None:
            take_report(running.graph, event)

    def _drain_requested(self, event: DrainRequested) -> None:
        self._drain = event.reason

    def _driver_replaced(self, event: DriverReplaced) -> None:
        self._attempts.generation = event.generation

    _ON_EVENT: ClassVar[Mapping[type[Any], Callable[[Machine, Any], None]]] = {
        RunStarted: _run_started,
        AttemptEnded: lambda self, event: self._take_outcome(event.outcome),
        TaskCalled: _task_called,
        CallDropped: lambda self, event: self._drop_call(event.call),
        ProgressMade: _progress_made,
        CancelRequested: lambda self, event: self._finish(Finish("cancelled")),
        DrainRequested: _drain_requested,
        DriverReplaced: _driver_replaced,
        StorageFailed: lambda self, event: self._finish(Finish("error", error=event.error)),
        CheckpointLoaded: lambda self, event: self._reply(event.key, event.saved),
        Found: lambda self, event: self._reply(event.key, event.values),
        Synced: lambda self, event: self._reply(event.key),
        Woken: lambda self, event: self._reply(event.key),
    }

    # --- requests to the saver, the caches and the clock ------------------------------------------

    def _await(self, graph: GraphRun, go_on: Callable[..., None]) -> str:
        """Return the key of a request, with the reply to which ``go_on`` is called."""
        self._requests += 1
        key = str(self._requests)
        self._awaited[key] = (graph, go_on)
        return key

    def _reply(self, key: str, *reply: Any) -> None:
        if key not in self._awaited:
            raise InvalidTransition(f"nothing waits for a reply to {key!r}", story=self.story())
        graph, go_on = self._awaited.pop(key)
        if not graph.ended:
            go_on(*reply)

    def _after(self, graph: GraphRun, seconds: float, go_on: Callable[[], None]) -> None:
        self._out.append(Wake(self._await(graph, go_on), seconds))

    # --- a graph begins ---------------------------------------------------------------------------

    def _add_graph(
        self,
        spec: GraphSpec,
        ns: tuple[str, ...],
        path: tuple[str, ...],
        output_keys: tuple[str, ...] | str | None,
        parent: tuple[GraphRun, Task] | None,
    ) -> GraphRun:
        if spec.persistence is True:  # one history for all calls: no task's id is in its name
            ns = tuple(part.split(k.NS_END)[0] for part in ns)
        options = self._options
        metadata = options.metadata
        if parent is not None:
            metadata = {**spec.metadata, **inherited_metadata(parent[1])}
        restarts = 0 if parent is None else parent[0].restarts
        if parent is not None and parent[1].attempt > 1:
            self._restarts += 1
            restarts = self._restarts
        self._begun += 1
        generation = str(restarts) if restarts else ""
        if spec.persistence is True and not options.thread.saves:  # all calls have one namespace
            generation = f"{restarts}.{self._begun}"
        superstep = Superstep(
            spec,
            ns=k.NS_SEP.join(ns),
            limit=options.shared.recursion_limit,
            new_checkpoint_id=in_generation(self._new_checkpoint_id, generation),
            next_version=self._next_version,
            base_metadata=metadata,
            ignored=self.ignored,
        )
        thread = options.thread if parent is None else parent[0].thread.inner(parent[1])
        graph = GraphRun(
            superstep,
            GraphThread(
                superstep,
                thread,
                saves=thread.saves and spec.persistence is not False,
                nested=parent is not None or options.has_parent,
                metadata=metadata,
                null_resume=thread.null_resume if parent is None else parent[1].null_resume,
            ),
            ns,
            path,
            spec.output_channels if output_keys is None else output_keys,
            parent,
            self._begun,
            restarts,
            spec.interrupt_before,
            spec.interrupt_after,
        )
        if parent is None:
            graph.result_keys = options.result_keys
        if parent is None and options.interrupt_before is not None:
            graph.interrupt_before = options.interrupt_before
        if parent is None and options.interrupt_after is not None:
            graph.interrupt_after = options.interrupt_after
        self._graphs.append(graph)
        return graph

    def _begin(self, graph: GraphRun, value: Any) -> None:
        """Start a graph, once its checkpoint is loaded."""
        if graph.thread.saves:
            key = self._await(graph, partial(self._loaded, graph, value))
            self._out.append(graph.thread.load(key, self._rewound))
        else:
            self._enter(graph, value)

    def _loaded(self, graph: GraphRun, value: Any, saved: Saved | None) -> None:
        self._guard(graph, lambda: graph.thread.loaded(saved))
        if not self._over(graph):
            self._enter(graph, value)

    def _enter(self, graph: GraphRun, value: Any) -> None:
        """Apply a graph's input, or go on from the loaded checkpoint."""
        entry = self._guard(graph, lambda: graph.thread.enter(value))
        if entry is None:
            return
        self._out += entry.saves
        if entry.resumes:
            self._out += self._callbacks.resumed(graph)
            self._out += self._stream.values(graph, resumed=True)
        self._advance(graph)

    # --- supersteps -------------------------------------------------------------------------------

    def _advance(self, graph: GraphRun) -> None:
        """Start supersteps until one has to wait for workers, or the graph ends."""
        while not self._over(graph):
            superstep = graph.superstep
            graph.phase = Phase.STARTING
            tasks = superstep.prepare()
            self._out += self._stream.checkpoint(graph, tasks)
            if superstep.step > superstep.stop:
                self._fail(graph, out_of_steps(superstep, tasks))
                return
            if not tasks:
                self._complete(graph)
                return
            if graph.thread.pending and not graph.thread.replaying:
                tasks += handlers_of(superstep, tasks, graph.thread.pending)
            graph.thread.hand_back(tasks)
            if graph.interrupt_before and superstep.stops_at(graph.interrupt_before, tasks):
                superstep.tasks = {}
                self._stop_at_interrupt(graph, "interrupt_before")
                return
            if self._drain is not None:
                self._stop_drained(graph, self._drain)
                return
            self._start_step(graph, tasks)
            if not self._step_is_over(graph):
                if superstep.spec.step_timeout and not self._over(graph):
                    self._limit_step(graph, superstep.spec.step_timeout)
                return
            if not self._end_step(graph):
                return

    def _start_step(self, graph: GraphRun, tasks: Sequence[Task]) -> None:
        self._out += self._stream.started(graph, tasks)
        for task in tasks:
            if task.cached:
                self._out += self._stream.wrote(graph, task)
        fresh = [task for task in tasks if task.status == "running"]
        keys = self._guard(graph, lambda: assign_keys(graph.superstep, fresh))
        if keys:
            key = self._await(graph, partial(self._start_unless_cached, graph, fresh, keys))
            self._out.append(LookUp(key, graph.path, tuple(keys)))
        elif not self._over(graph):
            self._start_tasks(graph, fresh)

    def _start_unless_cached(
        self,
        graph: GraphRun,
        fresh: Sequence[Task],
        keys: Mapping[CacheKey, Sequence[Task]],
        cached: Mapping[CacheKey, Sequence[Write]],
    ) -> None:
        for key, writes in cached.items():
            for task in keys[key]:
                self._take_cached(graph, task, writes)
        self._start_tasks(graph, [task for task in fresh if task.status == "running"])
        self._after_task(graph)

    def _take_cached(self, graph: GraphRun, task: Task, writes: Sequence[Write]) -> None:
        task.writes, task.status, task.cached = list(writes), "done", True
        self._out += graph.thread.record(task.id, task.path, task.writes)
        self._out += self._stream.cached(graph, task)
        self._out += self._stream.wrote(graph, task)

    def _start_tasks(self, graph: GraphRun, tasks: Sequence[Task]) -> None:
        graph.open = len(tasks)
        for task in tasks:
            self._start_task(graph, task)
            if self._over(graph):
                return
        graph.phase = Phase.RUNNING

    def _step_is_over(self, graph: GraphRun) -> bool:
        return graph.phase is Phase.RUNNING and not graph.open and not self.finished

    def _end_step(self, graph: GraphRun) -> bool:
        """Apply the writes of a superstep. Return whether the graph goes on at once."""
        if graph.failure is not None:
            self._fail(graph, graph.failure)
            return False
        if graph.drained is not None:
            self._stop_drained(graph, graph.drained)
            return False
        superstep = graph.superstep
        tasks = list(superstep.tasks.values())
        interrupted = [task for task in tasks if task.status == "interrupted"]
        if interrupted:
            self._end_interrupted(graph, interrupted)
            return False
        writes = self._guard(graph, superstep.finish_step)
        if self._over(graph):
            return False
        if touches(graph.output_keys, writes):
            self._out += self._stream.values(graph)
        self._out += graph.thread.end_step()
        if graph.interrupt_after and superstep.stops_at(graph.interrupt_after, tasks):
            self._out += self._stream.checkpoint(graph, superstep.prepare())
            self._stop_at_interrupt(graph, "interrupt_after")
            return False
        if graph.thread.saves and graph.thread.options.durability == "sync":
            graph.phase = Phase.SAVING
            self._out.append(Sync(self._await(graph, partial(self._advance, graph))))
            return False
        return True

    def _limit_step(self, graph: GraphRun, seconds: float) -> None:
        step = graph.superstep.step

        def too_late() -> None:
            if graph.superstep.step == step and graph.phase in (Phase.STARTING, Phase.RUNNING):
                self._fail(graph, TimeoutError("Timed out"))

        self._after(graph, seconds, too_late)

    # --- tasks start ------------------------------------------------------------------------------

    def _start_task(self, graph: GraphRun, task: Task) -> None:
        node = task.node
        if node.subgraph is not None:
            self._start_child(graph, task, node.subgraph)
        elif node.split is not None:
            self._start_split(graph, task, node.split)
        elif node.inline is not None:
            self._write_inline(graph, task, graph.superstep.input_of(task))
        else:
            self._start_attempt(graph, task, "node", task.input)

    def _start_child(self, graph: GraphRun, task: Task, subgraph: GraphSpec) -> None:
        value = self._guard(graph, lambda: graph.superstep.mapped_input_of(task))
        if self._over(graph):
            return
        self._stream.took(graph, value)
        self._out += self._callbacks.node_began(graph, task, value)
        ns = (*graph.ns, task.ns.rsplit(k.NS_SEP, 1)[-1])
        if task.attempt > 1 and subgraph.persistence is not True:
            ns = (*ns, str(task.attempt - 1))  # as the next graph that the task runs
        child = self._add_graph(subgraph, ns, (*graph.path, task.name), None, (graph, task))
        self._out += self._callbacks.graph_began(child, value)
        late = timed_out(task, task.limit)
        if late is not None and late.run_timeout is not None:
            self._after(child, late.run_timeout, partial(self._fail, child, late))
        child.idle = IdleWindow.of(task.limit)
        if child.idle is not None:
            self._watch(child, task, child.idle)
        self._begin(child, {} if value is None else value)

    def _watch(self, child: GraphRun, task: Task, window: IdleWindow) -> None:
        """Fail a graph that makes no progress for the time that its node's idle limit allows."""

        def quarter_ended() -> None:
            if window.is_over_with(self._attempts.within(child)):
                late = timed_out(task, task.limit, window.lateness)
                assert late is not None
                self._fail(child, late)
            else:
                self._watch(child, task, window)

        self._after(child, window.quarter, quarter_ended)

    def _start_split(self, graph: GraphRun, task: Task, split: Split) -> None:
        """Start each part of a task's work as an attempt of its own."""
        try:
            parts = divide(graph.superstep, task, split)
        except Exception as error:
            self._fail(graph, error, task)
            return
        if parts is None:
            self._start_attempt(graph, task, "node", task.input)
            return
        task.parts = parts
        whole = graph.superstep.input_of(task)
        self._out += self._callbacks.node_began(graph, task, whole)
        for part in parts.starts():
            self._start_attempt(graph, task, "part", part.part.input, part)
        if not parts.parts:
            self._join_parts(graph, task, parts)

    def _start_attempt(
        self,
        graph: GraphRun,
        task: Task,
        kind: Literal["node", "part", "writers"],
        value: Any,
        part: PartStart | None = None,
    ) -> None:
        start = attempt_of(graph, task, kind, value, part, awaits=self._options.shared.awaits)
        self._out.append(self._attempts.start(graph, task, start, self._drain))

    def _write_inline(self, graph: GraphRun, task: Task, value: Any) -> None:
        """Compute the writes of a node without user code right here."""
        program = task.node.inline
        assert program is not None

        def no_reading(_: Sequence[str] | str) -> Any:
            raise InvalidTransition(f"inline node {task.name!r} reads state", story=self.story())

        try:
            writes = [w for writer in program.writers for w in writer(value, no_reading, None)]
        except ParentCommand as bubble:
            self._leave(graph, bubble.command)
            return
        except Exception as error:
            self._fail(graph, error, task)
            return
        self._succeed(graph, task, writes)

    # --- calls of tasks (functional API) ----------------------------------------------------------

    def _start_call(self, graph: GraphRun, task: Task, call: TaskCall) -> None:
        known = graph.superstep.tasks.get(task.id)
        if known is not None and known.status in ("running", "done"):
            task = known  # called by an earlier attempt of its caller
            self._calls.wait(task, call)
        else:
            graph.superstep.tasks[task.id] = task
            self._calls.wait(task, call)
            self._out += self._stream.started(graph, [task])
            graph.thread.hand_back_call(task)
            if not task.cached:
                graph.open += 1
                self._start_call_unless_cached(graph, task)
        if task.status == "done":
            self._out += self._calls.results(task, None)

    def _start_call_unless_cached(self, graph: GraphRun, task: Task) -> None:
        def take(cached: Mapping[CacheKey, Sequence[Write]]) -> None:
            if task.status != "running":  # its caller has cancelled it
                return
            for writes in cached.values():
                graph.open -= 1
                self._take_cached(graph, task, writes)
                self._out += self._calls.results(task, None)
                self._after_task(graph)
                return
            self._start_task(graph, task)

        try:
            keys = assign_keys(graph.superstep, [task])
        except Exception as error:
            self._fail(graph, error, task)
            return
        if keys:
            self._out.append(LookUp(self._await(graph, take), graph.path, tuple(keys)))
        else:
            self._start_task(graph, task)

    def _drop_call(self, call: DroppedCall) -> None:
        """End a call that its caller has cancelled."""
        caller = self._attempts.find(call.attempt_id)
        if caller is None:  # it has ended, or was cancelled itself
            return
        graph = caller.graph
        task = graph.superstep.tasks.get(self._calls.drop(call) or "")
        if task is not None and task.status == "running":
            self._cancel_attempts_of(task)
            self._fail_for_good(graph, task, cancelled(task), None)

    # --- tasks end --------------------------------------------------------------------------------

    def _take_outcome(self, outcome: AttemptOutcome) -> None:
        graph, task, start = self._attempts.expect(outcome)
        if self._calls.holds(outcome):
            return
        self._attempts.end(outcome)
        self._stream.has_seen(outcome.message_ids)
        if outcome.drain is not None:
            self._drain = outcome.drain
        if outcome.null_resume_taken:
            self._null_resume_taken = True
            for around in graph.lineage():
                around.thread.null_resume_taken()
        if outcome.again:
            self._start_again(graph, task, start, outcome)
            return
        if self._options.shared.losses.of(start.ray_options).on_lost_attempt == "reset":
            task.metadata = {**task.metadata, "attempt": shown_attempt(outcome.attempt)}
        failure = failure_of(task, start, outcome)
        if failure is not None:
            self._fail(graph, failure, task, FailedAttempt(start, outcome))
        elif task.parts is not None and PART in outcome.task_id and outcome.status != "drained":
            self._part_ended(graph, task, task.parts, outcome)
        else:
            self._ON_OUTCOME[outcome.status](self, graph, task, outcome)
        self._after_task(graph)

    def _start_again(
        self, graph: GraphRun, task: Task, start: StartTask, outcome: AttemptOutcome
    ) -> None:
        """Another attempt follows one that was lost with its process: the same try of the node."""
        if outcome.void is not None:
            self._out += self._stream.reset(graph, task, outcome)
        self._story.note(task.name, task.id, "lost", "again")
        self._out.append(self._attempts.start(graph, task, after_loss(start, outcome), self._drain))

    def _node_succeeded(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        task.handed, task.messages = task.handed or outcome.handed, outcome.messages
        self._succeed(graph, task, outcome.writes, outcome.resume_values)

    def _node_interrupted(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        task.resume_values = outcome.resume_values
        self._interrupt(graph, task, outcome.interrupts)

    def _node_drained(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        if task.call is not None:
            self._fail(graph, GraphDrained(outcome.value), task)
        else:
            self._drain_behind(graph, task, outcome.value)

    def _node_left_graph(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> None:
        if task.call is not None:
            self._fail(graph, ParentCommand(outcome.value), task)
        else:
            self._leave(graph, outcome.value)

    _ON_OUTCOME: ClassVar[
        Mapping[str, Callable[[Machine, GraphRun, Task, AttemptOutcome], None]]
    ] = {
        "ok": _node_succeeded,
        "interrupt": _node_interrupted,
        "drained": _node_drained,
        "command": _node_left_graph,
    }
    """By the status of an attempt that did not fail."""

    def _part_ended(
        self, graph: GraphRun, task: Task, parts: Parts, outcome: AttemptOutcome
    ) -> None:
        self._guard(graph, lambda: parts.take(task, outcome))
        parts.open -= 1
        if parts.open == 0 and not self._over(graph):
            self._join_parts(graph, task, parts)

    def _join_parts(self, graph: GraphRun, task: Task, parts: Parts) -> None:
        """Every part has ended: make the node's result of their results."""
        task.parts = None
        task.sent = parts.writes()
        if task.interrupts:
            self._interrupt(graph, task, task.interrupts)
            return
        try:
            value = parts.join()
        except Exception as error:
            self._fail(graph, error, task)
            return
        self._write(graph, task, value)

    def _write(self, graph: GraphRun, task: Task, value: Any) -> None:
        """Turn the result of a node whose work was done elsewhere into its writes."""
        task.returned = value
        if task.node.inline is not None:
            self._write_inline(graph, task, value)
        else:
            self._start_attempt(graph, task, "writers", value)

    def _succeed(
        self,
        graph: GraphRun,
        task: Task,
        writes: Sequence[Write],
        resume_values: Sequence[Any] = (),
    ) -> None:
        task.writes = [*task.sent, *writes]
        if values := resume_values or task.resume_values:
            task.writes.append((k.RESUME, list(values)))
        if all(channel in CONTROL for channel, _ in task.writes):
            task.writes.append((k.NO_WRITES, None))  # any output says that the task finished
        task.status = "done"
        graph.open -= 1
        self._out += graph.thread.record(task.id, task.path, task.writes)
        if task.cache_key is not None:
            ttl = None if task.node.cache is None else task.node.cache.ttl
            self._out.append(Remember(graph.path, task.cache_key, tuple(task.writes), ttl))
        self._out += self._callbacks.node_ended(graph, task, task.returned)
        task.returned = None
        self._out += self._stream.succeeded(graph, task)
        if task.call is not None:
            self._out += self._calls.results(task, None)

    def _interrupt(self, graph: GraphRun, task: Task, interrupts: Sequence[Any]) -> None:
        task.status = "interrupted"
        graph.open -= 1
        task.interrupts = tuple(interrupts)
        self._out += self._callbacks.node_failed(graph, task, GraphInterrupt(task.interrupts))
        if interrupts:
            writes: list[Write] = [(k.INTERRUPT, task.interrupts)]
            if task.resume_values:
                writes.append((k.RESUME, list(task.resume_values)))
            self._out += graph.thread.record(task.id, task.path, writes)
            if task.call is None:
                self._out += self._stream.interrupted(graph, task)
        if task.call is not None:  # its caller stops there, and reports the interrupts
            self._out += self._calls.results(task, None)

    def _drain_behind(self, graph: GraphRun, task: Task, reason: str) -> None:
        """A task was drained: its graph stops once the other tasks of the superstep have ended."""
        self._cancel_attempts_of(task)  # other parts of its work
        task.status = "interrupted"
        task.parts = None
        graph.open -= 1
        graph.drained = reason
        self._out += self._callbacks.node_failed(graph, task, GraphDrained(reason))

    def _after_task(self, graph: GraphRun) -> None:
        if self._step_is_over(graph) and self._end_step(graph):
            self._advance(graph)

    # --- failures ---------------------------------------------------------------------------------

    def _guard(self, graph: GraphRun, call: Callable[[], Any]) -> Any:
        """Call users' code that the engine itself needs (reducers, schemas). An error fails the
        graph."""
        try:
            return call()
        except Exception as error:
            self._fail(graph, error)
            return None

    def _fail(
        self,
        graph: GraphRun,
        error: Error,
        task: Task | None = None,
        failed: FailedAttempt | None = None,
    ) -> None:
        """A task failed, or a graph itself: try again, run an error handler, or give up.

        A graph that gives up makes the task fail that it runs in, and so on outwards. ``failed``:
        the attempt in which the failure began.
        """
        level = 0
        while True:
            if task is not None:
                verdict = next_attempt(task, error, failed, level, self._random)
                own = failed if level == 0 else None
                if verdict.delay is None or own is None:  # not only a part of it is tried again
                    self._out += self._callbacks.node_failed(graph, task, verdict.error)
                if verdict.delay is not None:
                    self._retry(graph, task, verdict.delay, own)
                    return
                error = verdict.error
                if self._fail_for_good(graph, task, error, own):
                    return
                if is_rejected_resume(error):  # other resumed tasks come to their end first
                    graph.open -= 1
                    graph.failure = graph.failure or error
                    self._after_task(graph)
                    return
            if graph.parent is None:
                self._finish(Finish("error", error=error))
                return
            self._drop(graph)
            self._out += self._callbacks.graph_failed(graph, error)
            graph, task = graph.parent
            level += 1

    def _retry(
        self, graph: GraphRun, task: Task, seconds: float, failed: FailedAttempt | None
    ) -> None:
        """Start another attempt of a task, or of one part of it, after a while."""

        def go_on() -> None:
            if task.status != "running":  # another part has failed for good
                return
            if failed is not None:
                start = retried(failed)
                self._out.append(self._attempts.start(graph, task, start, self._drain))
            else:
                task.attempt += 1
                self._start_task(graph, task)

        self._story.note(task.name, task.id, "failed", f"retry in {seconds:g} s")
        part = task.id if failed is None else failed.start.request.task_id
        self._out += self._stream.retry_scheduled(graph, task, part, seconds)
        self._after(graph, seconds, go_on)

    def _fail_for_good(
        self, graph: GraphRun, task: Task, error: Error, failed: FailedAttempt | None
    ) -> bool:
        """A task has failed for good. Return whether its graph goes on all the same."""
        if failed is not None and failed.outcome.writes:
            # a conditional edge failed, behind what its node had written
            task.writes = list(failed.outcome.writes)
            self._out += self._stream.wrote(graph, task)
        task.status = "failed"
        task.parts = None
        try:
            handler = handler_of(graph.superstep, task, error)
        except Exception:  # its input cannot be had: that is the error that the task failed with
            handler = None
        marks: list[Write] = [(k.ERROR, error)]
        if handler is not None:
            marks.append((k.ERROR_SOURCE, task.name))
        self._out += graph.thread.record(task.id, task.path, [*task.writes, *marks])
        self._out += self._stream.ended(graph, task, error)
        if task.call is not None:  # its caller's code decides what becomes of the run
            graph.open -= 1
            self._out += self._calls.results(task, error)
            return True
        if handler is None:
            return False
        self._cancel_attempts_of(task)
        graph.superstep.tasks[handler.id] = handler
        go_on = partial(self._start_task, graph, handler)
        if graph.thread.saves and graph.thread.options.durability != "exit":
            self._out.append(Sync(self._await(graph, go_on)))  # the failure is durable before
        else:
            go_on()
        return True

    def _cancel_attempts_of(self, task: Task) -> None:
        self._out += self._attempts.cancel(lambda running: running.task is task)

    # --- graphs end -------------------------------------------------------------------------------

    def _over(self, graph: GraphRun) -> bool:
        return self.finished or graph.phase is Phase.ENDED

    def _end(self, graph: GraphRun, *, failed: bool) -> None:
        graph.phase = Phase.ENDED
        self._settle(graph, failed=failed)

    def _settle(self, graph: GraphRun, *, failed: bool) -> None:
        """Save what is left to be saved of a graph that ends."""
        if graph in self._graphs:
            self._graphs.remove(graph)
            self._out += graph.thread.settle(failed=failed)

    def _complete(self, graph: GraphRun) -> None:
        """No task is left: the graph's output is the result of the task around it."""
        if graph.parent is None:
            self._finish(
                Finish("done", graph.output if graph.result_keys is None else graph.result)
            )
            return
        self._end(graph, failed=False)
        self._out += self._callbacks.graph_ended(graph, graph.output)
        self._return(*graph.parent, graph.output)

    def _return(self, graph: GraphRun, task: Task, value: Any, *, handed: bool = False) -> None:
        """The subgraph in ``task`` gave ``value``; ``handed``: by a command to its parent."""
        task.handed = handed
        if handed:
            self._out += self._callbacks.node_failed(graph, task, ParentCommand(value))
        self._write(graph, task, value)
        self._after_task(graph)

    def _leave(self, graph: GraphRun, command: Command[Any]) -> None:
        """A node addressed the parent graph: this graph ends, with the command as its result."""
        if graph.parent is not None:
            self._drop(graph)
            self._out += self._callbacks.graph_failed(graph, ParentCommand(command))
            own = Command(update=command.update, goto=command.goto, resume=command.resume)
            self._return(*graph.parent, own, handed=True)
        elif self._options.has_parent:
            self._finish(Finish("command", command))
        else:
            self._fail(graph, ParentCommand(command))

    def _end_interrupted(self, graph: GraphRun, interrupted: list[Task]) -> None:
        """Tasks of the superstep wait for resume values; the writes of the others are applied."""
        superstep = graph.superstep
        interrupted.sort(key=lambda task: path_key(task.path))
        graph.interrupts = [i for task in interrupted if task.call is None for i in task.interrupts]
        self._settle(graph, failed=True)
        for task in interrupted:
            task.writes = []
        if any(task.writes for task in superstep.tasks.values()):
            writes = self._guard(graph, superstep.finish_step)
            if self._over(graph):
                return
            if graph.parent is None and touches(graph.output_keys, writes):
                self._out += self._stream.values(graph)
        self._stop_at_interrupt(graph)

    def _stop_at_interrupt(self, graph: GraphRun, status: str = "pending") -> None:
        """Stop at interrupts of tasks, or at a breakpoint."""
        self._end(graph, failed=True)
        if graph.parent is not None:
            around, task = graph.parent
            asked = GraphInterrupt(tuple(graph.interrupts))
            self._out += self._callbacks.graph_failed(graph, asked)
            self._interrupt(around, task, graph.interrupts)
            self._after_task(around)
            return
        # tasks that were called and that nobody waited for count too, as on LangGraph
        unseen = any(task.interrupts for task in graph.superstep.tasks.values())
        if not (graph.interrupts or unseen or self._options.has_parent):
            self._out += self._stream.stopped(graph)
        if not self._options.has_parent:
            self._out += self._callbacks.interrupted(graph, status)
        # what was streamed last: a run that has written no output channel has none
        output = graph.output if graph.result_keys is None else graph.result
        self._finish(Finish("interrupted", output, interrupts=tuple(graph.interrupts)))

    def _stop_drained(self, graph: GraphRun, reason: str) -> None:
        """The run was asked to stop: this graph stops here, then the graphs around it."""
        self._end(graph, failed=True)
        if graph.parent is None:
            self._finish(Finish("error", error=GraphDrained(reason)))
            return
        self._out += self._callbacks.graph_failed(graph, GraphDrained(reason))
        around, task = graph.parent
        self._drain_behind(around, task, reason)
        self._after_task(around)

    def _drop(self, graph: GraphRun) -> None:
        """End a graph and the graphs inside of it, and cancel their attempts."""
        for inner in [g for g in reversed(self._graphs) if g.within(graph)]:
            self._end(inner, failed=True)
        graph.phase = Phase.ENDED  # also of one that was settled before
        self._out += self._attempts.cancel(lambda running: running.graph.within(graph))

    def _finish(self, finish: Finish) -> None:
        self._out += self._attempts.cancel(lambda _: True)
        for graph in reversed(self._graphs[:]):
            self._end(graph, failed=finish.status != "done")
        self._story.note("", "", "started", finish.status)
        self.finished = True
        self._out.append(replace(finish, null_resume_taken=self._null_resume_taken))


def replay(recording: Recording) -> list[list[Instruction]]:
    """Return the instructions that a machine gave for each event of a recording."""
    drawn = iter(recording.drawn)

    def draw(*_: Any) -> Any:
        return next(drawn)

    machine = Machine(
        recording.spec,
        recording.options,
        new_checkpoint_id=draw,
        next_version=draw,
        random=draw,
    )
    return [machine.handle(event) for event in recording.events]
