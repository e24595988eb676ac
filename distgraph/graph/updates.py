"""Writing a thread's state: checkpoints with values of the caller, as if nodes returned them."""

from __future__ import annotations

import uuid
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.ids import new_run_id, path_key
from distgraph._internal.mistakes import nearest
from distgraph._internal.steps import Steps
from distgraph.constants import END
from distgraph.contract.attempt import AttemptRequest, RunInfo, SharedRunOptions
from distgraph.contract.checkpoint import Saved
from distgraph.contract.spec import Write
from distgraph.contract.stream import StreamRequest
from distgraph.driver.saving import new_checkpoint_id, storable
from distgraph.engine.checkpoints import channel_values, checkpoint_of, statuses
from distgraph.engine.deltas import (
    COUNTERS,
    due,
    names_of,
    overwritten_in,
    seal,
    seen_without_bumps,
    stepped,
    touched,
    with_message_ids,
)
from distgraph.engine.old_checkpoints import migrated
from distgraph.engine.outputs import read_values
from distgraph.engine.superstep import Superstep, TaskWrites
from distgraph.errors import InvalidUpdateError
from distgraph.graph.saver_steps import ask, run_code
from distgraph.graph.snapshots import blank, loose_writes, restored, saved_with_histories
from distgraph.graph.thread_place import Place, at, config_with_map, saving_config
from distgraph.interop import for_saver
from distgraph.types import StateUpdate
from distgraph.worker.attempt import write_as

__all__ = ("COPY", "check_supersteps", "update_thread")

COPY = "__copy__"
"""Value of ``as_node`` that saves a copy of the checkpoint as its sibling."""

Supersteps = Sequence[Sequence[Sequence[Any]]]


def check_supersteps(supersteps: Supersteps) -> list[list[StateUpdate]]:
    """Return updates as ``StateUpdate``s.

    Raises:
        ValueError: There are none.
    """
    if not supersteps:
        raise ValueError("No supersteps provided: give a list of lists of StateUpdates")
    if not all(supersteps):
        raise ValueError("No updates provided: each superstep needs a StateUpdate at least")
    return [[StateUpdate(*update) for update in updates] for updates in supersteps]


def update_thread(place: Place, supersteps: list[list[StateUpdate]]) -> Steps[dict[str, Any]]:
    """Apply updates, a checkpoint for each superstep, and return the config of the last.

    Raises:
        InvalidUpdateError: An update is not possible, or it is not clear which node it is from.
    """
    config: dict[str, Any] = {}
    for number, updates in enumerate(supersteps):
        config = yield from _superstep(place, updates, first=number == 0)
        place = at(place.graph, place.saver, config)
    return config


def _superstep(place: Place, updates: list[StateUpdate], *, first: bool) -> Steps[dict[str, Any]]:
    found = yield from ask("get_tuple", place.config)
    saved = Saved({})
    if found is not None:
        saved = yield from saved_with_histories(place, found)
    update = _Update(place, found, saved, first=first)
    values, as_node, _ = updates[0]
    if values is None and as_node == END:
        _only_one(updates, "clearing the tasks of a step")
        return (yield from update.clear())
    if as_node == k.INPUT:
        _only_one(updates, "updating as input")
        return (yield from update.as_input(values, first=first))
    if as_node == COPY:
        _only_one(updates, "copying a checkpoint")
        return (yield from update.copy(values))
    return (yield from update.as_nodes(updates, first=first))


def _only_one(updates: list[StateUpdate], doing: str) -> None:
    if len(updates) > 1:
        raise InvalidUpdateError(f"Cannot apply multiple updates when {doing}")


