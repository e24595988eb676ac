"""Callback events for the runs that the driver itself executes.

A node's run is reported by the worker that runs the node. A node that is a graph, or whose work is
split, runs nowhere as a whole: the driver begins and ends its run, and that of the graph in it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from distgraph.contract.callbacks import HandlerCall
from distgraph.contract.events import Emit, RunOptions
from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import CALLBACK_MODE
from distgraph.engine.graph_run import GraphRun, inherited_metadata
from distgraph.engine.task import Task
from distgraph.serde.exceptions import capture_error

__all__ = ("CallbackEvents",)


class CallbackEvents:
    """Turns beginnings and ends into ``Emit`` instructions: calls of the caller's handlers."""

    def __init__(self, options: RunOptions) -> None:
        self._info = options.shared.callbacks
        self._begun: dict[str, dict[str, Any]] = {}
        """What the end of each run repeats of its start, by the id of the run."""

    def node_began(self, graph: GraphRun, task: Task, value: Any) -> list[Emit]:
        """Report the start of a node that is a graph, or whose work is split."""
        if self._info is None:
            return []
        task.run_id = self._id(task.id, task.attempt, graph.restarts)
        step = f"graph:step:{graph.superstep.step}"
        tags = (step, *self._info.tags, *graph.superstep.spec.tags)
        return self._begin(graph, task, task.run_id, graph.run_id, task.name, tags, value)

    def node_ended(self, graph: GraphRun, task: Task, value: Any) -> list[Emit]:
        """Report the result of such a node."""
        return self._end(graph, task, "on_chain_end", value)

    def node_failed(
        self, graph: GraphRun, task: Task, error: ShippedError | BaseException
    ) -> list[Emit]:
        """Report the failure or interrupt that ended such a node."""
        return self._end(graph, task, "on_chain_error", _shipped(error))

    def graph_began(self, graph: GraphRun, value: Any) -> list[Emit]:
        """Report the start of a graph inside a node."""
        if self._info is None or graph.parent is None:
            return []
        task = graph.parent[1]
        graph.run_id = self._id("graph", task.id, task.attempt, graph.restarts)
        tags = ("seq:step:1", *self._info.tags, *graph.superstep.spec.tags)
        return self._begin(
            graph,
            task,
            graph.run_id,
            task.run_id,
            graph.superstep.spec.name,
            tags,
            value,
            of_graph=True,
        )

    def graph_ended(self, graph: GraphRun, value: Any) -> list[Emit]:
        """Report the output of such a graph."""
        return self._end(graph, graph, "on_chain_end", value)

    def graph_failed(self, graph: GraphRun, error: ShippedError | BaseException) -> list[Emit]:
        """Report the error that ended such a graph."""
        return self._end(graph, graph, "on_chain_error", _shipped(error))

    def resumed(self, graph: GraphRun) -> list[Emit]:
        """Report a graph that continues from a checkpoint."""
        return self._of_graph(graph, "on_resume", "pending", {})

    def interrupted(self, graph: GraphRun, status: str) -> list[Emit]:
        """Report the root graph's stop: an interrupt or a breakpoint."""
        return self._of_graph(
            graph, "on_interrupt", status, {"interrupts": tuple(graph.interrupts)}
        )

    def _id(self, *parts: object) -> str:
        assert self._info is not None
        return str(uuid5(UUID(self._info.run_id), "/".join(map(str, parts))))

    def _begin(
        self,
        graph: GraphRun,
        task: Task,
        run_id: str,
        parent: str | None,
        name: str,
        tags: tuple[str, ...],
        value: Any,
        *,
        of_graph: bool = False,
    ) -> list[Emit]:
        info = self._info
        assert info is not None
        self._begun[run_id] = {
            "run_id": UUID(run_id),
            "parent_run_id": UUID(parent or info.run_id),
            "tags": list(tags),
        }
        kwargs = {
            **self._begun[run_id],
            "tags": list(tags),
            "metadata": {
                **graph.superstep.spec.metadata,
                **info.metadata,
                "ls_integration": "langgraph",
                **(inherited_metadata(task) if of_graph else task.metadata),
            },
            "name": name,
        }
        call = HandlerCall("on_chain_start", (None, value), kwargs, of_graph=of_graph)
        return self._emit_call(graph, call)

    def _end(self, graph: GraphRun, of: GraphRun | Task, name: str, value: Any) -> list[Emit]:
        run_id, of.run_id = of.run_id, None
        if self._info is None or run_id is None:
            return []
        of_graph = isinstance(of, GraphRun)
        begun = self._begun.pop(run_id, {"run_id": UUID(run_id)})
        call = HandlerCall(name, (value,), begun, of_graph=of_graph)
        return self._emit_call(graph, call)

    def _of_graph(
        self, graph: GraphRun, name: str, status: str, more: dict[str, Any]
    ) -> list[Emit]:
        if self._info is None or not self._info.lifecycle:
            return []
        fields = {
            "run_id": UUID(graph.run_id or self._info.run_id),
            "status": status,
            "checkpoint_id": graph.superstep.checkpoint_id,
            "checkpoint_ns": graph.ns,
            **more,
        }
        return self._emit_call(graph, HandlerCall(name, (), fields))

    def _emit_call(self, graph: GraphRun, call: HandlerCall) -> list[Emit]:
        return [Emit(graph.ns, graph.superstep.step, CALLBACK_MODE, call._replace(path=graph.path))]


def _shipped(error: ShippedError | BaseException) -> ShippedError:
    return error if isinstance(error, ShippedError) else capture_error(error)
