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
from dataclasses import replace
from typing import Any

from distgraph.channels.untracked_value import UntrackedValue
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.spec import Write
from distgraph.errors import SerializationError
from distgraph.serde import pickling
from distgraph.types import Send

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
    outcome: AttemptOutcome, request: AttemptRequest, channels: Mapping[str, Any], run_id: str
) -> AttemptOutcome:
    """Return an outcome with a handle for each value written that cannot leave this process.

    The values are kept until ``drop(run_id)``.

    Raises:
        SerializationError: One of them would be saved in a checkpoint.
    """
    kept = _kept.setdefault(run_id, {})
    handled = (_handled(write, request, channels, kept) for write in outcome.writes)
    return replace(outcome, writes=tuple(handled))


def _handled(
    write: Write, request: AttemptRequest, channels: Mapping[str, Any], kept: dict[str, Any]
) -> Write:
    channel, value = write
    if not pickling.reason(value):
        return write

    def handle(key: str, value: Any, remedy: str = "Annotate the key with UntrackedValue") -> Any:
        why = pickling.reason(value)
        if not why:
            return value
        if request.standing is not None and not isinstance(channels.get(key), UntrackedValue):
            raise SerializationError(
                f"node {request.node!r}, step {request.step}: the value of {key!r} stays in the "
                f"pinned worker of its run ({why}), and the thread is saved by a checkpointer, "
                f"which cannot hold it. {remedy}"
            )
        return _handle(key, value, request.node, kept)

    if not isinstance(value, Send):
        return channel, handle(channel, value)
    # the driver reads where it goes; what it takes along is the state of the node there
    if isinstance(value.arg, dict):
        arg: Any = {key: handle(key, each) for key, each in value.arg.items()}
    else:
        remedy = "Send a dict with the value under a key that is annotated with UntrackedValue"
        arg = handle(f"Send({value.node!r})", value.arg, remedy)
    return channel, Send(value.node, arg, timeout=value.timeout)


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
