"""What one graph of a run saves of its ``DeltaChannel``s: snapshots, counters, exit writes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.ids import path_key
from distgraph.contract.checkpoint import PendingWrite
from distgraph.contract.spec import Write
from distgraph.engine import deltas
from distgraph.engine.superstep import Superstep

__all__ = ("DeltaWriter",)

ExitWrite = tuple[int, str, str, str, Any]
"""Step, task id, path, channel, value."""


class DeltaWriter:
    """Decides which channels the next checkpoint saves whole, and what an exit saves beside it."""

    def __init__(self, graph: Superstep, *, at_exit: bool) -> None:
        self._graph = graph
        self.names = deltas.names_of(graph.spec.channels)
        self._at_exit = at_exit
        """Whether all is saved when the run ends (durability "exit")."""
        self._forced: set[str] = set()
        self._base: str | None = None
        """The checkpoint that the run started from, None for a new thread."""
        self._latest = False
        """Whether ``_base`` is the last checkpoint of its thread: its writes are this run's."""
        self._stored: set[tuple[str, str]] = set()
        self._given: Sequence[PendingWrite] = ()
        """Pending writes of the loaded superstep. They go to its tasks, if these still exist."""
        self._command: list[Write] = []
        self._first_step: int | None = None
        self._kept: list[ExitWrite] = []

    # --- the start ------------------------------------------------------------------------------

    def loaded(self, pending: Sequence[PendingWrite], *, latest: bool) -> None:
        """Note the checkpoint that the run starts from. ``latest``: the last of its thread."""
        self._base = self._graph.checkpoint_id
        self._latest = latest
        loose = k.NULL_TASK_ID
        self._stored = {(t, c) for t, c, _ in pending if t != loose and c in self.names}

    def entered(self, pending: Sequence[PendingWrite], *, hands_back: bool) -> None:
        """Note how the run begins. ``hands_back``: finished tasks do not run again."""
        if hands_back:
            self._given = [w for w in pending if w[0] != k.NULL_TASK_ID]
        else:
            self._forced = deltas.touched(self.names, pending)

    def commanded(self, writes: list[Write], *, carried: bool) -> None:
        """Take the writes of a ``Command`` as input. ``carried``: onto a fork of the checkpoint."""
        deltas.with_message_ids(self._graph.spec.channels, writes)
        if carried:
            self._forced |= deltas.touched(self.names, [("", c, v) for c, v in writes])
        elif self._at_exit:
            self._command += [(c, v) for c, v in writes if c in self.names]

    def input(self, writes: list[Write]) -> tuple[str, list[Write]] | None:
        """Take the writes of the run's input.

        Returns the task id and the writes to save on the loaded checkpoint, if there are any.
        """
        if not self.names:
            return None
        deltas.with_message_ids(self._graph.spec.channels, writes)
        self._forced |= deltas.overwritten_in(self.names, writes)
        own = [(c, v) for c, v in writes if c in self.names]
        if self._at_exit:
            self._kept += [(self._graph.step, k.NULL_TASK_ID, "", c, v) for c, v in own]
        elif own and self._latest and self._base is not None:
            # not as writes without a task: those count as the checkpoint's own state
            return str(uuid.uuid5(uuid.UUID(self._graph.checkpoint_id), k.INPUT)), own
        else:
            self._forced |= {c for c, _ in own}
        return None

    # --- steps ----------------------------------------------------------------------------------

    def finished(self, pending: Sequence[PendingWrite]) -> None:
        """Take the pending writes of a superstep at its end, while its tasks still exist."""
        if not self.names:
            return
        tasks = self._graph.tasks
        written = (w for task in tasks.values() for w in task.writes)
        self._forced |= deltas.overwritten_in(self.names, written)
        self._forced |= deltas.touched(self.names, [w for w in self._given if w[0] not in tasks])
        self._given = ()
        if not self._at_exit:
            return
        step = self._graph.step
        first = self._first_step is None
        if first:
            self._first_step = step
            self._kept += [(step, k.NULL_TASK_ID, "", c, v) for c, v in self._command]
        for task_id, channel, value in pending:
            if channel not in self.names:
                continue
            if first and (task_id == k.NULL_TASK_ID or (task_id, channel) in self._stored):
                continue
            task = tasks.get(task_id)
            path = "" if task is None else path_key(task.path[:3])
            self._kept.append((step, task_id, path, channel, value))

    def counted(self, metadata: Mapping[str, Any], *, writes: bool) -> dict[str, Any]:
        """Return the counters after a superstep, as metadata of its checkpoint.

        ``writes``: whether the last updates of channels are of this superstep.
        """
        before = metadata.get(deltas.COUNTERS) or {}
        updated = (self._graph.updated or ()) if writes else ()
        counters = deltas.stepped(self.names, before, updated)
        return {deltas.COUNTERS: counters} if counters else {}

    # --- saving ---------------------------------------------------------------------------------

    def due(self, metadata: Mapping[str, Any]) -> set[str]:
        """Return the channels that the next checkpoint holds whole."""
        counters = metadata.get(deltas.COUNTERS) or {}
        graph = self._graph
        return deltas.due(graph.channels, counters, graph.versions) | self._forced

    def saved(self, names: Iterable[str], metadata: dict[str, Any]) -> None:
        """Note that a checkpoint holds these channels whole, in its metadata too."""
        self._forced.difference_update(names)
        counters = {n: c for n, c in metadata.get(deltas.COUNTERS, {}).items() if n not in names}
        metadata.pop(deltas.COUNTERS, None)
        if counters:
            metadata[deltas.COUNTERS] = counters

    def left(self, metadata: Mapping[str, Any]) -> list[tuple[str, str, list[Write]]]:
        """Return what an exit saves on the checkpoint that the run started from.

        Tuples of task id, path and writes: those of all supersteps, in an order that savers keep,
        without channels that the run's checkpoint holds whole.
        """
        if not self._kept:
            return []
        if self._base is not None and not self._latest:  # others may follow that checkpoint
            self._forced |= {w[3] for w in self._kept}
        names = self.due(metadata)
        grouped: dict[tuple[str, str], list[Write]] = {}
        for step, task_id, path, channel, value in self._kept:
            if channel in names:
                continue
            if task_id == k.NULL_TASK_ID:
                key = (deltas.early_id(step, task_id), "")
            elif step == self._first_step:
                key = (deltas.early_id(step, task_id), path)
            else:
                key = (deltas.late_id(step, task_id), f"~~{step:010d}{path}")
            grouped.setdefault(key, []).append((channel, value))
        self._kept = []
        return [(*key, writes) for key, writes in grouped.items()]
