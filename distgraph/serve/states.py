"""States of threads as clients see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgraph.types import PregelTask, StateSnapshot

__all__ = ("NO_STATE", "checkpoint_of", "shown_interrupt", "shown_state")

NO_STATE: dict[str, Any] = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": None,
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
}
"""The state of a thread without a checkpoint."""


def shown_state(state: StateSnapshot) -> dict[str, Any]:
    """Return a state as clients see it."""
    if state.created_at is None:
        return dict(NO_STATE)
    checkpoint, parent = checkpoint_of(state.config), checkpoint_of(state.parent_config)
    return {
        "values": state.values,
        "next": list(state.next),
        "tasks": [_task(task) for task in state.tasks],
        "metadata": {"thread_id": (checkpoint or {}).get("thread_id"), **(state.metadata or {})},
        "created_at": state.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [shown_interrupt(i) for i in state.interrupts],
        "checkpoint_id": None if checkpoint is None else checkpoint.get("checkpoint_id"),
        "parent_checkpoint_id": None if parent is None else parent.get("checkpoint_id"),
    }


def checkpoint_of(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the checkpoint that a config names; None if it names none."""
    if not config:
        return None
    configurable = config.get("configurable") or {}
    names = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
    found = {name: configurable[name] for name in names if configurable.get(name) is not None}
    return {"checkpoint_ns": "", **found} if found else None


def _task(task: PregelTask) -> dict[str, Any]:
    state: Any = None
    checkpoint = None
    if isinstance(task.state, StateSnapshot):
        state = shown_state(task.state)
        checkpoint = state["checkpoint"]
    elif task.state:
        checkpoint = checkpoint_of(task.state)
    error = task.error
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": error if error is None or isinstance(error, str) else repr(error),
        "interrupts": [shown_interrupt(i) for i in task.interrupts],
        "checkpoint": checkpoint,
        "state": state,
        "result": task.result,
    }


def shown_interrupt(interrupt: Any) -> dict[str, Any]:
    """Return an interrupt as clients see it, with the schema of its answer where it has one."""
    schema = getattr(interrupt, "response_schema", None)
    more = {} if schema is None else {"response_schema": schema}
    return {"id": interrupt.id, "value": interrupt.value, **more}
