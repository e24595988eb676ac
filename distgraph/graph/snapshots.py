"""Reading a thread's state: a snapshot of a checkpoint and of the writes that follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.steps import Steps
from distgraph.contract.checkpoint import History, Saved
from distgraph.driver.saving import histories_from, new_checkpoint_id, saved_from
from distgraph.engine.checkpoints import TaskStatus, statuses
from distgraph.engine.deltas import replayable, to_replay
from distgraph.engine.outputs import read_values, result_of
from distgraph.engine.superstep import Superstep, TaskWrites
from distgraph.engine.task import Task
from distgraph.graph.saver_steps import ask
from distgraph.graph.thread_place import Place, at, config_with_map
from distgraph.persistence.port import SaverPort
from distgraph.types import PregelTask, StateSnapshot

__all__ = (
    "blank",
    "history_of",
    "loose_writes",
    "restored",
    "saved_with_histories",
    "state_at",
    "state_of",
)


def state_at(place: Place, *, nested: bool) -> Steps[StateSnapshot]:
    """Return the state that a place names.

    Args:
        place: Graph, saver and config.
        nested: Whether tasks that are graphs carry their own state, not only its config.
    """
    found = yield from ask("get_tuple", place.config)
    return (yield from state_of(place, found, nested=nested, live=place.latest))


def history_of(place: Place, **options: Any) -> Steps[list[Any]]:
    """Return the checkpoints of a thread as the saver returned them, newest first."""
    configurable = {"checkpoint_ns": "", **place.config["configurable"]}
    config = {**place.config, "configurable": configurable}
    found: list[Any] = yield from ask("list", config, **options)
    return found


def state_of(
    place: Place, found: Any, *, nested: bool = False, live: bool = False
) -> Steps[StateSnapshot]:
    """Convert a saver's ``CheckpointTuple`` into a ``StateSnapshot``; None gives an empty state.

    Args:
        place: The graph and the saver of the checkpoint.
        found: What the saver returned.
        nested: As ``state_at``.
        live: Whether to show the current state. True: values include the writes of finished tasks,
            ``next`` omits these tasks, and only pending interrupts are listed. False: the record of
            the superstep, with the values at its start, all of its tasks and all interrupts.
    """
    if found is None:
        return StateSnapshot({}, (), place.config, None, None, None, (), ())
    saved = yield from saved_with_histories(place, found)
    graph = restored(place, found, saved)
    tasks = graph.prepare()
    states: dict[str, Any] = {}
    for task in tasks:
        inner = place.graph.inner_graphs().get(task.name)
        if inner is None:
            continue
        own = {
            "thread_id": found.config["configurable"]["thread_id"],
            "checkpoint_ns": task.ns,
        }
        states[task.id] = {"configurable": own}
        if nested:
            below = at(inner, place.saver, states[task.id])
            states[task.id] = yield from state_at(below, nested=True)
    if loose := loose_writes(saved):
        graph.apply_null_writes(loose)
    read = statuses(saved.pending)
    if live:
        finish(graph, read)
    keys, parent = graph.spec.stream_channels, found.parent_config
    shown = tuple(_shown(t, read.get(t.id), states.get(t.id), keys, live) for t in tasks)
    return StateSnapshot(
        values=read_values(graph.channels, keys),
        next=tuple(task.name for task in tasks if not task.writes),
        config=config_with_map(found.config, found.metadata),
        metadata=found.metadata,
        created_at=found.checkpoint["ts"],
        parent_config=parent and config_with_map(parent, found.metadata),
        tasks=shown,
        interrupts=tuple(i for task in shown for i in task.interrupts),
    )


def saved_with_histories(place: Place, found: Any) -> Steps[Saved]:
    """Convert a ``CheckpointTuple`` into ``Saved``, with histories of the channels without a
    value."""
    names = to_replay(replayable(place.graph.spec.channels), found.checkpoint)
    histories: dict[str, History] = {}
    if names:
        read = yield from ask("get_delta_channel_history", config=found.config, channels=names)
        histories = histories_from(read)
    return saved_from(found, histories=histories)


def restored(place: Place, found: Any, saved: Saved) -> Superstep:
    """Return the superstep of a graph at a checkpoint, before the next superstep is prepared."""
    graph = blank(place)
    graph.ns = found.config["configurable"].get("checkpoint_ns", "")
    graph.restore(saved.checkpoint, saved.metadata.get("step", -1), saved.histories)
    graph.updated = None  # every node is looked at: what was updated may have been left out
    return graph


def blank(place: Place) -> Superstep:
    """Return the graph before its first checkpoint."""
    return Superstep(
        place.graph.spec,
        ns=place.ns,
        limit=1,
        new_checkpoint_id=new_checkpoint_id,
        base_metadata={},
        next_version=SaverPort(place.saver).get_next_version,
    )


def loose_writes(saved: Saved) -> list[tuple[str, Any]]:
    """Return the pending writes that belong to no task: those of a ``Command`` as input."""
    return [(channel, v) for task, channel, v in saved.pending if task == k.NULL_TASK_ID]


def finish(graph: Superstep, read: Mapping[str, TaskStatus]) -> None:
    """Apply what the finished tasks of the step have written."""
    for task in graph.tasks.values():
        task.writes = list(read.get(task.id, TaskStatus()).output)
    done = [t for t in graph.tasks.values() if t.writes]
    if done:
        graph.apply([TaskWrites(t.path[:3], t.name, t.writes, t.triggers) for t in done])


def _shown(task: Task, status: TaskStatus | None, state: Any, keys: Any, live: bool) -> PregelTask:
    status = status or TaskStatus()
    return PregelTask(
        id=task.id,
        name=task.name,
        path=task.path,
        error=status.error,
        interrupts=status.waiting if live else status.interrupts,
        state=state,
        result=result_of(status.output, keys) if status.output else None,
    )
