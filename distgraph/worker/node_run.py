"""A node's run, as callbacks receive it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from distgraph.contract.callbacks import CallbackInfo
from distgraph.worker.context import TaskContext
from distgraph.worker.forward import begun_node, node_manager, record, unheard_callbacks
from distgraph.worker.located import LocatedNode
from distgraph.worker.sequences import step_tag
from distgraph.worker.tracing import begun_elsewhere, traced

__all__ = ("NodeRun", "reported")


class NodeRun:
    """A node's run, as callbacks receive it. A block for that of a node that nobody listens to.

    Attributes:
        manager: LangChain's run manager, None where nobody listens.
        returned: What the node returned.
    """

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.returned: Any = None

    def __enter__(self) -> NodeRun:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            # as contextlib does around LangGraph's nodes: an error that refuses it becomes another
            error.__traceback__ = traceback

    def child(self, step: int) -> Any:
        """Return the callbacks of a step of the run, counted from 1."""
        return None if self.manager is None else self.manager.get_child(step_tag(step))


def reported(
    node: LocatedNode, task: TaskContext, value: Any, *, goes_on: bool = False
) -> AbstractContextManager[NodeRun]:
    """Report the node to the callbacks, if there are any, as a run of its own.

    What the node calls with a config of its own making inherits tags and metadata from that run.
    ``goes_on``: the run was begun elsewhere, and ends elsewhere.
    """
    handlers = task.config["callbacks"]
    info = partial(_callback_info, node, task)
    if not handlers:
        task.config["callbacks"] = unheard_callbacks(task.request, info)
        return NodeRun(None)
    return _heard(node, task, value, info(), handlers, goes_on)


def _callback_info(node: LocatedNode, task: TaskContext) -> CallbackInfo:
    info = task.run.shared.callback_info
    spec = node.graph.spec.nodes.get(task.request.node)
    tags = node.graph.spec.tags if spec is None else spec.tags
    return replace(info, tags=(*info.tags, *tags)) if tags else info


@contextmanager
def _heard(
    node: LocatedNode,
    task: TaskContext,
    value: Any,
    info: CallbackInfo,
    handlers: list[Any],
    goes_on: bool,
) -> Iterator[NodeRun]:
    trace = node.program.trace
    if goes_on:
        run = NodeRun(begun_node(handlers, task.request, info))
        begun_elsewhere(run.manager, task.request.node)
        task.config["callbacks"] = run.child(1)
        with traced(task.config):
            yield run
        return
    record(handlers, None if trace is None else trace.process_inputs, value)
    run = NodeRun(node_manager(handlers, task.request, info, value))
    task.config["callbacks"] = run.child(1)
    try:
        with traced(task.config):
            yield run
    except BaseException as error:
        run.manager.on_chain_error(error)
        raise
    record(handlers, None if trace is None else trace.process_outputs, run.returned)
    run.manager.on_chain_end(run.returned)
