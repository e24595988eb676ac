"""What a caller sees of a run: events as chunks, the end as an output or an exception."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distgraph._internal.keys import INTERRUPT
from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import StreamEvent
from distgraph.errors import GraphInterrupt, ParentCommand, RunCancelled
from distgraph.interop import either
from distgraph.invocation.environment import (
    missing_file,
    missing_variable,
    note_of_file,
    note_of_missing,
)
from distgraph.serde.exceptions import add_notes, rebuild_error
from distgraph.streaming.modes import StreamOptions
from distgraph.types import GraphOutput

__all__ = ("RunFace",)


@dataclass(frozen=True, slots=True)
class RunFace:
    """Turns the events of one run into what its caller sees. Readers elsewhere get a copy."""

    run_id: str
    stream: StreamOptions
    ns: tuple[str, ...] = ()
    """Namespace of the run's root graph."""
    is_in_node: bool = False
    """Whether the run is a part of a node's."""
    is_remote: bool = False
    """Whether nodes run in other processes, which have an environment of their own."""
    reports_progress: bool = False
    """Whether the stream has events about attempts, for views."""
    output_mapper: Callable[[Any], Any] | None = None
    """Version "v2": turns an output that is a dict into the output schema's class."""

    def chunk(self, event: StreamEvent) -> Any:
        """Return the caller's chunk for an event, or ``SKIP``; print it where that was requested.

        The payload of a ``tasks`` or ``debug`` event has the node's own exception in it again.
        """
        if event.mode in ("tasks", "debug"):
            event = event._replace(payload=_with_exceptions(event.payload))
        return self.stream.project(event, self.ns)

    def failure(self, end: Mapping[str, Any]) -> BaseException | None:
        """Return the exception of a run that failed, was interrupted, cancelled or drained; else
        None."""
        status = end["status"]
        if status == "error":
            error = either(rebuild_error(end["error"]))
            if self.is_remote:
                add_notes(error, tuple(_notes_of_missing(error)))
            return error
        if status == "cancelled":
            return RunCancelled(f"run {self.run_id} was cancelled")
        if status == "interrupted" and self.is_in_node:  # the node around it asks
            return GraphInterrupt(tuple(end["interrupts"]))
        return ParentCommand(end["value"], has_arrived=True) if status == "command" else None

    def output(self, end: Mapping[str, Any]) -> Any:
        """Return what ``invoke`` returns for a run that did not fail."""
        value, interrupts = end["value"], tuple(end["interrupts"])
        if self.stream.version == "v2":
            if self.output_mapper is not None and isinstance(value, dict):
                value = self.output_mapper(value)
            return GraphOutput(value, interrupts)
        if end["status"] == "interrupted" and interrupts:
            base = value if isinstance(value, dict) else {}
            return {**base, INTERRUPT: list(interrupts)}
        return value


def _notes_of_missing(error: BaseException) -> Iterator[str]:
    """Yield notes about what the caller's process has and the node's had not."""
    if (name := missing_variable(error, os.environ)) is not None:
        yield note_of_missing(name)
    if (path := missing_file(error, os.path.exists)) is not None:
        yield note_of_file(path)


def _with_exceptions(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a ``tasks`` or ``debug`` payload with the node's own exception in it again."""
    if isinstance(payload.get("payload"), dict):
        return {**payload, "payload": _with_exceptions(payload["payload"])}
    error = payload.get("error")
    return (
        {**payload, "error": rebuild_error(error)} if isinstance(error, ShippedError) else payload
    )