class _Update:
    """One new checkpoint of a thread, from the one before it."""

    def __init__(self, place: Place, found: Any, saved: Saved, *, first: bool) -> None:
        self.place = place
        self.found = found
        self.saved = saved
        self.config = saving_config(place, found)
        self.graph = blank(place) if found is None else restored(place, found, saved)
        self.step: int = self.saved.metadata.get("step", -1)
        self.stored = dict(self.graph.versions)
        self.deltas = names_of(self.graph.spec.channels)
        self.whole = touched(self.deltas, saved.pending) if first else set[str]()
        """``DeltaChannel``s that the new checkpoint has to hold whole."""

    def clear(self) -> Steps[dict[str, Any]]:
        """End the step: what its tasks have written counts, those that wrote nothing are over."""
        graph = self.graph
        written: set[str] = set()
        if self.found is not None:
            graph.prepare()
            graph.updated = set()
            if loose := loose_writes(self.saved):
                graph.apply_null_writes(loose)
            written |= graph.updated
            known = statuses(self.saved.pending)
            for task in graph.tasks.values():
                task.writes = list(known[task.id].output) if task.id in known else []
            graph.finish_step()
            written |= graph.updated or set()
        return (yield from self._save("update", self.step + 1, written, clock=self.step))

    def as_input(self, values: Any, *, first: bool) -> Steps[dict[str, Any]]:
        """Write what a run would write of its input."""
        writes = self.graph.input_writes(values)
        if not writes:
            raise InvalidUpdateError(
                f"Received no input writes for {self.graph.spec.input_channels!r}: an update as "
                f"{k.INPUT!r} needs values"
            )
        task_id = str(uuid.uuid5(uuid.UUID(self.graph.checkpoint_id), k.INPUT))
        task = TaskWrites((), k.INPUT, writes, ())
        yield from self._store([(task_id, task)], first)
        self.graph.apply((task,))
        step = -1 if self.saved.metadata.get("step") is None else self.step + 1
        return (yield from self._save("input", step, self.graph.updated or (), clock=step))

    def copy(self, values: Any) -> Steps[dict[str, Any]]:
        """Save the checkpoint again, beside itself; updates of its tasks may follow at once."""
        found = self.found
        if found is None:
            raise InvalidUpdateError("Cannot copy a non-existent checkpoint")
        checkpoint = {
            **self._checkpoint(self.step),
            "channel_values": migrated(self.saved.checkpoint, self.graph.spec)["channel_values"],
        }
        base = found.parent_config
        if base is None:
            first = found.config["configurable"]
            base = {**found.config, "configurable": {**first, "checkpoint_id": None}}
        metadata = self._metadata("fork", self.step + 1)
        if counters := found.metadata.get(COUNTERS):
            metadata[COUNTERS] = counters
        config = yield from ask("put", base, storable(checkpoint), metadata, {})
        config = config_with_map(config, found.metadata)
        if not (isinstance(values, list) and values):
            return config
        copied = replace(self.saved, checkpoint=checkpoint, metadata=metadata)
        tasks = _ids_by_node(restored(self.place, found, copied))
        updates: dict[str, list[StateUpdate]] = {}
        for item in values:
            if not isinstance(item, Sequence) or isinstance(item, str):
                raise InvalidUpdateError(
                    f"Invalid update item when copying a checkpoint: {item!r}; expected "
                    "(values, as_node)"
                )
            given, as_node = item[:2]
            free = tasks[as_node]
            one = StateUpdate(given, as_node, free.popleft() if free else None)
            updates.setdefault(as_node, []).append(one)
        behind = at(self.place.graph, self.place.saver, config)
        flat = [one for of_node in updates.values() for one in of_node]
        return (yield from _superstep(behind, flat, first=False))

    def as_nodes(self, updates: list[StateUpdate], *, first: bool) -> Steps[dict[str, Any]]:
        """Write what nodes would write, had they returned the values."""
        graph = self.graph
        # tasks that are there to be run take the updates of their nodes for their results
        ids = _ids_by_node(graph) if self.found is not None else defaultdict(deque)
        named = [self._with_node(update, len(updates)) for update in updates]
        done: list[tuple[str, TaskWrites]] = []
        for number, (values, node, given) in enumerate(named):
            free = ids[node]
            task_id = given or (free.popleft() if free else _update_id(graph, number))
            writes = yield from self._written(node, values, task_id)
            path = (k.INTERRUPT, number)
            done.append((task_id, TaskWrites(path, node, writes, (k.INTERRUPT,))))
        yield from self._store(done, first)
        graph.apply([task for _, task in done])
        written = {channel for _, task in done for channel, _ in task.writes}
        return (yield from self._save("update", self.step + 1, written, clock=self.step + 1))

    # --- what an update does --------------------------------------------------------------------

    def _with_node(self, update: StateUpdate, count: int) -> tuple[Any, str, str | None]:
        nodes, as_node = self.graph.spec.nodes, update.as_node
        if as_node is None:
            if count > 1:
                raise InvalidUpdateError("as_node is required when applying multiple updates")
            as_node = _last_node(self.graph)
        if as_node is None:
            raise InvalidUpdateError(
                "Ambiguous update, specify as_node: no single node was the last to run. Nodes: "
                f"{', '.join(nodes)}"
            )
        if as_node not in nodes:
            raise InvalidUpdateError(
                f"Node {as_node} does not exist in graph {self.graph.spec.name!r}. Nodes: "
                f"{', '.join(nodes)}.{nearest(as_node, nodes)}"
            )
        if not self.place.graph.program.nodes[as_node].writers:
            raise InvalidUpdateError(f"Node {as_node} has no writers")
        return update.values, as_node, update.task_id

    def _written(self, node: str, values: Any, task_id: str) -> Steps[list[Write]]:
        """Run the node's writers, its conditional edges included, on what it would return."""
        graph, program = self.graph, self.place.graph.program
        reads = graph.spec.nodes[node].branch_channels
        managed = [key for key in reads if key in graph.spec.managed]
        request = AttemptRequest(
            task_id=task_id,
            attempt=1,
            graph_path=(),
            node=node,
            ns=(),
            task_ns=graph.ns,
            step=self.step,
            stop=graph.stop,
            kind="writers",
            input=values,
            reads=None,
            state=read_values(graph.channels, [key for key in reads if key not in managed]),
            managed={key: graph.managed_value(key) for key in managed},
            metadata={**self.config["metadata"], "langgraph_checkpoint_ns": graph.ns},
        )
        shared = SharedRunOptions(
            run_id=str(new_run_id()),
            stream=StreamRequest(frozenset()),
            configurable=self.config["configurable"],
        )
        waits = any(writer.is_async for writer in program.nodes[node].writers)
        make = partial(write_as, program, request, RunInfo(shared))
        writes: list[Write] = yield from run_code(make, waits=waits)
        return writes

    def _store(self, done: Sequence[tuple[str, TaskWrites]], first: bool) -> Steps[None]:
        """Keep what is written with the checkpoint below, as that step's results.

        Unless other checkpoints follow that one: it is not their result.
        """
        for _, task in done:
            if isinstance(task.writes, list):
                with_message_ids(self.graph.spec.channels, task.writes)
            self.whole |= overwritten_in(self.deltas, task.writes)
        if self.found is None:
            return
        if first and (yield from self._superseded()):
            self.whole |= {c for _, task in done for c, _ in task.writes if c in self.deltas}
            return
        for task_id, task in done:
            if task.writes:
                kept = [(channel, for_saver(value)) for channel, value in task.writes]
                path = path_key(task.path) if task.path else ""
                yield from ask("put_writes", self.config, kept, task_id, path)

    def _superseded(self) -> Steps[bool]:
        """Whether the update goes to a checkpoint that is not the latest of its thread."""
        configurable = dict(self.place.config["configurable"])
        if not configurable.pop("checkpoint_id", None):
            return False
        latest = yield from ask("get_tuple", {**self.place.config, "configurable": configurable})
        return latest is not None and latest.checkpoint["id"] != self.graph.checkpoint_id

    # --- saving ---------------------------------------------------------------------------------

    def _checkpoint(self, clock: int) -> dict[str, Any]:
        graph = self.graph
        values = channel_values(graph.channels, graph.versions)
        return checkpoint_of(new_checkpoint_id(graph.ns, clock), values, graph.versions, graph.seen)

    def _metadata(self, source: str, step: int) -> dict[str, Any]:
        parents = self.saved.metadata.get("parents", {})
        return {"source": source, "step": step, "parents": parents}

    def _save(
        self, source: str, step: int, written: Collection[str], *, clock: int
    ) -> Steps[dict[str, Any]]:
        made = self._checkpoint(clock)
        metadata = self._metadata(source, step)
        if self.deltas:
            self._seal(made, metadata, written)
        new = {c: v for c, v in made["channel_versions"].items() if self.stored.get(c) != v}
        checkpoint = storable(made)
        config = yield from ask("put", self.config, checkpoint, metadata, new)
        behind: Mapping[str, Any] = {} if self.found is None else self.found.metadata
        return config_with_map(config, behind)

    def _seal(
        self, checkpoint: dict[str, Any], metadata: dict[str, Any], written: Collection[str]
    ) -> None:
        """Put ``DeltaChannel``s that are to be whole into a checkpoint, and count the others."""
        graph = self.graph
        counters: dict[str, Any] = {}
        if self.found is None:
            whole = set(self.deltas & graph.versions.keys())
        else:
            counters = stepped(self.deltas, self.saved.metadata.get(COUNTERS) or {}, written)
            whole = due(graph.channels, counters, graph.versions) | self.whole
        counters = {name: count for name, count in counters.items() if name not in whole}
        if counters:
            metadata[COUNTERS] = counters
        values = checkpoint["channel_values"]
        checkpoint["channel_values"] = seal(whole, graph, values, stored=self.stored)
        checkpoint["channel_versions"] = graph.versions
        checkpoint["versions_seen"] = graph.seen


def _ids_by_node(graph: Superstep) -> defaultdict[str, deque[str]]:
    """Return the ids of the step's tasks, by node."""
    ids: defaultdict[str, deque[str]] = defaultdict(deque)
    for task in graph.prepare():
        ids[task.name].append(task.id)
    return ids


def _update_id(graph: Superstep, number: int) -> str:
    """Return the id of an update that no task of the step takes."""
    name = f"{k.INTERRUPT}:{number}" if number else k.INTERRUPT
    return str(uuid.uuid5(uuid.UUID(graph.checkpoint_id), name))


def _last_node(graph: Superstep) -> str | None:
    """Return the node that ran last, None where there is none, or more than one."""
    nodes = graph.spec.nodes
    if len(nodes) == 1:
        return next(iter(nodes))
    if not any(version for seen in graph.seen.values() for version in seen.values()):
        start = graph.spec.input_channels
        return start if isinstance(start, str) and start in nodes else None
    seen = seen_without_bumps(graph.seen).items()
    ran = sorted((version, name) for name, of in seen if name in nodes for version in of.values())
    if len(ran) == 1 or (ran and ran[-1][0] != ran[-2][0]):
        return ran[-1][1]
    return None
