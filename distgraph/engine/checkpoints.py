"""What a checkpoint saver keeps of one graph, and reading it back: LangGraph's layout, version 4.

Here are plain data and pure functions. The types, clock and serializer of
the saver belong to the code that executes the instructions (``driver/saving.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.missing import MISSING
from distgraph.channels.base import BaseChannel
from distgraph.channels.delta import unwrapped
from distgraph.contract.checkpoint import History, PendingWrite
from distgraph.contract.spec import Write

VERSION = 4

CONTROL = frozenset({k.ERROR, k.ERROR_SOURCE, k.INTERRUPT, k.RESUME})
"""Pending writes with the status of a task. Any other one means that the task finished."""

SPECIAL = frozenset({*CONTROL, k.SCHEDULED})
"""Writes that savers keep in a fixed slot per task: the last one of a kind wins."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The status of one task, from the pending writes of its superstep."""

    output: tuple[Write, ...] = ()
    """Empty unless the task finished."""
    interrupts: tuple[Any, ...] = ()
    """The interrupts that it raised last, resumed or not."""
    resume_values: tuple[Any, ...] = ()
    """The values that it was resumed with so far, in the order of its interrupts."""
    error: Any = None

    @property
    def waiting(self) -> tuple[Any, ...]:
        """Interrupts that are still pending."""
        return () if self.output else self.interrupts


def statuses(pending: Iterable[PendingWrite]) -> dict[str, TaskStatus]:
    """Return the status in the pending writes by task id. Those of the input belong to no task."""
    output: dict[str, list[Write]] = {}
    found: dict[str, dict[str, Any]] = {}
    for task_id, channel, value in pending:
        if task_id == k.NULL_TASK_ID:
            continue
        writes = output.setdefault(task_id, [])
        if channel in CONTROL:
            found.setdefault(task_id, {})[channel] = value
        else:
            writes.append((channel, value))
    return {
        task_id: TaskStatus(
            output=tuple(writes),
            interrupts=_several(found.get(task_id, {}).get(k.INTERRUPT, ())),
            resume_values=_several(found.get(task_id, {}).get(k.RESUME, ())),
            error=found.get(task_id, {}).get(k.ERROR),
        )
        for task_id, writes in output.items()
    }


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def pending_interrupts(pending: Iterable[PendingWrite]) -> list[Any]:
    """Return the interrupts that wait for a resume value."""
    return [i for status in statuses(pending).values() for i in status.waiting]


def channels_from(
    templates: Mapping[str, BaseChannel],
    values: Mapping[str, Any],
    histories: Mapping[str, History] = MappingProxyType({}),
) -> dict[str, BaseChannel]:
    """Return the channels in the state of a checkpoint's values."""
    return {
        n: c.from_writes(unwrapped(histories[n].seed), histories[n].writes)
        if n in histories
        else c.from_checkpoint(unwrapped(values.get(n, MISSING)))
        for n, c in templates.items()
    }


def channel_values(
    channels: Mapping[str, BaseChannel], versions: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a checkpoint keeps of the channels: of those that were ever written."""
    found = {n: c.checkpoint() for n, c in channels.items() if n in versions}
    return {n: v for n, v in found.items() if v is not MISSING}


def checkpoint_of(
    checkpoint_id: str,
    values: Mapping[str, Any] = MappingProxyType({}),
    versions: Mapping[str, Any] = MappingProxyType({}),
    seen: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    updated: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Return a checkpoint, but for its time: by default, that of a thread without state.

    ``updated``: the channels that the last writes changed, None where that is not known.
    """
    return {
        "v": VERSION,
        "id": checkpoint_id,
        "channel_values": dict(values),
        "channel_versions": dict(versions),
        "versions_seen": {node: dict(versions) for node, versions in seen.items()},
        "updated_channels": None if updated is None else sorted(updated),
    }


def increment(current: int | None) -> int:
    """Return the next version, where no saver has its own idea of versions."""
    return (current or 0) + 1


def deduplicated(writes: Sequence[Write]) -> Sequence[Write]:
    """Keep the last of each kind where all of them have a fixed slot."""
    if all(channel in SPECIAL for channel, _ in writes):
        return list({channel: (channel, value) for channel, value in writes}.values())
    return writes
