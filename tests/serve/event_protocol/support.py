"""Chunks of runs, and what the protocol's own types say about the events made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_protocol import protocol
from pydantic import TypeAdapter

from distgraph.serve.encoding import plain
from distgraph.serve.event_protocol.conversion import ProtocolEvent, RunEvents

Chunk = tuple[tuple[str, ...], str, Any]

TYPES: dict[str, TypeAdapter[Any]] = {
    "messages": TypeAdapter(protocol.MessagesData),
    "lifecycle": TypeAdapter(protocol.LifecycleData),
    "input.requested": TypeAdapter(protocol.InputRequestedData),
    "tools": TypeAdapter(protocol.ToolsData),
    "updates": TypeAdapter(protocol.UpdatesData),
    "custom": TypeAdapter(protocol.CustomData),
    "checkpoints": TypeAdapter(protocol.Checkpoint),
}


def converted(*chunks: Chunk, run: RunEvents | None = None) -> list[ProtocolEvent]:
    """Return the events of chunks, without those of the run's start and end."""
    run = run or RunEvents("run-1", "graph")
    return [event for number, chunk in enumerate(chunks, 1) for event in run.chunk(number, chunk)]


def shown(events: Iterable[ProtocolEvent]) -> list[tuple[str, tuple[str, ...], Any]]:
    """Return method, namespace and data of events."""
    return [(event.method, event.namespace, event.data) for event in events]


def data(events: Iterable[ProtocolEvent], method: str) -> list[Any]:
    """Return the data of the events of one method."""
    return [event.data for event in events if event.method == method]


def message(
    of: BaseMessage,
    *,
    ns: tuple[str, ...] = (),
    node: str = "model",
    task_id: str = "t1",
) -> Chunk:
    """Return a chunk of mode ``messages``."""
    place = "|".join((*ns, f"{node}:{task_id}"))
    return ns, "messages", (of, {"langgraph_node": node, "langgraph_checkpoint_ns": place})


def without_ids(events: Iterable[Any]) -> list[Any]:
    """Return data of messages without the ids that every event has."""
    return [{key: value for key, value in d.items() if key not in ("id", "run_id")} for d in events]


def check_types(events: Iterable[ProtocolEvent]) -> int:
    """Check events against the protocol's own types. Return how many there were."""
    count = 0
    for event in events:
        if event.method in TYPES:
            TYPES[event.method].validate_python(plain(event.data))
            count += 1
    return count
