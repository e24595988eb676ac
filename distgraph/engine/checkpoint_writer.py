"""What one graph of a run saves, and when: pending writes, and checkpoints.

The guarantee is in the order of the instructions: a task's writes go to the saver before the
checkpoint that contains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.ids import path_key
from distgraph.channels.untracked_value import UntrackedValue
from distgraph.contract.checkpoint import PendingWrite, Saved
from distgraph.contract.events import SaveCheckpoint, SaveWrites, ThreadOptions
from distgraph.contract.spec import Write
from distgraph.engine.checkpoints import (
    SPECIAL,
    TaskStatus,
    channel_values,
    checkpoint_of,
    deduplicated,
    statuses,
)
from distgraph.engine.delta_writer import DeltaWriter
from distgraph.engine.deltas import seal, with_message_ids
from distgraph.engine.superstep import Superstep
from distgraph.types import Send

__all__ = ("CheckpointWriter",)


class CheckpointWriter:
    """Pending writes and checkpoints of one graph, saved and still to be saved.

    Without a saver it keeps only the writes of a ``Command`` as input.

    Args:
        superstep: The graph's state.
        options: As they hold for this graph.
        saves: Whether the graph has a saver.
        nested: Whether it runs in a task of another graph.
    """

    def __init__(
        self, superstep: Superstep, options: ThreadOptions, *, saves: bool, nested: bool
    ) -> None:
        self._superstep = superstep
        self._options = options
        self._saves = saves
        self._nested = nested
        self.pending: list[PendingWrite] = []
        """Written on top of the current checkpoint."""
        self.metadata: dict[str, Any] = {"step": -2}
        self.parent_id: str | None = None
        self.found = False
        """Whether the saver had a checkpoint to start from."""
        self.deltas = DeltaWriter(superstep, at_exit=options.durability == "exit")
        self._known: set[str] = set()
        """Tasks that have pending writes."""
        self._written: set[str] = set()
        """Those of them that wrote in this run."""
        self._base_id = superstep.checkpoint_id
        """Id of the checkpoint that the run started from."""
        self._saved_id: str | None = None
        """Id of the last checkpoint that the saver has or was given."""
        self._stored: dict[str, Any] = {}
        """Versions of the channels in the checkpoint ``_saved_id``."""
        self._untracked = frozenset(
            n for n, c in superstep.spec.channels.items() if isinstance(c, UntrackedValue)
        )

    @property
    def _at_once(self) -> bool:
        """Whether to save while the graph runs, and not at its end."""
        return self._saves and self._options.durability != "exit"

    def loaded(self, saved: Saved, *, latest: bool) -> None:
        """Take a loaded checkpoint. ``latest``: it is the last of its thread."""
        self.found = True
        self.metadata = dict(saved.metadata)
        self.parent_id = saved.parent_id
        self.pending = [(str(task), channel, value) for task, channel, value in saved.pending]
        self._known = {task for task, _, _ in self.pending}
        self._superstep.restore(saved.checkpoint, self.metadata.get("step", -2), saved.histories)
        self.deltas.loaded(self.pending, latest=latest)
        self._saved_id = self._base_id = self._superstep.checkpoint_id
        self._stored = dict(self._superstep.versions)

    # --- pending writes -------------------------------------------------------------------------

    def forget(self, channel: str) -> None:
        """Drop the pending writes of one kind."""
        self.pending = [w for w in self.pending if w[1] != channel]

    def null_resume_taken(self) -> None:
        """Drop the resume value without an id, where the saver has not been given it."""
        if not self._at_once:
            taken = (k.NULL_TASK_ID, k.RESUME)
            self.pending = [w for w in self.pending if w[:2] != taken]

    def null_writes(self) -> list[Write]:
        """Return the pending writes of no task: those of a ``Command`` as input."""
        return [(c, v) for task, c, v in self.pending if task == k.NULL_TASK_ID]

    def status(self, task_id: str) -> TaskStatus | None:
        """Return what the pending writes say of one task, None if they say nothing."""
        if task_id not in self._known:  # looking through all writes for each call is quadratic
            return None
        return statuses(w for w in self.pending if w[0] == task_id).get(task_id)

    def record(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> list[SaveWrites]:
        """Keep a task's writes until the checkpoint that contains them.

        Messages for a ``DeltaChannel`` get their ids, in place.
        """
        if self.deltas.names and isinstance(writes, list):
            with_message_ids(self._superstep.spec.channels, writes)
        if not self._saves and task_id != k.NULL_TASK_ID:
            return []
        writes = deduplicated(writes)
        if task_id == k.NULL_TASK_ID:
            kept = [w for w in self.pending if not (w[0] == task_id and w[1] in SPECIAL)]
            writes = [
                *(w[1:] for w in kept if w[0] == task_id),
                *sorted(writes, key=lambda w: w[0] in SPECIAL),
            ]
            self.pending = [w for w in kept if w[0] != task_id]
        elif task_id in self._known:
            self.pending = [w for w in self.pending if w[0] != task_id]
        self._known.add(task_id)
        self.pending += [(task_id, channel, value) for channel, value in writes]
        self._written.add(task_id)
        return [self._save_writes(task_id, path, writes)] if self._at_once else []

    def _save_writes(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> SaveWrites:
        kept = [
            (channel, self._tracked(value) if channel == k.TASKS else value)
            for channel, value in writes
            if channel not in self._untracked
        ]
        key = path_key(path[:3]) if path else ""
        return SaveWrites(
            self._superstep.ns, self._superstep.checkpoint_id, task_id, key, tuple(kept)
        )

    def _tracked(self, value: Any) -> Any:
        """Leave values of untracked channels out of a ``Send``'s argument."""
        if not (self._untracked and isinstance(value, Send) and isinstance(value.arg, dict)):
            return value
        kept = {key: v for key, v in value.arg.items() if key not in self._untracked}
        return Send(value.node, kept, timeout=value.timeout)

    # --- checkpoints ----------------------------------------------------------------------------

    def checkpoint(self, source: str) -> list[SaveCheckpoint]:
        """End a step: the graph gets a new checkpoint, which is saved now or at the exit."""
        if source == "loop":
            self.deltas.finished(self.pending)
        self.metadata = {
            "source": source,
            "step": self._superstep.step,
            "parents": dict(self._options.checkpoint_map),
            **self.deltas.counted(self.metadata, writes=source != "fork"),
        }
        self._superstep.advance()
        if source == "loop":
            self.pending = []
            self._known.clear()
            self._written.clear()
        return [self._save()] if self._at_once else []

    def _save(self) -> SaveCheckpoint:
        superstep = self._superstep
        self.parent_id = parent = self._saved_id
        values = channel_values(superstep.channels, superstep.versions)
        if k.TASKS in values:
            values[k.TASKS] = [self._tracked(send) for send in values[k.TASKS]]
        if whole := self.deltas.due(self.metadata):
            values = seal(whole, superstep, values, stored=self._stored)
            self.deltas.saved(whole, self.metadata)
        new = {c: v for c, v in superstep.versions.items() if self._stored.get(c) != v}
        self._stored = dict(superstep.versions)
        self._saved_id = superstep.checkpoint_id
        checkpoint = checkpoint_of(
            superstep.checkpoint_id, values, superstep.versions, superstep.seen, superstep.updated
        )
        return SaveCheckpoint(superstep.ns, parent, checkpoint, dict(self.metadata), new)

    # --- the end --------------------------------------------------------------------------------

    def settle(self, *, failed: bool) -> list[Any]:
        """Return what is left to be saved when the graph ends: in durability "exit", all of it.

        A subgraph's end is part of its parent's, unless it failed, stopped, or keeps a history of
        its own.
        """
        if not self._saves or self._at_once:
            return []
        own_history = all(k.NS_END not in part for part in self._superstep.ns.split(k.NS_SEP))
        if self._nested and not failed and not own_history:
            return []
        if not self.found and "source" not in self.metadata:  # its input was refused
            return []
        out: list[Any] = self._save_left_deltas()
        if self._superstep.checkpoint_id != self._saved_id:
            out.append(self._save())
        by_task: dict[str, list[Write]] = {}
        for task_id, channel, value in self.pending:
            if task_id in self._written:
                by_task.setdefault(task_id, []).append((channel, value))
        for task_id, writes in by_task.items():
            task = self._superstep.tasks.get(task_id)
            out.append(self._save_writes(task_id, () if task is None else task.path, writes))
        self._written.clear()
        return out

    def _save_left_deltas(self) -> list[Any]:
        """Save, at the exit, the writes of all supersteps on the checkpoint before them.

        A new thread has none: it gets an empty one.
        """
        out: list[Any] = []
        ns, base = self._superstep.ns, self._base_id
        left = self.deltas.left(self.metadata)
        if left and not self.found:
            self._saved_id = base
            out.append(SaveCheckpoint(ns, None, checkpoint_of(base), {"step": -2}, {}))
        out += [SaveWrites(ns, base, task, path, tuple(writes)) for task, path, writes in left]
        return out
