"""One graph in execution: channels, versions, what each node has seen, and the tasks of a step.

The rules are those of Pregel as LangGraph plays them. A node runs when a channel that triggers it
has a version that it has not seen. The writes of a step become visible together, at its end,
applied in the order of task paths: never in the order in which tasks happened to finish, so the
state does not depend on timing.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from distgraph import _keys as k
from distgraph.channels.base import BaseChannel
from distgraph.constants import TAG_HIDDEN
from distgraph.engine.ids import NewCheckpointId, path_key, task_id
from distgraph.engine.outputs import read_values
from distgraph.engine.spec import GraphSpec, NodeSpec, Part, Write
from distgraph.errors import InvalidUpdateError

logger = logging.getLogger("distgraph")

_UNSET = object()

Status = Literal["running", "done", "failed", "interrupted"]


class TaskWrites(NamedTuple):
    """Writes that are applied together: those of a task, or of the input."""

    path: tuple[Any, ...]
    name: str
    writes: Sequence[Write]
    triggers: Sequence[str]


@dataclass(eq=False, slots=True)
class Pieces:
    """The parts of a task and what has come of them."""

    value: Any
    """The task's input."""
    parts: Sequence[Part]
    results: list[Any]
    open: int
    sent: dict[int, Sequence[Write]] = field(default_factory=dict)
    """Writes that code inside a part made by itself."""


@dataclass(eq=False, slots=True)
class Task:
    """One task of the current superstep."""

    id: str
    name: str
    path: tuple[Any, ...]
    triggers: tuple[str, ...]
    node: NodeSpec
    ns: str
    """Checkpoint namespace of the task, which a subgraph in it has as its own."""
    metadata: dict[str, Any]
    input: Any
    """Argument of the ``Send`` that started it; unused where ``pulled``."""
    pulled: bool
    attempt: int = 1
    status: Status = "running"
    writes: list[Write] = field(default_factory=list)
    interrupts: tuple[Any, ...] = ()
    pieces: Pieces | None = None
    """Set while the task's work runs in parts."""
    sent: list[Write] = field(default_factory=list)
    """Writes of the parts' code, in the order of the parts: they precede the node's own."""

    @property
    def hidden(self) -> bool:
        """Whether the task appears in no stream."""
        return TAG_HIDDEN in self.node.tags


