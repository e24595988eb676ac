"""Tasks that the code of running attempts calls (functional API): their start and their cancel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import DroppedCall, TaskCall
from distgraph.contract.events import CacheKey, LookUp
from distgraph.contract.spec import Write
from distgraph.engine.caching import assign_keys
from distgraph.engine.graph_run import GraphRun
from distgraph.engine.machine_state import MachineState
from distgraph.engine.superstep_loop import SuperstepLoop
from distgraph.engine.task import Task
from distgraph.engine.task_calls import called_task, cancelled
from distgraph.engine.task_results import TaskResults

__all__ = ("CalledTasks",)


class CalledTasks:
    """Makes tasks of calls."""

    def __init__(self, state: MachineState, results: TaskResults, loop: SuperstepLoop) -> None:
        self._state = state
        self._results = results
        self._loop = loop

    def call(self, call: TaskCall) -> AttemptOutcome | None:
        """Start the tasks that running code called, in the order of its calls.

        Return the outcome of that code if it arrived earlier than the call.
        """
        state = self._state
        for made in state.calls.in_order(call):
            caller = state.attempts.find(made.attempt_id)
            if caller is None:  # it was cancelled
                return None
            graph, task, _ = caller
            self._start(graph, called_task(graph.superstep, task, made), made)
            if state.finished:
                return None
            if state.calls.was_dropped(made):
                self.drop(DroppedCall(made.task_id, made.attempt, made.seq))
        return state.calls.released(call)

    def drop(self, call: DroppedCall) -> None:
        """End a call that its caller has cancelled."""
        state = self._state
        caller = state.attempts.find(call.attempt_id)
        if caller is None:  # it has ended, or was cancelled itself
            return
        graph = caller.graph
        task = graph.superstep.tasks.get(state.calls.drop(call) or "")
        if task is not None and task.status == "running":
            state.cancel_attempts_of(task)
            self._results.fail(graph, task, cancelled(task), None)

    def _start(self, graph: GraphRun, task: Task, call: TaskCall) -> None:
        state = self._state
        known = graph.superstep.tasks.get(task.id)
        if known is not None and known.status in ("running", "done"):
            task = known  # called by an earlier attempt of its caller
            state.calls.wait(task, call)
        else:
            graph.superstep.tasks[task.id] = task
            state.calls.wait(task, call)
            state.out += state.stream.started(graph, [task])
            graph.thread.hand_back_call(task)
            if not task.cached:
                graph.open += 1
                self._start_unless_cached(graph, task)
        if task.status == "done":
            state.out += state.calls.results(task, None)

    def _start_unless_cached(self, graph: GraphRun, task: Task) -> None:
        state = self._state

        def take(cached: Mapping[CacheKey, Sequence[Write]]) -> None:
            if task.status != "running":  # its caller has cancelled it
                return
            for writes in cached.values():
                graph.open -= 1
                self._results.take_cached(graph, task, writes)
                state.out += state.calls.results(task, None)
                self._loop.task_ended(graph)
                return
            self._loop.tasks.start(graph, task)

        try:
            keys = assign_keys(graph.superstep, [task])
        except Exception as error:
            self._loop.fail(graph, error, task)
            return
        if keys:
            state.out.append(LookUp(state.await_reply(graph, take), graph.path, tuple(keys)))
        else:
            self._loop.tasks.start(graph, task)
