"""Values that stay in the process of a pinned worker: the state holds a handle of each.

Nodes with ``ray_options={"affinity": "run"}`` share one process for a run, those with ``"thread"``
one for all runs of a thread. What such a node returns and cannot be pickled stays there until the
end of the run; in that process the handle becomes the value again.
"""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from distgraph.channels.binop import overwritten
from distgraph.channels.untracked_value import UntrackedValue
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.spec import Write
from distgraph.errors import SerializationError
from distgraph.serde import pickling
from distgraph.types import Command, Overwrite, Send

__all__ = ("Pinned", "drop", "pinned")

_kept: dict[str, dict[str, Any]] = {}
"""The values by the run that keeps them, then by id."""


class Pinned:
    """Takes the place of a value that is in the process of a pinned worker only.

    Attributes:
        id: Names the value.
        kind: Qualified name of the value's class.
        node: The node that returned it.
        key: The state key.
        pid: The process that has or had it.
    """

    __slots__ = ("id", "key", "kind", "node", "pid")

    def __init__(self, id: str, kind: str, node: str, key: str, pid: int) -> None:
        self.id = id
        self.kind = kind
        self.node = node
        self.key = key
        self.pid = pid

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str, str, str, int]]:
        return _arrive, (self.id, self.kind, self.node, self.key, self.pid)

    def __repr__(self) -> str:
        return f"<{self.kind} of state key {self.key!r}, in the pinned worker of its run>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise SerializationError(
            f"state key {self.key!r} holds a {self.kind} that node {self.node!r} returned. It "
            f"exists until the end of its run, in process {self.pid} only, and process "
            f"{os.getpid()} is another. Give the node or tool that uses it the same "
            f"ray_options={{'affinity': ...}} as node {self.node!r}. If it has that affinity, then "
            f"process {self.pid} has died: let a node return another {self.kind}"
        )


def _arrive(id: str, kind: str, node: str, key: str, pid: int) -> Any:
    for values in list(_kept.values()):
        if id in values:
            return values[id]
    return Pinned(id, kind, node, key, pid)


def pinned(
    outcome: AttemptOutcome,
    request: AttemptRequest,
    channels: Mapping[str, Any],
    run_id: str,
    around: Mapping[str, Any] | None = None,
) -> AttemptOutcome:
    """Return an outcome with a handle for each value written that cannot leave this process.

    The values are kept until ``drop(run_id)``.

    Args:
        outcome: What the attempt returned.
        request: Of the attempt.
        channels: Of the node's graph.
        run_id: Of the run.
        around: Channels of the graph around it, which takes what ``Command(graph=PARENT)`` updates.

    Raises:
        SerializationError: One of them would be saved in a checkpoint.
    """
    handles = _Handles(request, channels, _kept.setdefault(run_id, {}))
    writes = tuple(handles.of_write(write) for write in outcome.writes)
    value = outcome.value
    if isinstance(value, Command):
        if value.graph is not None:
            handles = replace(handles, channels=around or {})
        value = handles.of_command(value)
    return replace(outcome, writes=writes, value=value)


@dataclass(frozen=True, slots=True)
class _Handles:
    """Puts handles in the place of values of one attempt."""

    request: AttemptRequest
    channels: Mapping[str, Any]
    kept: dict[str, Any]

    def of_write(self, write: Write) -> Write:
        channel, value = write
        if not pickling.reason(value):
            return write
        # the driver reads where a Send goes; what it takes along is the state of the node there
        return channel, self.of_send(value) if isinstance(value, Send) else self.of(channel, value)

    def of_command(self, command: Command[Any]) -> Command[Any]:
        if not pickling.reason(command):
            return command
        update: Any = [(key, self.of(key, value)) for key, value in command.update_as_tuples()]
        if isinstance(command.update, Mapping):
            update = dict(update)
        goto: Any = command.goto
        if isinstance(goto, Send):
            goto = self.of_send(goto)
        elif not isinstance(goto, str):
            goto = [self.of_send(to) if isinstance(to, Send) else to for to in goto]
        return replace(command, update=update, goto=goto)

    def of_send(self, send: Send) -> Send:
        if isinstance(send.arg, dict):
            arg: Any = {key: self.of(key, each) for key, each in send.arg.items()}
        else:
            remedy = "Send a dict with the value under a key that is annotated with UntrackedValue"
            arg = self.of(f"Send({send.node!r})", send.arg, remedy)
        return Send(send.node, arg, timeout=send.timeout)

    def of(self, key: str, value: Any, remedy: str = "Annotate the key with UntrackedValue") -> Any:
        why = pickling.reason(value)
        if not why:
            return value
        request = self.request
        if request.standing is not None and not isinstance(self.channels.get(key), UntrackedValue):
            raise SerializationError(
                f"node {request.node!r}, step {request.step}: the value of {key!r} stays in the "
                f"pinned worker of its run ({why}), and the thread is saved by a checkpointer, "
                f"which cannot hold it. {remedy}"
            )
        replacing = overwritten(value)
        if replacing is not None:  # the driver reads that it replaces the key's value
            return Overwrite(_handle(key, *replacing, request.node, self.kept))
        return _handle(key, value, request.node, self.kept)


def _handle(key: str, value: Any, node: str, kept: dict[str, Any]) -> Pinned:
    name = next((name for name, known in kept.items() if known is value), None)
    if name is None:
        name = uuid.uuid4().hex
        kept[name] = value
    cls = type(value)
    return Pinned(name, f"{cls.__module__}.{cls.__qualname__}", node, key, os.getpid())


def drop(run_id: str | None) -> None:
    """Let go of the values of a run, or of all runs, so that their finalizers run."""
    if run_id is None:
        _kept.clear()
    else:
        _kept.pop(run_id, None)
    gc.collect()  # frames of attempts that have ended may refer to them in circles
