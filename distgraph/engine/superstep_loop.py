"""The superstep loop: how a graph of the run begins, goes from superstep to superstep, and ends.

It reads from top to bottom as the life of a graph. The graph *begins*: its checkpoint is loaded,
its input applied. It *advances*: tasks start, and when all of them have ended, their writes are
applied. It *fails*, or *ends*, which gives the task around it a result; that graph then goes on
here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from distgraph._internal.ids import path_key
from distgraph.contract.checkpoint import Saved
from distgraph.contract.events import CacheKey, Finish, LookUp, Sync
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import Write
from distgraph.engine.caching import assign_keys
from distgraph.engine.error_handlers import handlers_of
from distgraph.engine.failures import FailedAttempt, is_rejected_resume, next_attempt
from distgraph.engine.graph_run import GraphRun, Phase
from distgraph.engine.machine_state import MachineState
from distgraph.engine.outputs import touches
from distgraph.engine.superstep import out_of_steps
from distgraph.engine.task import Task
from distgraph.engine.task_results import TaskResults
from distgraph.engine.task_starts import TaskStarter
from distgraph.errors import GraphDrained, GraphInterrupt, ParentCommand
from distgraph.types import Command

__all__ = ("SuperstepLoop",)

_T = TypeVar("_T")


class SuperstepLoop:
    """Takes the graphs of a run through their supersteps."""

    def __init__(self, state: MachineState, results: TaskResults) -> None:
        self._state = state
        self._results = results
        self.tasks = TaskStarter(state, results, self)
        """Starts the tasks of the supersteps."""

    # --- a graph begins ---------------------------------------------------------------------------

    def begin(self, graph: GraphRun, value: Any) -> None:
        """Start a graph with its input, once its checkpoint is loaded."""
        state = self._state
        if graph.thread.saves:
            key = state.await_reply(graph, partial(self._loaded, graph, value))
            state.out.append(graph.thread.load(key, state.rewound))
        else:
            self._enter(graph, value)

    def _loaded(self, graph: GraphRun, value: Any, saved: Saved | None) -> None:
        self.guard(graph, lambda: graph.thread.loaded(saved))
        if not self._state.is_over(graph):
            self._enter(graph, value)

    def _enter(self, graph: GraphRun, value: Any) -> None:
        """Apply a graph's input, or go on from the loaded checkpoint."""
        state = self._state
        entry = self.guard(graph, lambda: graph.thread.enter(value))
        if entry is None:
            return
        state.out += entry.saves
        if entry.resumes:
            state.out += state.callbacks.resumed(graph)
            state.out += state.stream.values(graph, resumed=True)
        self._advance(graph)

    # --- supersteps -------------------------------------------------------------------------------

    def _advance(self, graph: GraphRun) -> None:
        """Start supersteps until one has to wait for workers, or the graph ends."""
        state = self._state
        while not state.is_over(graph):
            superstep = graph.superstep
            graph.phase = Phase.STARTING
            tasks = superstep.prepare()
            state.out += state.stream.checkpoint(graph, tasks)
            if superstep.step > superstep.stop:
                self.fail(graph, out_of_steps(superstep, tasks))
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
            if state.drain is not None:
                self._stop_drained(graph, state.drain)
                return
            self._start_step(graph, tasks)
            if not self._step_is_over(graph):
                if superstep.spec.step_timeout and not state.is_over(graph):
                    self._limit_step(graph, superstep.spec.step_timeout)
                return
            if not self._end_step(graph):
                return

    def _start_step(self, graph: GraphRun, tasks: Sequence[Task]) -> None:
        state = self._state
        state.out += state.stream.started(graph, tasks)
        for task in tasks:
            if task.cached:
                state.out += state.stream.wrote(graph, task)
        fresh = [task for task in tasks if task.status == "running"]
        keys = self.guard(graph, lambda: assign_keys(graph.superstep, fresh))
        if keys:
            key = state.await_reply(graph, partial(self._start_unless_cached, graph, fresh, keys))
            state.out.append(LookUp(key, graph.path, tuple(keys)))
        elif not state.is_over(graph):
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
                self._results.take_cached(graph, task, writes)
        self._start_tasks(graph, [task for task in fresh if task.status == "running"])
        self.task_ended(graph)

    def _start_tasks(self, graph: GraphRun, tasks: Sequence[Task]) -> None:
        graph.open = len(tasks)
        for task in tasks:
            self.tasks.start(graph, task)
            if self._state.is_over(graph):
                return
        graph.phase = Phase.RUNNING

    def _limit_step(self, graph: GraphRun, seconds: float) -> None:
        step = graph.superstep.step

        def too_late() -> None:
            if graph.superstep.step == step and graph.phase in (Phase.STARTING, Phase.RUNNING):
                self.fail(graph, TimeoutError("Timed out"))

        self._state.after(graph, seconds, too_late)

    def task_ended(self, graph: GraphRun) -> None:
        """Go on with a graph if no task of its superstep is left."""
        if self._step_is_over(graph) and self._end_step(graph):
            self._advance(graph)

    def _step_is_over(self, graph: GraphRun) -> bool:
        return graph.phase is Phase.RUNNING and not graph.open and not self._state.finished

    def _end_step(self, graph: GraphRun) -> bool:
        """Apply the writes of a superstep. Return whether the graph goes on at once."""
        state = self._state
        if graph.failure is not None:
            self.fail(graph, graph.failure)
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
        writes = self.guard(graph, superstep.finish_step)
        if writes is None or state.is_over(graph):
            return False
        if touches(graph.output_keys, writes):
            state.out += state.stream.values(graph)
        state.out += graph.thread.end_step()
        if graph.interrupt_after and superstep.stops_at(graph.interrupt_after, tasks):
            state.out += state.stream.checkpoint(graph, superstep.prepare())
            self._stop_at_interrupt(graph, "interrupt_after")
            return False
        if graph.thread.saves and graph.thread.options.durability == "sync":
            graph.phase = Phase.SAVING
            state.out.append(Sync(state.await_reply(graph, partial(self._advance, graph))))
            return False
        return True

    # --- failures ---------------------------------------------------------------------------------

    def guard(self, graph: GraphRun, call: Callable[[], _T]) -> _T | None:
        """Call users' code that the engine itself needs (reducers, schemas). An error fails the
        graph."""
        try:
            return call()
        except Exception as error:
            self.fail(graph, error)
            return None

    def fail(
        self,
        graph: GraphRun,
        error: ShippedError | BaseException,
        task: Task | None = None,
        failed: FailedAttempt | None = None,
    ) -> None:
        """A task failed, or a graph itself: try again, run an error handler, or give up.

        A graph that gives up makes the task fail that it runs in, and so on outwards. ``failed``:
        the attempt in which the failure began.
        """
        state = self._state
        level = 0
        while True:
            if task is not None:
                verdict = next_attempt(task, error, failed, level, state.random)
                own = failed if level == 0 else None
                if verdict.delay is None or own is None:  # not only a part of it is tried again
                    state.out += state.callbacks.node_failed(graph, task, verdict.error)
                if verdict.delay is not None:
                    self.tasks.retry(graph, task, verdict.delay, own)
                    return
                error = verdict.error
                handler = self._results.fail(graph, task, error, own)
                if handler is not None:
                    self.tasks.start_handler(graph, task, handler)
                    return
                if task.call is not None:  # its caller's code decides what becomes of the run
                    return
                if is_rejected_resume(error):  # other resumed tasks come to their end first
                    graph.open -= 1
                    graph.failure = graph.failure or error
                    self.task_ended(graph)
                    return
            if graph.parent is None:
                state.finish(Finish("error", error=error))
                return
            state.drop(graph)
            state.out += state.callbacks.graph_failed(graph, error)
            graph, task = graph.parent
            level += 1

    # --- graphs end -------------------------------------------------------------------------------

    def _complete(self, graph: GraphRun) -> None:
        """No task is left: the graph's output is the result of the task around it."""
        state = self._state
        if graph.parent is None:
            state.finish(Finish("done", _output(graph)))
            return
        state.end(graph, failed=False)
        state.out += state.callbacks.graph_ended(graph, graph.output)
        self._return(*graph.parent, graph.output)

    def leave(self, graph: GraphRun, command: Command[Any]) -> None:
        """A node addressed the parent graph: this graph ends, with the command as its result."""
        state = self._state
        if graph.parent is not None:
            state.drop(graph)
            state.out += state.callbacks.graph_failed(graph, ParentCommand(command))
            own = Command(update=command.update, goto=command.goto, resume=command.resume)
            self._return(*graph.parent, own, handed=True)
        elif state.options.has_parent:
            state.finish(Finish("command", command))
        else:
            self.fail(graph, ParentCommand(command))

    def _return(self, graph: GraphRun, task: Task, value: Any, *, handed: bool = False) -> None:
        """The subgraph in ``task`` gave ``value``; ``handed``: by a command to its parent."""
        task.handed = handed
        if handed:
            self._state.out += self._state.callbacks.node_failed(graph, task, ParentCommand(value))
        self.tasks.write(graph, task, value)
        self.task_ended(graph)

    def _end_interrupted(self, graph: GraphRun, interrupted: list[Task]) -> None:
        """Tasks of the superstep wait for resume values; the writes of the others are applied."""
        state, superstep = self._state, graph.superstep
        interrupted.sort(key=lambda task: path_key(task.path))
        graph.interrupts = [i for task in interrupted if task.call is None for i in task.interrupts]
        state.settle(graph, failed=True)
        for task in interrupted:
            task.writes = []
        if any(task.writes for task in superstep.tasks.values()):
            writes = self.guard(graph, superstep.finish_step)
            if writes is None or state.is_over(graph):
                return
            if graph.parent is None and touches(graph.output_keys, writes):
                state.out += state.stream.values(graph)
        self._stop_at_interrupt(graph)

    def _stop_at_interrupt(self, graph: GraphRun, status: str = "pending") -> None:
        """Stop at interrupts of tasks, or at a breakpoint."""
        state = self._state
        state.end(graph, failed=True)
        if graph.parent is not None:
            around, task = graph.parent
            asked = GraphInterrupt(tuple(graph.interrupts))
            state.out += state.callbacks.graph_failed(graph, asked)
            self._results.interrupt(around, task, graph.interrupts)
            self.task_ended(around)
            return
        # tasks that were called and that nobody waited for count too, as on LangGraph
        unseen = any(task.interrupts for task in graph.superstep.tasks.values())
        if not (graph.interrupts or unseen or state.options.has_parent):
            state.out += state.stream.stopped(graph)
        if not state.options.has_parent:
            state.out += state.callbacks.interrupted(graph, status)
        # what was streamed last: a run that has written no output channel has none
        interrupts = tuple(graph.interrupts)
        state.finish(Finish("interrupted", _output(graph), interrupts=interrupts))

    def _stop_drained(self, graph: GraphRun, reason: str) -> None:
        """The run was asked to stop: this graph stops here, then the graphs around it."""
        state = self._state
        state.end(graph, failed=True)
        if graph.parent is None:
            state.finish(Finish("error", error=GraphDrained(reason)))
            return
        state.out += state.callbacks.graph_failed(graph, GraphDrained(reason))
        around, task = graph.parent
        self._results.drain(around, task, reason)
        self.task_ended(around)


def _output(graph: GraphRun) -> Any:
    return graph.output if graph.result_keys is None else graph.result
