"""The driver's own events in the stream of a run, in the modes that the caller asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any

from distgraph._internal.chat_messages import message_ids, whole_messages
from distgraph._internal.keys import INTERRUPT
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import Emit, RunOptions
from distgraph.contract.failure import ShippedError
from distgraph.contract.progress import PROGRESS_MODE, RetryScheduled, TaskCached
from distgraph.contract.stream import RESET_MODE, shown_attempt
from distgraph.engine.checkpoints import TaskStatus, statuses
from distgraph.engine.graph_run import GraphRun
from distgraph.engine.graph_thread import GraphThread
from distgraph.engine.outputs import (
    Keys,
    read_values,
    result_of,
    task_payload,
    task_result_payload,
    update_of,
    with_interrupts,
)
from distgraph.engine.task import Task
from distgraph.types import AttemptReset


class StreamEvents:
    """Turns what happens on the machine into ``Emit`` instructions."""

    def __init__(self, options: RunOptions) -> None:
        self._configurable = options.thread_configurable
        self._stream = options.shared.stream
        self._tags = options.shared.tags
        self._seen_messages: set[str] = set()

    def started(self, graph: GraphRun, tasks: Sequence[Task]) -> list[Emit]:
        """Mode ``tasks``: the tasks of a superstep."""
        if not self._wants(graph, "tasks"):
            return []
        return [
            self._emit(
                graph,
                "tasks",
                task_payload(
                    task.id,
                    task.name,
                    _shown_input(graph, task),
                    task.triggers,
                    task.metadata,
                    (*self._tags, *task.node.tags),
                ),
                "task",
            )
            for task in tasks
            if not task.hidden
        ]

    def succeeded(self, graph: GraphRun, task: Task) -> list[Emit]:
        """A task's messages that were not streamed, its update and its result."""
        if task.hidden or not self._stream.modes:
            return []
        out: list[Emit] = []
        if self._wants(graph, "messages") and not task.handed:
            written = [v for _, v in task.writes] if task.messages is None else task.messages
            for message in whole_messages(written, self._seen_messages):
                metadata = _as_callbacks_have_it(task.metadata)
                out.append(self._emit(graph, "messages", (message, metadata)))
        return [*out, *self.wrote(graph, task), *self.ended(graph, task)]

    def wrote(self, graph: GraphRun, task: Task) -> list[Emit]:
        """Mode ``updates``: the update of a task."""
        if task.hidden or not self._wants(graph, "updates"):
            return []
        update = update_of(task.name, task.writes, graph.output_keys)
        if task.cached:
            update["__metadata__"] = {"cached": True}
        return [self._emit(graph, "updates", update)]

    def ended(
        self, graph: GraphRun, task: Task, error: ShippedError | BaseException | None = None
    ) -> list[Emit]:
        """Mode ``tasks``: the result of a task, or its error."""
        if task.hidden or not self._wants(graph, "tasks"):
            return []
        keys = graph.superstep.spec.stream_channels
        payload = task_result_payload(task.id, task.name, task.writes, keys, error, task.interrupts)
        return [self._emit(graph, "tasks", payload, "task_result")]

    def reset(self, graph: GraphRun, task: Task, outcome: AttemptOutcome) -> list[Emit]:
        """Mode ``reset``: an attempt was lost, and its events in the stream are void."""
        error = outcome.error
        why = "" if error is None else error.message
        step, void = graph.superstep.step, outcome.void or 0
        number = shown_attempt(outcome.attempt)
        payload = AttemptReset(task.name, outcome.task_id, step, number, void, why)
        return [self._emit(graph, RESET_MODE, payload)]

    def interrupted(self, graph: GraphRun, task: Task) -> list[Emit]:
        """The interrupts of a task, and the output so far."""
        out: list[Emit] = []
        self._read_output(graph)
        if self._wants(graph, "updates"):
            out.append(self._emit(graph, "updates", {INTERRUPT: task.interrupts}))
        if self._wants(graph, "values"):
            chunk = with_interrupts(graph.output, task.interrupts)
            out.append(self._emit(graph, "values", chunk))
        return [*out, *self.ended(graph, task)]

    def stopped(self, graph: GraphRun) -> list[Emit]:
        """Mode ``updates``: a breakpoint."""
        if not self._wants(graph, "updates"):
            return []
        return [self._emit(graph, "updates", {INTERRUPT: ()})]

    def values(self, graph: GraphRun, *, resumed: bool = False) -> list[Emit]:
        """Mode ``values``: the state after a superstep, which is kept as the output so far.

        ``resumed``: the graph goes on from a checkpoint; the state is that of the step before.
        """
        self._read_output(graph)
        if not self._wants(graph, "values"):
            return []
        step = graph.superstep.step - 1 if resumed else None
        return [self._emit(graph, "values", graph.output, step=step)]

    def _read_output(self, graph: GraphRun) -> None:
        graph.output = read_values(graph.superstep.channels, graph.output_keys)
        if graph.result_keys is not None:
            graph.result = read_values(graph.superstep.channels, graph.result_keys)

    def checkpoint(self, graph: GraphRun, tasks: Sequence[Task]) -> list[Emit]:
        """Mode ``checkpoints``: the checkpoint that the next tasks start from."""
        if not (graph.thread.saves and self._wants(graph, "checkpoints")):
            return []
        payload = _checkpoint_payload(graph.thread, tasks, self._configurable, graph.output_keys)
        step = graph.superstep.step - 1
        return [self._emit(graph, "checkpoints", payload, "checkpoint", step=step)]

    def retry_scheduled(self, graph: GraphRun, task: Task, id: str, seconds: float) -> list[Emit]:
        """A view of the run's progress: another attempt follows. ``id``: of the task or part."""
        if PROGRESS_MODE not in self._stream.modes:
            return []
        event = RetryScheduled(id, (*graph.path, task.name), seconds)
        return [self._emit(graph, PROGRESS_MODE, event)]

    def cached(self, graph: GraphRun, task: Task) -> list[Emit]:
        """A view of the run's progress: the task does not run."""
        if PROGRESS_MODE not in self._stream.modes:
            return []
        event = TaskCached(task.id, (*graph.path, task.name), graph.superstep.step)
        return [self._emit(graph, PROGRESS_MODE, event)]

    def has_seen(self, ids: Set[str]) -> None:
        """Note messages that were streamed, or were in an input: they are not streamed again."""
        self._seen_messages |= ids

    def took(self, graph: GraphRun, value: Any) -> None:
        """Note the messages in the input of a node that is a graph.

        Those of a graph that is not shown do not count: the node around it shows them.
        """
        if self._wants(graph, "messages"):
            self.has_seen(message_ids(value))

    def _wants(self, graph: GraphRun, mode: str) -> bool:
        if graph.parent is not None and not self._stream.subgraphs:
            return False
        modes = self._stream.modes
        return mode in modes or (mode in ("tasks", "checkpoints") and "debug" in modes)

    def _emit(
        self,
        graph: GraphRun,
        mode: str,
        payload: Any,
        debug_type: str | None = None,
        step: int | None = None,
    ) -> Emit:
        at = graph.superstep.step if step is None else step
        return Emit(graph.ns, at, mode, payload, debug_type)


