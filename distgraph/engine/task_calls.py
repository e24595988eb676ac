"""Calls of tasks from the code of running attempts: their order, and which calls wait for a task.

A call becomes a task of the running superstep, under LangGraph's id for it, so that what finished
in an earlier run of the thread is found again. Calls and outcomes reach the driver in any order:
calls are taken in the order in which they were made, and an attempt has ended only when all of its
calls are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from distgraph._internal import keys as k
from distgraph._internal.ids import path_key
from distgraph.constants import TAG_HIDDEN
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import ReturnCall
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import NodeSpec
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import Task, task_metadata
from distgraph.errors import NodeCancelledError

__all__ = ("CALLED", "TaskCalls", "called_task", "cancelled")

CALLED = "__called__"
"""Begins the name under which a function travels with the state that its attempt reads."""


@dataclass(slots=True)
class _Caller:
    taken: int = 0
    early: dict[int, TaskCall] = field(default_factory=dict)
    """By number: calls that arrived before an earlier call."""
    dropped: set[int] = field(default_factory=set)
    """Numbers of calls whose cancel arrived before the call."""
    outcome: AttemptOutcome | None = None
    """Set if it arrived before calls of the attempt."""


class TaskCalls:
    """The open calls of a run."""

    def __init__(self) -> None:
        self._callers: dict[tuple[str, int], _Caller] = {}
        self._waiting: dict[str, list[TaskCall]] = {}

    def in_order(self, call: TaskCall) -> list[TaskCall]:
        """Take a call, and return the calls that can start now, in the order in which they were
        made."""
        caller = self._callers.setdefault((call.task_id, call.attempt), _Caller())
        if call.seq >= caller.taken:
            caller.early[call.seq] = call
        ready = []
        while (following := caller.early.pop(caller.taken, None)) is not None:
            caller.taken += 1
            ready.append(following)
        return ready

    def was_dropped(self, call: TaskCall) -> bool:
        """Return whether the cancel of a call arrived before the call."""
        return call.seq in self._callers[call.task_id, call.attempt].dropped

    def drop(self, call: DroppedCall) -> str | None:
        """Cancel a call. Return the id of its task if no other call waits for that task."""
        caller = self._callers.setdefault((call.task_id, call.attempt), _Caller())
        if call.seq >= caller.taken:
            caller.dropped.add(call.seq)
            return None
        made = call.task_id, call.attempt, call.seq
        for task, waiting in self._waiting.items():
            left = [c for c in waiting if (c.task_id, c.attempt, c.seq) != made]
            if len(left) < len(waiting):
                self._waiting[task] = left
                return None if left else task
        return None

    def holds(self, outcome: AttemptOutcome) -> bool:
        """Keep an outcome that arrived before calls of its attempt. Return whether it did."""
        key = outcome.task_id, outcome.attempt
        caller = self._callers.get(key)
        if outcome.calls > (0 if caller is None else caller.taken):
            self._callers.setdefault(key, _Caller()).outcome = outcome
            return True
        self._callers.pop(key, None)
        return False

    def released(self, call: TaskCall) -> AttemptOutcome | None:
        """Return the held outcome of a caller once all of its calls have arrived."""
        caller = self._callers.get((call.task_id, call.attempt))
        outcome = None if caller is None else caller.outcome
        if caller is None or outcome is None or outcome.calls > caller.taken:
            return None
        return outcome

    def wait(self, task: Task, call: TaskCall) -> None:
        """Note that a call waits for a task."""
        self._waiting.setdefault(task.id, []).append(call)

    def results(self, task: Task, error: ShippedError | BaseException | None) -> list[ReturnCall]:
        """Return the result of a task for each call that waits for it."""
        value = next((v for c, v in task.writes if c == k.RETURN), None)
        stopped = task.interrupts if task.status == "interrupted" else None
        return [
            ReturnCall(CallResult(call.task_id, call.attempt, call.seq, value, error, stopped))
            for call in self._waiting.pop(task.id, ())
        ]


def called_task(graph: Superstep, caller: Task, call: TaskCall) -> Task:
    """Return the task that a call becomes, as a task of the superstep that its caller is in."""
    parent_ns = f"{caller.ns}{k.NS_SEP}{call.name}"
    path = (k.PUSH, caller.path, call.number, True)
    identity = graph.task_id(parent_ns, call.name, k.PUSH, path_key(caller.path), str(call.number))
    ns = f"{parent_ns}{k.NS_END}{identity}"
    node = NodeSpec(
        name=call.name,
        triggers=(k.PUSH,),
        channels=(),
        branch_channels=(k.PREVIOUS,) if k.PREVIOUS in graph.channels else (),
        tags=tuple(tag for tag in caller.node.tags if tag == TAG_HIDDEN),
        is_async=call.is_async,
        ray_options=call.ray_options,
        retry=call.retry or graph.spec.call_retry,
        timeout=call.timeout,
        cache=call.cache or graph.spec.call_cache,
        identity=call.identity,
    )
    return Task(
        id=identity,
        name=call.name,
        path=path,
        triggers=(k.PUSH,),
        node=node,
        ns=ns,
        metadata=task_metadata(caller.metadata, graph.step, node, (k.PUSH,), path, ns),
        input=call.input,
        pulled=False,
        limit=call.timeout,
        call=call,
    )


def cancelled(task: Task) -> NodeCancelledError:
    """Return the error of a call that its caller has cancelled."""
    return NodeCancelledError(
        task.name, f"Task {task.name!r} was cancelled by the code that called it"
    )
