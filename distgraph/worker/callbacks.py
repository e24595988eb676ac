"""The LangChain callbacks of an attempt: the caller's own, and the capture of tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distgraph.streaming.envelope import CALLBACK_MODE, Event
from distgraph.worker.context import wants
from distgraph.worker.forward import forwarding_handler
from distgraph.worker.messages import make_handler
from distgraph.worker.protocol import AttemptRequest, RunInfo


@dataclass(frozen=True, slots=True)
class AttemptCallbacks:
    """Callbacks for a node's config, and what the token capture has seen."""

    handlers: list[Any] | None
    capture: Any = None

    def seen(self) -> frozenset[str]:
        """Return the ids of messages that are not to be emitted again."""
        return frozenset() if self.capture is None else frozenset(self.capture.seen)


def attempt_callbacks(
    request: AttemptRequest, run: RunInfo, emit: Callable[[Event], None]
) -> AttemptCallbacks:
    """Return the callbacks of one attempt. LangChain is imported only where they are needed."""
    handlers = [forwarding_handler(emit)] if CALLBACK_MODE in run.stream.modes else []
    if not run.capture:
        return AttemptCallbacks(handlers or None)
    shown = "messages" in run.stream.modes and wants(run.stream, request)

    def emit_message(ns: tuple[str, ...], message: Any, metadata: dict[str, Any]) -> None:
        if shown:
            emit(Event(ns, "messages", (message, metadata)))

    capture = make_handler(
        emit_message,
        ns=request.ns,
        metadata=dict(request.metadata),
        subgraphs=run.stream.subgraphs,
        input=request.state if request.reads is not None else request.input,
        seen=set(),
    )
    # what is not shown here may be shown whole by the graph around this one
    return AttemptCallbacks([*handlers, capture], capture if shown else None)
