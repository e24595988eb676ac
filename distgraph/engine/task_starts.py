"""How a task starts: as a graph of its own, as parts, right here, or as an attempt on a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from distgraph._internal import keys as k
from distgraph.contract.events import Sync
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import GraphSpec, Part, Split
from distgraph.engine.failures import FailedAttempt, retried, timed_out
from distgraph.engine.graph_run import GraphRun, attempt_of
from distgraph.engine.idle_timeout import IdleWindow
from distgraph.engine.machine_state import MachineState
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import Parts, PartStart, Task
from distgraph.engine.task_results import TaskResults
from distgraph.errors import InvalidTransition, ParentCommand
from distgraph.types import Command

__all__ = ("TaskStarter",)

_T = TypeVar("_T")


class Graphs(Protocol):
    """What the start of a task asks of the superstep loop."""

    def begin(self, graph: GraphRun, value: Any) -> None:
        """Start a graph inside a task."""

    def leave(self, graph: GraphRun, command: Command[Any]) -> None:
        """End a graph with a command to its parent."""

    def guard(self, graph: GraphRun, call: Callable[[], _T]) -> _T | None:
        """Make a call whose error fails the graph."""

    def fail(
        self, graph: GraphRun, error: ShippedError | BaseException, task: Task | None = None
    ) -> None:
        """Fail a task, or the graph."""


class TaskStarter:
    """Starts tasks, and starts them again."""

    def __init__(self, state: MachineState, results: TaskResults, graphs: Graphs) -> None:
        self._state = state
        self._results = results
        self._graphs = graphs

    def start(self, graph: GraphRun, task: Task) -> None:
        """Start a task. One without user code has ended when this returns."""
        node = task.node
        if node.subgraph is not None:
            self._start_child(graph, task, node.subgraph)
        elif node.split is not None:
            self._start_split(graph, task, node.split)
        elif node.inline is not None:
            self._write_inline(graph, task, graph.superstep.input_of(task))
        else:
            self._start_attempt(graph, task, "node", task.input)

    def retry(
        self, graph: GraphRun, task: Task, seconds: float, failed: FailedAttempt | None
    ) -> None:
        """Start another attempt of a task, or of one part of it, after a while."""
        state = self._state

        def go_on() -> None:
            if task.status != "running":  # another part has failed for good
                return
            if failed is not None:
                state.start_attempt(graph, task, retried(failed))
            else:
                task.attempt += 1
                self.start(graph, task)

        state.story.note(task.name, task.id, "failed", f"retry in {seconds:g} s")
        part = task.id if failed is None else failed.start.request.task_id
        state.out += state.stream.retry_scheduled(graph, task, part, seconds)
        state.after(graph, seconds, go_on)

    def start_handler(self, graph: GraphRun, failed: Task, handler: Task) -> None:
        """Start the task that takes a failed one's place."""
        state = self._state
        state.cancel_attempts_of(failed)
        graph.superstep.tasks[handler.id] = handler
        go_on = partial(self.start, graph, handler)
        if graph.thread.saves and graph.thread.options.durability != "exit":
            state.out.append(Sync(state.await_reply(graph, go_on)))  # the failure is durable before
        else:
            go_on()

    def write(self, graph: GraphRun, task: Task, value: Any) -> None:
        """Turn the result of a node whose work was done elsewhere into its writes."""
        task.returned = value
        if task.node.inline is not None:
            self._write_inline(graph, task, value)
        else:
            self._start_attempt(graph, task, "writers", value)

    def join_parts(self, graph: GraphRun, task: Task, parts: Parts) -> None:
        """Every part has ended: make the node's result of their results."""
        task.parts = None
        task.sent = parts.writes()
        if task.interrupts:
            self._results.interrupt(graph, task, task.interrupts)
            return
        try:
            value = parts.join()
        except Exception as error:
            self._graphs.fail(graph, error, task)
            return
        self.write(graph, task, value)

    # --- the kinds of nodes -----------------------------------------------------------------------

    def _start_child(self, graph: GraphRun, task: Task, subgraph: GraphSpec) -> None:
        state = self._state
        value: Any = self._graphs.guard(graph, lambda: graph.superstep.mapped_input_of(task))
        if state.is_over(graph):
            return
        state.stream.took(graph, value)
        state.out += state.callbacks.node_began(graph, task, value)
        ns = (*graph.ns, task.ns.rsplit(k.NS_SEP, 1)[-1])
        if task.attempt > 1 and subgraph.persistence is not True:
            ns = (*ns, str(task.attempt - 1))  # as the next graph that the task runs
        child = state.add_graph(subgraph, ns, (*graph.path, task.name), None, (graph, task))
        state.out += state.callbacks.graph_began(child, value)
        late = timed_out(task, task.limit)
        if late is not None and late.run_timeout is not None:
            state.after(child, late.run_timeout, partial(self._graphs.fail, child, late))
        child.idle = IdleWindow.of(task.limit)
        if child.idle is not None:
            self._watch(child, task, child.idle)
        self._graphs.begin(child, {} if value is None else value)

    def _watch(self, child: GraphRun, task: Task, window: IdleWindow) -> None:
        """Fail a graph that makes no progress for the time that its node's idle limit allows."""

        def quarter_ended() -> None:
            if window.is_over_with(self._state.attempts.within(child)):
                late = timed_out(task, task.limit, window.lateness)
                assert late is not None
                self._graphs.fail(child, late)
            else:
                self._watch(child, task, window)

        self._state.after(child, window.quarter, quarter_ended)

    def _start_split(self, graph: GraphRun, task: Task, split: Split) -> None:
        """Start each part of a task's work as an attempt of its own."""
        try:
            parts = _divide(graph.superstep, task, split)
        except Exception as error:
            self._graphs.fail(graph, error, task)
            return
        if parts is None:
            self._start_attempt(graph, task, "node", task.input)
            return
        task.parts = parts
        whole = graph.superstep.input_of(task)
        self._state.out += self._state.callbacks.node_began(graph, task, whole)
        for part in parts.starts():
            self._start_attempt(graph, task, "part", part.part.input, part)
        if not parts.parts:
            self.join_parts(graph, task, parts)

    def _start_attempt(
        self,
        graph: GraphRun,
        task: Task,
        kind: Literal["node", "part", "writers"],
        value: Any,
        part: PartStart | None = None,
    ) -> None:
        awaits = self._state.options.shared.awaits
        start = attempt_of(graph, task, kind, value, part, awaits=awaits)
        self._state.start_attempt(graph, task, start)

    def _write_inline(self, graph: GraphRun, task: Task, value: Any) -> None:
        """Compute the writes of a node without user code right here."""
        program = task.node.inline
        assert program is not None

        def no_reading(_: Sequence[str] | str) -> Any:
            raise InvalidTransition(
                f"inline node {task.name!r} reads state", story=self._state.story.of()
            )

        try:
            writes = [w for writer in program.writers for w in writer(value, no_reading, None)]
        except ParentCommand as bubble:
            self._graphs.leave(graph, bubble.command)
            return
        except Exception as error:
            self._graphs.fail(graph, error, task)
            return
        self._results.succeed(graph, task, writes)


def _divide(superstep: Superstep, task: Task, split: Split) -> Parts | None:
    """Return the parts of a task's work, None where the task runs as a whole.

    Raises what the node's ``mapper`` and its ``Split`` raise.
    """
    value = superstep.mapped_input_of(task)
    parts_of = split.parts if task.pulled else getattr(split, "sent_parts", split.parts)
    parts: Sequence[Part] | None = parts_of(value)
    if parts is None:
        return None
    options = [split.options(part.key) for part in parts]
    return Parts(value, split, parts, options, [None] * len(parts), len(parts))
