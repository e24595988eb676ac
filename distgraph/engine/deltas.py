"""How ``DeltaChannel``s are saved: their writes along the checkpoints, a snapshot now and then.

The layout and the rules are LangGraph's. What a step wrote is on the checkpoint below it; reading a
channel goes back to its last snapshot and replays the writes since. So wherever writes on a
checkpoint belong to another branch of the thread, the next checkpoint has to hold a snapshot.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.config import DELTA_SUPERSTEPS
from distgraph.channels.base import BaseChannel
from distgraph.channels.binop import overwritten
from distgraph.channels.delta import DeltaSnapshot
from distgraph.contract.spec import Write
from distgraph.engine.superstep import Superstep

__all__ = (
    "BUMPS",
    "COUNTERS",
    "due",
    "late_id",
    "names_of",
    "overwritten_in",
    "replayable",
    "seal",
    "seen_without_bumps",
    "stepped",
    "touched",
    "with_message_ids",
)

COUNTERS = "counters_since_delta_snapshot"
"""In a checkpoint's metadata: per channel, its updates and all supersteps since its snapshot."""

BUMPS = "__snapshot_bumps__"
"""In ``versions_seen``: versions that were raised to save a snapshot, and not by a write."""

MAX_SUPERSTEPS = DELTA_SUPERSTEPS
"""Supersteps after which a channel that nobody writes any more is saved whole."""

Counters = Mapping[str, Sequence[int]]
Channels = Mapping[str, BaseChannel]
Versions = Mapping[str, Any]
Pending = Iterable[tuple[str, str, Any]]


# --- reading --------------------------------------------------------------------------------------


def replayable(channels: Channels) -> tuple[str, ...]:
    """Return the channels whose value may have to be made from writes."""
    return tuple(n for n, c in channels.items() if c.replays)


def to_replay(names: Iterable[str], checkpoint: Mapping[str, Any]) -> list[str]:
    """Return those of which a checkpoint has a version, and no value."""
    versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
    return [n for n in names if n in versions and n not in values]


# --- when to save a value whole -------------------------------------------------------------------


def names_of(channels: Channels) -> frozenset[str]:
    """Return the names of the channels that are saved as writes."""
    return frozenset(n for n, c in channels.items() if c.saved_as_writes)


def with_message_ids(channels: Channels, writes: list[Write]) -> None:
    """Give messages in writes to channels that are saved as writes their ids, in place."""
    for index, (name, value) in enumerate(writes):
        channel = channels.get(name)
        if channel is not None and channel.saved_as_writes:
            writes[index] = (name, channel.with_ids(value))


def touched(names: frozenset[str], pending: Pending) -> set[str]:
    """Return the channels that pending writes go to.

    The child of a checkpoint that took them is unknown, so another child has to hold a snapshot.
    """
    return {channel for _, channel, _ in pending if channel in names}


def overwritten_in(names: frozenset[str], writes: Iterable[Write]) -> set[str]:
    """Return the channels that an ``Overwrite`` replaces the value of: older writes are void."""
    return {c for c, value in writes if c in names and overwritten(value) is not None}


def stepped(names: frozenset[str], counters: Counters, updated: Iterable[str]) -> dict[str, Any]:
    """Return the counters behind one more superstep."""
    updated = set(updated)
    found: dict[str, Any] = {}
    for name in sorted(names):
        updates, supersteps = counters.get(name, (0, 0))
        found[name] = (updates + (name in updated), supersteps + 1)
    return found


def due(channels: Channels, counters: Counters, versions: Versions) -> set[str]:
    """Return the channels that are to be saved whole, by their counters."""
    found: set[str] = set()
    for name, channel in channels.items():
        if channel.saved_as_writes and channel.is_available() and name in versions:
            updates, supersteps = counters.get(name, (0, 0))
            if channel.snapshot_due(updates) or supersteps >= MAX_SUPERSTEPS:
                found.add(name)
    return found


def seal(
    names: Iterable[str], superstep: Superstep, values: Mapping[str, Any], *, stored: Versions
) -> dict[str, Any]:
    """Return a checkpoint's values with snapshots of the named channels.

    Savers store the value of a channel whose version is new (``stored``: the old versions). Where a
    snapshot is saved without a write, the channel's version is raised, and the nodes that had seen
    the old version count as having seen the new one: it is no reason to run.
    """
    sealed, raised = dict(values), {}
    versions = superstep.versions = dict(superstep.versions)
    for name in sorted(names):
        old = versions.get(name)
        if old is None or old == stored.get(name):
            versions[name] = superstep.next_version(old)
            raised[name] = (old, versions[name])
        sealed[name] = DeltaSnapshot(superstep.channels[name].get())
    if raised:
        superstep.seen = {node: dict(seen) for node, seen in superstep.seen.items()}
        _note_raised(superstep.seen, raised, superstep.spec.trigger_to_nodes)
    return sealed


def _note_raised(
    seen: dict[str, dict[str, Any]],
    raised: Mapping[str, tuple[Any, Any]],
    trigger_to_nodes: Mapping[str, Sequence[str]],
) -> None:
    for name, (old, _) in raised.items():
        if old is None:  # those that never ran would start on it
            for node in trigger_to_nodes.get(name, ()):
                seen.setdefault(node, {})
    marks = dict(seen.get(BUMPS, {}))
    for node, versions in seen.items():
        if node == BUMPS:
            continue
        for name, (old, new) in raised.items():
            if versions.get(name) != old:
                continue
            advanced, read = _mark_keys(node, name)
            if old is not None and marks.get(advanced) != old:
                marks[read] = old
            marks[advanced] = new
            versions[name] = new
    if marks:
        seen[BUMPS] = marks


def _mark_keys(node: str, channel: str) -> tuple[str, str]:
    return f"{node}{k.NS_SEP}{channel}", f"{node}{k.NS_END}{channel}"


def seen_without_bumps(seen: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the nodes have read: without versions that were only raised for a snapshot."""
    marks = seen.get(BUMPS, {})
    found: dict[str, dict[str, Any]] = {}
    for node, versions in seen.items():
        if node == BUMPS:
            continue
        found[node] = {}
        for name, version in versions.items():
            advanced, read = _mark_keys(node, name)
            if marks.get(advanced) != version:
                found[node][name] = version
            elif read in marks:
                found[node][name] = marks[read]
    return found


# --- durability "exit" ----------------------------------------------------------------------------


def early_id(step: int, task_id: str) -> str:
    """Return the id under which a write of the run's first superstep is saved at its exit.

    It is not the task's own: where the run's checkpoint fails to be saved, the task is not done.
    """
    rest = str(uuid.UUID(task_id)).split("-", 1)[1]
    made = f"{step:08d}-{rest}"
    return f"{step:08d}-0000-0000-0000-000000000001" if made == k.NULL_TASK_ID else made


def late_id(step: int, task_id: str) -> str:
    """Return the id for a write of a later superstep: it sorts behind all tasks, by steps."""
    rest = str(uuid.UUID(task_id)).split("-", 3)[3]
    return f"ffffffff-{step >> 16:04x}-{step & 0xFFFF:04x}-{rest}"