def _as_callbacks_have_it(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's metadata with what LangGraph adds to that of a run, in its order of keys."""
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        if key == "langgraph_step":  # the first key that is not of the run
            found.setdefault("ls_integration", "langgraph")
        found[key] = value
    return found


def _shown_input(graph: GraphRun, task: Task) -> Any:
    try:
        return graph.superstep.mapped_input_of(task)
    except Exception:  # the worker meets the same failure, and reports it as the node's
        return graph.superstep.input_of(task)


def _checkpoint_payload(
    thread: GraphThread, tasks: Sequence[Task], configurable: Mapping[str, Any], keys: Keys
) -> dict[str, Any]:
    """Return the ``checkpoints`` chunk of the checkpoint that a graph stands at."""
    superstep = thread.superstep
    found = statuses(thread.pending)
    ns = thread.ns

    def config(checkpoint_id: str) -> dict[str, Any]:
        own = {**configurable, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
        if parents := thread.metadata.get("parents"):
            own["checkpoint_map"] = {**parents, ns: checkpoint_id}
        return {"configurable": own}

    def shown(task: Task) -> dict[str, Any]:
        status = found.get(task.id, TaskStatus())
        state = None
        if task.node.keeps_graph:
            thread_id = configurable.get("thread_id")
            state = {"configurable": {"thread_id": thread_id, "checkpoint_ns": task.ns}}
        entry: dict[str, Any] = {"id": task.id, "name": task.name}
        if status.error:
            return {**entry, "error": status.error, "state": state}
        if status.output and (result := result_of(status.output, keys)):
            entry["result"] = result
        return {
            **entry,
            "interrupts": tuple(asdict(i) for i in status.interrupts),
            "state": state,
        }

    return {
        "config": config(superstep.checkpoint_id),
        "parent_config": None if thread.parent_id is None else config(thread.parent_id),
        "values": read_values(superstep.channels, superstep.spec.stream_channels),
        "metadata": thread.metadata,
        "next": [task.name for task in tasks],
        "tasks": [shown(task) for task in tasks],
    }
