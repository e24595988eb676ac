"""Values that stay in the process of a pinned worker: the state holds a handle of each.

Nodes with ``ray_options={"affinity": "run"}`` share one process for a run. What such a node returns
and cannot be pickled stays there; in that process the handle becomes the value again.
"""

from __future__ import annotations

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

__all__ = ("Pinned", "drop_all", "pinned")

_kept: dict[str, Any] = {}
_ids: dict[int, str] = {}


class Pinned:
    """Takes the place of a value that is in the process of a pinned worker only.

    Attributes:
        id: Names the value.
        kind: Qualified name of the value's class.
        node: The node that returned it.
        key: The state key.
    """

    __slots__ = ("id", "key", "kind", "node")

    def __init__(self, id: str, kind: str, node: str, key: str) -> None:
        self.id = id
        self.kind = kind
        self.node = node
        self.key = key

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return _arrive, (self.id, self.kind, self.node, self.key)

    def __repr__(self) -> str:
        return f"<{self.kind} of state key {self.key!r}, in the pinned worker of its run>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise SerializationError(
            f"state key {self.key!r} holds a {self.kind} that node {self.node!r} returned. It "
            f"exists in the pinned worker of its run only (process {os.getpid()} is another). "
            "Give the node or tool that uses it ray_options={'affinity': 'run'} as well"
        )


def _arrive(id: str, kind: str, node: str, key: str) -> Any:
    return _kept[id] if id in _kept else Pinned(id, kind, node, key)


def pinned(
    outcome: AttemptOutcome, request: AttemptRequest, channels: Mapping[str, Any]
) -> AttemptOutcome:
    """Return an outcome with a handle for each value written that cannot leave this process.

    Raises:
        SerializationError: One of them would be saved in a checkpoint.
    """
    handled = (_handled(write, request, channels) for write in outcome.writes)
    return replace(outcome, writes=tuple(handled))


def _handled(write: Write, request: AttemptRequest, channels: Mapping[str, Any]) -> Write:
    channel, value = write
    why = pickling.reason(value)
    if not why:
        return write
    if request.standing is not None and not isinstance(channels.get(channel), UntrackedValue):
        raise SerializationError(
            f"the value of {channel!r} stays in the pinned worker of its run ({why}), and the "
            "thread is saved by a checkpointer, which cannot hold it. Annotate the key with "
            "UntrackedValue"
        )
    name = _ids.get(id(value))
    if name is None or _kept.get(name) is not value:
        name = _ids[id(value)] = uuid.uuid4().hex
        _kept[name] = value
    cls = type(value)
    return channel, Pinned(name, f"{cls.__module__}.{cls.__qualname__}", request.node, channel)


def drop_all() -> None:
    """Let go of all values, so that their finalizers run."""
    _kept.clear()
    _ids.clear()
