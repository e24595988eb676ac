"""Payloads of the driver's own events, from the writes of tasks and the channels.

Shapes as in LangGraph 1.2 (modes ``values``, ``updates``, ``tasks``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distgraph._internal.keys import INTERRUPT, POSITION, RETURN
from distgraph.channels.base import BaseChannel
from distgraph.constants import TAG_HIDDEN
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import Write
from distgraph.errors import EmptyChannelError

Keys = Sequence[str] | str

_NOT_SHOWN = POSITION | {"checkpoint_id", "checkpoint_ns", "checkpoint_map", "thread_id"}
"""Keys of a task's metadata that events of mode ``tasks`` leave out, as in LangGraph."""


def read_value(channels: Mapping[str, BaseChannel], key: str) -> Any:
    """Return a channel's value, None when it is empty."""
    try:
        return channels[key].get()
    except EmptyChannelError:
        return None


def read_values(channels: Mapping[str, BaseChannel], keys: Keys) -> Any:
    """Return a dict of the channels that are set, or the bare value for a str."""
    if isinstance(keys, str):
        return read_value(channels, keys)
    found = {}
    for key in keys:
        channel = channels[key]
        if channel.is_available():
            found[key] = channel.get()
    return found


def touches(keys: Keys, writes: Sequence[Write]) -> bool:
    """Whether any of the writes goes to one of the keys."""
    return any((c == keys) if isinstance(keys, str) else (c in keys) for c, _ in writes)


def update_of(name: str, writes: Sequence[Write], keys: Keys) -> dict[str, Any]:
    """Return the ``updates`` chunk of one task: ``{node: what it wrote, by key}``."""
    returned = [v for c, v in writes if c == RETURN]
    if returned:
        return {name: returned[0]}
    if isinstance(keys, str):
        values = [v for c, v in writes if c == keys]
    else:
        shown = [(c, v) for c, v in writes if c in keys]
        if not shown:
            values = []
        elif max(Counter(c for c, _ in shown).values()) > 1:
            values = [{c: v} for c, v in shown]
        else:
            values = [dict(shown)]
    if not values:
        return {name: None}
    return {name: values[0] if len(values) == 1 else values}


def task_payload(
    task_id: str,
    name: str,
    value: Any,
    triggers: Sequence[str],
    metadata: Mapping[str, Any],
    tags: Sequence[str],
) -> dict[str, Any]:
    """Return the ``tasks`` chunk of a task that starts."""
    payload: dict[str, Any] = {"id": task_id, "name": name, "input": value, "triggers": triggers}
    own = {k: v for k, v in metadata.items() if k not in _NOT_SHOWN}
    user_tags = [t for t in tags if t != TAG_HIDDEN]
    if user_tags:
        own["tags"] = user_tags
    if own:
        payload["metadata"] = own
    return payload


def task_result_payload(
    task_id: str,
    name: str,
    writes: Sequence[Write],
    keys: Keys,
    error: ShippedError | BaseException | None = None,
    interrupts: Sequence[Any] = (),
) -> dict[str, Any]:
    """Return the ``tasks`` chunk of a task that ended."""
    shown = (keys,) if isinstance(keys, str) else keys
    return {
        "id": task_id,
        "name": name,
        "error": error,
        "result": folded([w for w in writes if w[0] in shown or w[0] == RETURN]),
        "interrupts": [asdict(i) for i in interrupts],
    }


def folded(writes: Sequence[Write]) -> dict[str, Any]:
    """Return writes by channel; several to one channel as ``{"$writes": [...]}``."""
    counts = Counter(c for c, _ in writes)
    result: dict[str, Any] = {}
    for channel, value in writes:
        if counts[channel] == 1:
            result[channel] = value
        else:
            result.setdefault(channel, {"$writes": []})["$writes"].append(value)
    return result


def result_of(writes: Sequence[Write], keys: Keys) -> Any:
    """Return what a finished task gave, as the state's snapshot shows it."""
    returned = [v for c, v in writes if c == RETURN]
    if returned:
        return returned[0]
    if isinstance(keys, str):
        return folded([w for w in writes if w[0] == keys]).get(keys)
    return folded([w for w in writes if w[0] in keys])


def with_interrupts(values: Any, interrupts: Sequence[Any]) -> dict[str, Any]:
    """Return a ``values`` chunk that carries interrupts."""
    base = dict(values) if isinstance(values, Mapping) else {}
    return {**base, INTERRUPT: tuple(interrupts)}