class Superstep:
    """State of one graph in execution. Only the ``Machine`` drives it."""

    def __init__(
        self,
        spec: GraphSpec,
        *,
        ns: str,
        limit: int,
        new_checkpoint_id: NewCheckpointId,
        base_metadata: Mapping[str, Any],
    ) -> None:
        self.spec = spec
        self.ns = ns
        self.step = -1
        self.stop = limit
        """The last step that may run."""
        self.channels: dict[str, BaseChannel] = {n: c.copy() for n, c in spec.channels.items()}
        self.versions: dict[str, int] = {}
        self.seen: dict[str, dict[str, int]] = {}
        self.seen_at_interrupt: dict[str, int] = {}
        self.tasks: dict[str, Task] = {}
        self.updated: set[str] = set()
        self._new_checkpoint_id = new_checkpoint_id
        self.checkpoint_id = new_checkpoint_id(ns, -2)
        self._base_metadata = base_metadata

    # --- the start ------------------------------------------------------------------------------

    def apply_input(self, value: Any) -> bool:
        """Write the input to the input channels. Return False when there is none."""
        keys = self.spec.input_channels
        if value is None:
            return False
        if isinstance(keys, str):
            writes: list[Write] = [(keys, value)]
        elif isinstance(value, Mapping):
            writes = [(c, v) for c, v in value.items() if c in keys]
            for name in value.keys() - set(keys):
                logger.warning("input key %r is none of the graph's input channels", name)
        else:
            raise TypeError(f"the graph's input must be a dict, got {type(value).__name__}")
        if not writes:
            return False
        self.apply((TaskWrites((), k.INPUT, writes, ()),))
        self._advance()
        return True

    def _advance(self) -> None:
        self.checkpoint_id = self._new_checkpoint_id(self.ns, self.step)
        self.step += 1

    # --- what runs next -------------------------------------------------------------------------

    def prepare(self) -> list[Task]:
        """Return the tasks of the next step: first those of ``Send``s, then triggered nodes by
        name."""
        tasks = [*self._pushed(), *self._pulled()]
        self.tasks = {t.id: t for t in tasks}
        return tasks

    def _pushed(self) -> Iterable[Task]:
        channel = self.channels.get(k.TASKS)
        if channel is None or not channel.is_available():
            return
        for index, send in enumerate(channel.get()):
            node = self.spec.nodes.get(send.node)
            if node is None:
                logger.warning(
                    "graph %r, step %d: ignoring a Send to the unknown node %r (nodes: %s)",
                    self.spec.name,
                    self.step,
                    send.node,
                    ", ".join(sorted(self.spec.nodes)),
                )
                continue
            yield self._task(
                node, (k.PUSH, index, False), (k.PUSH,), (k.PUSH, str(index)), send.arg
            )

    def _pulled(self) -> Iterable[Task]:
        if self.updated and self.spec.trigger_to_nodes:
            by_trigger = self.spec.trigger_to_nodes
            names: Iterable[str] = sorted({n for c in self.updated for n in by_trigger.get(c, ())})
        else:
            names = sorted(self.spec.nodes) if self.versions else ()
        for name in names:
            node = self.spec.nodes[name]
            if self._triggered(node) and self._readable(node):
                triggers = tuple(sorted(node.triggers))
                yield self._task(node, (k.PULL, name), triggers, (k.PULL, *triggers), None)

    def _triggered(self, node: NodeSpec) -> bool:
        seen = self.seen.get(node.name, {})
        return any(
            self.versions.get(c, 0) > seen.get(c, 0) and self.channels[c].is_available()
            for c in node.triggers
            if c in self.channels
        )

    def _readable(self, node: NodeSpec) -> bool:
        keys = node.channels
        return not isinstance(keys, str) or (
            keys in self.spec.managed or self.channels[keys].is_available()
        )

    def _task(
        self,
        node: NodeSpec,
        path: tuple[Any, ...],
        triggers: tuple[str, ...],
        id_parts: tuple[str, ...],
        value: Any,
    ) -> Task:
        parent_ns = f"{self.ns}{k.NS_SEP}{node.name}" if self.ns else node.name
        identity = task_id(self.checkpoint_id, parent_ns, str(self.step), node.name, *id_parts)
        ns = f"{parent_ns}{k.NS_END}{identity}"
        metadata: dict[str, Any] = {
            **self._base_metadata,
            "langgraph_step": self.step,
            "langgraph_node": node.name,
            "langgraph_triggers": triggers,
            "langgraph_path": path,
            "langgraph_checkpoint_ns": ns,
            **(node.metadata or {}),
        }
        return Task(
            id=identity,
            name=node.name,
            path=path,
            triggers=triggers,
            node=node,
            ns=ns,
            metadata=metadata,
            input=value,
            pulled=path[0] == k.PULL,
        )

    # --- reading --------------------------------------------------------------------------------

    def managed_value(self, key: str) -> Any:
        """Return a managed value at the current step."""
        kind = self.spec.managed[key]
        # the step behind the last one is needed to see that the graph has ended
        return self.step == self.stop - 1 if kind == "is_last_step" else self.stop - self.step

    def input_of(self, task: Task) -> Any:
        """Return what the task's node is called with, before its ``mapper``."""
        if not task.pulled:
            return task.input
        keys = task.node.channels
        managed = self.spec.managed
        if isinstance(keys, str):
            return self.managed_value(keys) if keys in managed else self.channels[keys].get()
        values = read_values(self.channels, [key for key in keys if key not in managed])
        values.update((key, self.managed_value(key)) for key in keys if key in managed)
        return values

    def has_output(self, keys: Sequence[str] | str, writes: Sequence[Write]) -> bool:
        """Whether the writes change one of the keys."""
        return any(c == keys if isinstance(keys, str) else c in keys for c, _ in writes)

    # --- the end of a step ----------------------------------------------------------------------

    def finish_step(self) -> list[Write]:
        """Apply the writes of all tasks and advance. Return them, in the order applied."""
        done = [TaskWrites(t.path[:3], t.name, t.writes, t.triggers) for t in self.tasks.values()]
        self.apply(done)
        self._advance()
        return [w for t in done for w in t.writes]

    def apply(self, tasks: Sequence[TaskWrites]) -> None:
        """Apply writes in task-path order and set ``updated``.

        Raises ``InvalidUpdateError`` naming the key and the nodes where a channel refuses.
        """
        ordered = sorted(tasks, key=lambda t: path_key(t.path))
        bump = any(t.triggers for t in ordered)
        for t in ordered:
            seen = self.seen.setdefault(t.name, {})
            seen.update((c, self.versions[c]) for c in t.triggers if c in self.versions)
        version = max(self.versions.values(), default=0) + 1
        for name in {c for t in ordered for c in t.triggers if c in self.channels}:
            if self.channels[name].consume():
                self.versions[name] = version

        by_channel: dict[str, list[Any]] = defaultdict(list)
        for t in ordered:
            for name, value in t.writes:
                if name in self.channels:
                    by_channel[name].append(value)
                elif name not in k.NOT_STATE:
                    self._warn_unknown(t.name, name)

        updated: set[str] = set()

        def touch(name: str, changed: bool) -> None:
            if changed:
                self.versions[name] = version
                if self.channels[name].is_available():
                    updated.add(name)

        for name, values in by_channel.items():
            touch(name, self._update(name, values, ordered))
        if bump:
            for name, channel in self.channels.items():
                if name not in updated and channel.is_available():
                    touch(name, channel.update(()))
            if updated.isdisjoint(self.spec.trigger_to_nodes):
                for name, channel in self.channels.items():
                    touch(name, channel.finish())
        self.updated = updated

    def _update(self, name: str, values: Sequence[Any], tasks: Sequence[TaskWrites]) -> bool:
        try:
            return self.channels[name].update(values)
        except InvalidUpdateError as error:
            writers = sorted({t.name for t in tasks for c, _ in t.writes if c == name})
            raise InvalidUpdateError(
                f"graph {self.spec.name!r}, step {self.step}: key {name!r} was written by "
                f"{', '.join(repr(w) for w in writers)}: {error}"
            ) from error

    def _warn_unknown(self, node: str, channel: str) -> None:
        prefix = k.BRANCH_TO.format("")
        target = (
            f"goes to the unknown node {channel[len(prefix) :]!r}"
            if channel.startswith(prefix)
            else f"writes to the unknown channel {channel!r}"
        )
        logger.warning(
            "graph %r, step %d: node %r %s; ignored (nodes: %s)",
            self.spec.name,
            self.step,
            node,
            target,
            ", ".join(sorted(self.spec.nodes)),
        )

    # --- static breakpoints ---------------------------------------------------------------------

    def stops_at(self, nodes: Sequence[str] | Literal["*"], tasks: Iterable[Task]) -> bool:
        """Whether a breakpoint of ``nodes`` holds for these tasks."""
        if not any(v > self.seen_at_interrupt.get(c, 0) for c, v in self.versions.items()):
            return False
        return any((not t.hidden) if nodes == "*" else (t.name in nodes) for t in tasks)
