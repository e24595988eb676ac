"""Error handlers: the task that takes a failed one's place, in the same superstep."""

from __future__ import annotations

from collections.abc import Sequence

from distgraph._internal import keys as k
from distgraph.contract.attempt import NodeFailure
from distgraph.contract.checkpoint import PendingWrite
from distgraph.contract.failure import ShippedError
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import Task, task_metadata
from distgraph.serde.exceptions import capture_error

__all__ = ("handler_of", "handlers_of")

_MARK = "node_error_handler"


def handler_of(graph: Superstep, failed: Task, error: object) -> Task | None:
    """Return the task that handles a task's failure, None where its node has no handler.

    It is called with what the failed node was called with. Its id derives from the failed task's:
    it is the same one after a crash. Raises what the failed node's ``mapper`` raises.
    """
    name = failed.node.error_handler
    node = None if name is None else graph.spec.nodes.get(name)
    if node is None:
        return None
    value = graph.mapped_input_of(failed)
    ns = f"{failed.ns}{k.NS_SEP}{node.name}"
    identity = graph.task_id(ns, node.name, k.PUSH, _MARK, failed.id)
    path = (*failed.path[:3], _MARK, False)
    task_ns = f"{ns}{k.NS_END}{identity}"
    return Task(
        id=identity,
        name=node.name,
        path=path,
        triggers=(k.PUSH,),
        node=node,
        ns=task_ns,
        metadata=task_metadata(failed.metadata, graph.step, node, (k.PUSH,), path, task_ns),
        input=value,
        pulled=False,
        failure=NodeFailure(failed.name, _shipped(error)),
        limit=node.timeout,
    )


def handlers_of(
    graph: Superstep, tasks: Sequence[Task], pending: Sequence[PendingWrite]
) -> list[Task]:
    """Return handlers of tasks that had failed before the run was broken off.

    Those tasks do not run again: they are marked as failed.
    """
    marked = {task for task, channel, _ in pending if channel == k.ERROR_SOURCE}
    errors = {task: value for task, channel, value in pending if channel == k.ERROR}
    found = []
    for task in tasks:
        if task.id in marked and task.id in errors:
            handler = handler_of(graph, task, errors[task.id])
            if handler is not None:
                task.status = "failed"
                found.append(handler)
    graph.tasks.update((handler.id, handler) for handler in found)
    return found


def _shipped(error: object) -> ShippedError:
    if isinstance(error, ShippedError):
        return error
    # savers keep an exception that they cannot keep as its text
    return capture_error(error if isinstance(error, BaseException) else Exception(error))
