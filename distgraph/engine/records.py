"""What is saved of one graph of a run: writes pending on its checkpoint, and checkpoints.

The order in which instructions leave is the guarantee: what a task wrote goes to the saver before
the checkpoint that contains it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from distgraph.engine.delta_run import DeltaRun
from distgraph.engine.deltas import seal
from distgraph.engine.message_ids import with_message_ids
from distgraph.engine.superstep import Superstep
from distgraph.types import Send

__all__ = ("Records",)


class Records:
    """What a graph has saved, and has still to save. Its ``Ledger`` drives them.

    Without a saver it keeps what the run itself goes on from: the writes of a ``Command`` as input.

    Args:
        thread: As it holds for this graph.
        saves: Whether the graph has a saver.
        nested: Whether it runs in a task of another graph.
    """

    def __init__(
        self, graph: Superstep, thread: ThreadOptions, *, saves: bool, nested: bool
    ) -> None:
        self._graph = graph
        self._thread = thread
        self._saves = saves
        self._nested = nested
        self.pending: list[PendingWrite] = []
        """Written on top of the current checkpoint."""
        self.metadata: dict[str, Any] = {"step": -2}
        self.parent_id: str | None = None
        self.found = False
        """Whether the saver had a checkpoint to start from."""
        self.deltas = DeltaRun(graph, at_exit=thread.durability == "exit")
        self._known: set[str] = set()
        """Tasks that have pending writes."""
        self._written: set[str] = set()
        """Those of them that wrote in this run."""
        self._base_id = graph.checkpoint_id
        """The checkpoint that the run started from."""
        self._saved_id: str | None = None
        """The last one that the saver has or was given."""
        self._stored: dict[str, Any] = {}
        """The versions of the channels in that."""
        self._untracked = frozenset(
            n for n, c in graph.spec.channels.items() if isinstance(c, UntrackedValue)
        )

    @property
    def _at_once(self) -> bool:
        """Whether the saver is told while the graph runs, and not at its end."""
        return self._saves and self._thread.durability != "exit"

    def loaded(self, saved: Saved, *, latest: bool) -> None:
        """Take what the saver had. ``latest``: nothing on the thread follows it."""
        self.found = True
        self.metadata = dict(saved.metadata)
        self.parent_id = saved.parent_id
        self.pending = [(str(task), channel, value) for task, channel, value in saved.pending]
        self._known = {task for task, _, _ in self.pending}
        self._graph.restore(saved.checkpoint, self.metadata.get("step", -2), saved.histories)
        self.deltas.loaded(self.pending, latest=latest)
        self._saved_id = self._base_id = self._graph.checkpoint_id
        self._stored = dict(self._graph.versions)

    # --- pending writes -------------------------------------------------------------------------

    def forget(self, channel: str) -> None:
        """Drop the pending writes of one kind."""
        self.pending = [w for w in self.pending if w[1] != channel]

    def loose(self) -> list[Write]:
        """Return the pending writes that no task has made: those of a ``Command`` as input."""
        return [(c, v) for task, c, v in self.pending if task == k.NULL_TASK_ID]

    def status(self, task_id: str) -> TaskStatus | None:
        """Return what is known of one task."""
        if task_id not in self._known:  # looking through all writes for each call is quadratic
            return None
        return statuses(w for w in self.pending if w[0] == task_id).get(task_id)

    def record(
        self, task_id: str, path: tuple[Any, ...], writes: Sequence[Write]
    ) -> list[SaveWrites]:
        """Keep what a task wrote, until the checkpoint that contains it.

        Messages for a ``DeltaChannel`` get their ids, in the list that is given.
        """
        if self.deltas.names and isinstance(writes, list):
            with_message_ids(self._graph.spec.channels, writes)
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
        return SaveWrites(self._graph.ns, self._graph.checkpoint_id, task_id, key, tuple(kept))

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
            "step": self._graph.step,
            "parents": dict(self._thread.checkpoint_map),
            **self.deltas.counted(self.metadata, writes=source != "fork"),
        }
        self._graph.advance()
        if source == "loop":
            self.pending = []
            self._known.clear()
            self._written.clear()
        return [self._save()] if self._at_once else []

    def _save(self) -> SaveCheckpoint:
        graph = self._graph
        self.parent_id = parent = self._saved_id
        values = channel_values(graph.channels, graph.versions)
        if k.TASKS in values:
            values[k.TASKS] = [self._tracked(send) for send in values[k.TASKS]]
        if whole := self.deltas.due(self.metadata):
            values = self._seal(whole, values)
        new = {c: v for c, v in graph.versions.items() if self._stored.get(c) != v}
        self._stored = dict(graph.versions)
        self._saved_id = graph.checkpoint_id
        checkpoint = checkpoint_of(
            graph.checkpoint_id, values, graph.versions, graph.seen, graph.updated
        )
        return SaveCheckpoint(graph.ns, parent, checkpoint, dict(self.metadata), new)

    def _seal(self, names: set[str], values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a checkpoint's values with these ``DeltaChannel``s whole."""
        graph = self._graph
        sealed = seal(
            names,
            graph.channels,
            values,
            graph.versions,
            graph.seen,
            stored=self._stored,
            next_version=graph.next_version,
            trigger_to_nodes=graph.spec.trigger_to_nodes,
        )
        graph.versions, graph.seen = sealed.versions, sealed.seen
        self.deltas.saved(names, self.metadata)
        return sealed.values

    # --- the end --------------------------------------------------------------------------------

    def settle(self, *, failed: bool) -> list[Any]:
        """Return what is left to be saved when the graph ends: in durability "exit", all of it.

        A subgraph's end is part of its parent's, unless it failed, stopped, or keeps a history of
        its own.
        """
        if not self._saves or self._at_once:
            return []
        own_history = all(k.NS_END not in part for part in self._graph.ns.split(k.NS_SEP))
        if self._nested and not failed and not own_history:
            return []
        out: list[Any] = self._save_left_deltas()
        if self._graph.checkpoint_id != self._saved_id:
            out.append(self._save())
        by_task: dict[str, list[Write]] = {}
        for task_id, channel, value in self.pending:
            if task_id in self._written:
                by_task.setdefault(task_id, []).append((channel, value))
        for task_id, writes in by_task.items():
            task = self._graph.tasks.get(task_id)
            out.append(self._save_writes(task_id, () if task is None else task.path, writes))
        self._written.clear()
        return out

    def _save_left_deltas(self) -> list[Any]:
        """Save, at the exit, the writes of all supersteps on the checkpoint before them.

        A new thread has none: it gets an empty one.
        """
        out: list[Any] = []
        ns, base = self._graph.ns, self._base_id
        left = self.deltas.left(self.metadata)
        if left and not self.found:
            self._saved_id = base
            out.append(SaveCheckpoint(ns, None, checkpoint_of(base), {"step": -2}, {}))
        out += [SaveWrites(ns, base, task, path, tuple(writes)) for task, path, writes in left]
        return out
