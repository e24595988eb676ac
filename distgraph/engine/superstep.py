"""One graph in execution: channels, versions, what each node has seen, and the tasks of a step.

The rules are those of Pregel as LangGraph plays them. A node runs when a channel that triggers it
has a version that it has not seen. The writes of a step become visible together, at its end,
applied in the order of task paths: never in the order in which tasks happened to finish, so the
state does not depend on timing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from distgraph._internal import keys as k
from distgraph._internal.ids import NewCheckpointId, path_key, task_id
from distgraph._internal.mistakes import nearest
from distgraph.contract.checkpoint import History
from distgraph.contract.spec import GraphSpec, NodeSpec, Write
from distgraph.engine.checkpoints import VERSION, channels_from, increment
from distgraph.engine.old_checkpoints import migrated
from distgraph.engine.outputs import read_values
from distgraph.engine.task import Task, task_metadata
from distgraph.errors import GraphRecursionError, InvalidUpdateError
from distgraph.serde.exceptions import add_notes

if TYPE_CHECKING:
    from distgraph.types import TimeoutPolicy

logger = logging.getLogger("distgraph")


class TaskWrites(NamedTuple):
    """Writes that are applied together: those of a task, or of the input."""

    path: tuple[Any, ...]
    name: str
    writes: Sequence[Write]
    triggers: Sequence[str]


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
        next_version: Callable[[Any], Any] = increment,
        ignored: dict[str, None] | None = None,
    ) -> None:
        self.spec = spec
        self._ignored = {} if ignored is None else ignored
        """Messages about writes that were ignored."""
        self.ns = ns
        self.step = -1
        self.limit = limit
        self.stop = limit
        """The last step that may run."""
        self.channels = channels_from(spec.channels, {})
        self.versions: dict[str, Any] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, Task] = {}
        self.updated: set[str] | None = set()
        """Channels that the last writes changed; None where that is not known."""
        self.next_version = next_version
        self._new_checkpoint_id = new_checkpoint_id
        self.checkpoint_id = new_checkpoint_id(ns, -2)
        self._layout = VERSION
        """The layout of the checkpoint that the tasks of the step start from."""
        self._base_metadata = base_metadata

    # --- the start ------------------------------------------------------------------------------

    def restore(
        self,
        checkpoint: Mapping[str, Any],
        step: int,
        histories: Mapping[str, History] = MappingProxyType({}),
    ) -> None:
        """Take the state of a checkpoint, the last step of which was ``step``."""
        checkpoint = migrated(checkpoint, self.spec)
        self.checkpoint_id = checkpoint["id"]
        self._layout = checkpoint["v"]
        values = checkpoint["channel_values"]
        self.channels = channels_from(self.spec.channels, values, histories)
        self.versions = dict(checkpoint["channel_versions"])
        self.seen = {node: dict(seen) for node, seen in checkpoint["versions_seen"].items()}
        updated = checkpoint.get("updated_channels")
        self.updated = set(updated) if updated else None
        self.step = step + 1
        self.stop = self.step + self.limit + 1

    def task_id(self, ns: str, name: str, *parts: str) -> str:
        """Return the id of a task of this step, made of the namespace, the name and ``parts``."""
        return task_id(self.checkpoint_id, ns, str(self.step), name, *parts, layout=self._layout)

    def input_writes(self, value: Any) -> list[Write]:
        """Return the writes of the input to the input channels: none for None."""
        keys = self.spec.input_channels
        if value is None:
            return []
        if isinstance(keys, str):
            return [(keys, value)]
        if not isinstance(value, Mapping):
            raise TypeError(f"the graph's input must be a dict, got {type(value).__name__}")
        for name in value.keys() - set(keys):
            logger.warning("input key %r is none of the graph's input channels", name)
        return [(c, v) for c, v in value.items() if c in keys]

    def apply_input(self, writes: Sequence[Write]) -> None:
        """Write the input. It replaces the tasks that an earlier run left unfinished."""
        left = [TaskWrites(t.path[:3], t.name, (), t.triggers) for t in self.prepare()]
        self.apply((*left, TaskWrites((), k.INPUT, writes, ())))

    def apply_null_writes(self, writes: Sequence[Write]) -> None:
        """Apply writes that belong to no task: those of a ``Command`` given as input."""
        before = self.updated
        self.apply((TaskWrites((), k.INPUT, writes, ()),))
        self.updated = None if before is None else before | (self.updated or set())

    def advance(self) -> None:
        """Go on to the next superstep, under a new checkpoint id."""
        self.checkpoint_id = self._new_checkpoint_id(self.ns, self.step)
        self._layout = VERSION
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
                self._ignore(
                    f"a Send goes to the unknown node {send.node!r}", send.node, self.spec.nodes
                )
                continue
            yield self._task(
                node,
                (k.PUSH, index, False),
                (k.PUSH,),
                (k.PUSH, str(index)),
                send.arg,
                send.timeout,
            )

    def _pulled(self) -> Iterable[Task]:
        if self.updated and self.spec.trigger_to_nodes:
            by_trigger = self.spec.trigger_to_nodes
            names: Iterable[str] = sorted({n for c in self.updated for n in by_trigger.get(c, ())})
        else:
            names = self.spec.nodes if self.versions else ()
        for name in names:
            node = self.spec.nodes[name]
            if self._triggered(node) and self._readable(node):
                triggers = tuple(sorted(node.triggers))
                yield self._task(node, (k.PULL, name), triggers, (k.PULL, *triggers), None)

    def _triggered(self, node: NodeSpec) -> bool:
        seen = self.seen.get(node.name, {})
        null = self._null_version
        return any(
            self.versions.get(c, null) > seen.get(c, null) and self.channels[c].is_available()
            for c in node.triggers
            if c in self.channels
        )

    @property
    def _null_version(self) -> Any:
        """The version that is older than any: savers have versions of a type of their own."""
        for version in self.versions.values():
            return type(version)()
        return 0

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
        limit: TimeoutPolicy | None = None,
    ) -> Task:
        parent_ns = f"{self.ns}{k.NS_SEP}{node.name}" if self.ns else node.name
        identity = self.task_id(parent_ns, node.name, *id_parts)
        ns = f"{parent_ns}{k.NS_END}{identity}"
        return Task(
            id=identity,
            name=node.name,
            path=path,
            triggers=triggers,
            node=node,
            ns=ns,
            metadata=task_metadata(self._base_metadata, self.step, node, triggers, path, ns),
            input=value,
            pulled=path[0] == k.PULL,
            limit=limit or node.timeout,
        )

    # --- reading --------------------------------------------------------------------------------

    def managed_value(self, key: str) -> Any:
        """Return a managed value at the current step."""
        kind = self.spec.managed[key]
        # the step behind the last one is needed to see that the graph has ended
        return self.step == self.stop - 1 if kind == "is_last_step" else self.stop - self.step

    def mapped_input_of(self, task: Task) -> Any:
        """Return what the task's node is called with. Raises what its ``mapper`` raises."""
        value, mapper = self.input_of(task), task.node.mapper
        return mapper(value) if task.pulled and mapper is not None else value

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

    # --- the end of a step ----------------------------------------------------------------------

    def finish_step(self) -> list[Write]:
        """Apply the writes of all tasks. Return them, in the order applied."""
        done = [TaskWrites(t.path[:3], t.name, t.writes, t.triggers) for t in self.tasks.values()]
        self.apply(done)
        return [w for t in done for w in t.writes]

    def apply(self, tasks: Sequence[TaskWrites]) -> None:
        """Apply writes in task-path order and set ``updated``.

        Raises ``InvalidUpdateError`` naming the key and the nodes where a channel refuses.
        """
        ordered = sorted(tasks, key=lambda t: path_key(t.path))
        for t in ordered:
            seen = self.seen.setdefault(t.name, {})
            seen.update((c, self.versions[c]) for c in t.triggers if c in self.versions)
        version = self.next_version(max(self.versions.values(), default=None))
        for name in {c for t in ordered for c in t.triggers if c in self.channels}:
            if self.channels[name].consume():
                self.versions[name] = version
        self.updated = set()
        for name, values in self._by_channel(ordered).items():
            if self._update(name, values, ordered):
                self._changed(name, version)
        if any(t.triggers for t in ordered):
            self._end_of_step(version)

    def _by_channel(self, tasks: Sequence[TaskWrites]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for t in tasks:
            for name, value in t.writes:
                if name in self.channels:
                    found.setdefault(name, []).append(value)
                elif name not in k.NOT_STATE:
                    self._warn_unknown(t.name, name)
        return found

    def _changed(self, name: str, version: Any) -> None:
        """Note the new version of a channel that has changed."""
        self.versions[name] = version
        if self.updated is not None and self.channels[name].is_available():
            self.updated.add(name)

    def _end_of_step(self, version: Any) -> None:
        """Let the channels that nobody wrote see the end of the superstep, or of the run."""
        assert self.updated is not None
        updated = self.updated
        for name, channel in self.channels.items():
            if name not in updated and channel.is_available() and channel.update(()):
                self._changed(name, version)
        if updated.isdisjoint(self.spec.trigger_to_nodes):
            for name, channel in self.channels.items():
                if channel.finish():
                    self._changed(name, version)

    def _update(self, name: str, values: Sequence[Any], tasks: Sequence[TaskWrites]) -> bool:
        try:
            return self.channels[name].update(values)
        except Exception as error:
            nodes = sorted({repr(t.name) for t in tasks for c, _ in t.writes if c == name})
            where = f"graph {self.spec.name!r}, step {self.step}: key {name!r}"
            if not isinstance(error, InvalidUpdateError):
                kinds = ", ".join(dict.fromkeys(type(value).__name__ for value in values))
                wrote = f"{where}: its reducer failed on {kinds}, written by {', '.join(nodes)}"
                add_notes(error, (wrote,))
                raise
            message = f"{where} was written by {', '.join(nodes)}: {error}"
            raise InvalidUpdateError(message) from error

    def _warn_unknown(self, node: str, channel: str) -> None:
        prefix = k.BRANCH_TO.format("")
        if channel.startswith(prefix):
            name = channel[len(prefix) :]
            what = f"node {node!r} goes to the unknown node {name!r}"
            self._ignore(what, name, self.spec.nodes)
        else:
            what = f"node {node!r} writes the unknown state key {channel!r}"
            self._ignore(what, channel, self.spec.channels)

    def _ignore(self, what: str, name: str, known: Iterable[str]) -> None:
        message = f"graph {self.spec.name!r}: {what}, which is ignored.{nearest(name, known)}"
        self._ignored[message] = None

    # --- static breakpoints ---------------------------------------------------------------------

    def stops_at(self, nodes: Sequence[str] | Literal["*"], tasks: Iterable[Task]) -> bool:
        """Whether a breakpoint of ``nodes`` holds for these tasks."""
        seen, null = self.seen.get(k.INTERRUPT, {}), self._null_version
        if not any(v > seen.get(c, null) for c, v in self.versions.items()):
            return False
        return any((not t.hidden) if nodes == "*" else (t.name in nodes) for t in tasks)


def out_of_steps(superstep: Superstep, tasks: Sequence[Task]) -> GraphRecursionError:
    """Return the error of a graph that has run all supersteps that it may."""
    names = ", ".join(sorted({repr(t.name) for t in tasks}))
    rest = f"{names} would run next" if names else "one step short of seeing that it ended"
    return GraphRecursionError(
        f"graph {superstep.spec.name!r}: recursion limit of {superstep.stop} supersteps reached "
        f"without an end; {rest}. Check that a path to END is taken, or pass a higher "
        'config={"recursion_limit": ...}'
    )
