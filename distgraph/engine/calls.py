"""Calls of tasks from the code of running attempts: who called what, and who waits for it.

A call becomes a task of the running superstep, under LangGraph's id for it, so that what finished
in an earlier run of the thread is found again. Calls and outcomes reach the driver in any order:
calls are taken in the order in which they were made, and an attempt has ended only when all of its
calls are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from distgraph._internal import keys as k
from distgraph._internal.ids import path_key, task_id
from distgraph.constants import TAG_HIDDEN
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import ReturnCall
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import NodeSpec
from distgraph.engine.superstep import Superstep, Task, task_metadata
from distgraph.errors import NodeCancelledError

__all__ = ("CALLED", "Switchboard", "called_task", "cancelled")

CALLED = "__called__"
"""Begins the name under which a function travels with the state that its attempt reads."""


@dataclass(slots=True)
class _Caller:
    taken: int = 0
    early: dict[int, TaskCall] = field(default_factory=dict)
    """Calls that came ahead of one that was made before them."""
    dropped: set[int] = field(default_factory=set)
    """Calls that were cancelled ahead of being known."""
    outcome: AttemptOutcome | None = None
    """Came ahead of calls that the attempt had made."""


class Switchboard:
    """The open calls of a run. Only the ``Machine`` drives it."""

    def __init__(self) -> None:
        self._callers: dict[tuple[str, int], _Caller] = {}
        self._waiting: dict[str, list[TaskCall]] = {}

    def taken(self, call: TaskCall) -> list[TaskCall]:
        """Take a call, and return those that are next, in the order in which they were made."""
        caller = self._callers.setdefault((call.task_id, call.attempt), _Caller())
        if call.seq >= caller.taken:
            caller.early[call.seq] = call
        ready = []
        while (following := caller.early.pop(caller.taken, None)) is not None:
            caller.taken += 1
            ready.append(following)
        return ready

    def drops(self, call: TaskCall) -> bool:
        """Whether a call was cancelled before it was known."""
        return call.seq in self._callers[call.task_id, call.attempt].dropped

    def dropped(self, call: DroppedCall) -> str | None:
        """Take it that a call was cancelled. Return the task that nobody waits for any more."""
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
        """Keep an outcome that came ahead of calls. Return whether it did."""
        key = outcome.task_id, outcome.attempt
        caller = self._callers.get(key)
        if outcome.calls > (0 if caller is None else caller.taken):
            self._callers.setdefault(key, _Caller()).outcome = outcome
            return True
        self._callers.pop(key, None)
        return False

    def released(self, call: TaskCall) -> AttemptOutcome | None:
        """Return the outcome of a caller that was held for its calls, once they are all there."""
        caller = self._callers.get((call.task_id, call.attempt))
        outcome = None if caller is None else caller.outcome
        if caller is None or outcome is None or outcome.calls > caller.taken:
            return None
        return outcome

    def wait(self, task: Task, call: TaskCall) -> None:
        """Note that a call is to be told what becomes of a task."""
        self._waiting.setdefault(task.id, []).append(call)

    def results(self, task: Task, error: ShippedError | BaseException | None) -> list[ReturnCall]:
        """Return what those who wait for a task that ended are told."""
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
    identity = task_id(
        graph.checkpoint_id,
        parent_ns,
        str(graph.step),
        call.name,
        k.PUSH,
        path_key(caller.path),
        str(call.number),
    )
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
    """Return what is kept and told of a call whose caller has cancelled it."""
    return NodeCancelledError(
        task.name, f"Task {task.name!r} was cancelled by the code that called it"
    )
