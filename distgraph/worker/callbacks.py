"""The LangChain callbacks of an attempt: the caller's own, and the capture of tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from distgraph.contract.attempt import AttemptRequest, RunInfo
from distgraph.contract.stream import CALLBACK_MODE, Event
from distgraph.errors import RunCancelled
from distgraph.worker.context import wants
from distgraph.worker.forward import beating_handler
from distgraph.worker.listeners import Hook, stand_ins
from distgraph.worker.messages import make_handler, pushed_handler
from distgraph.worker.progress import Progress
from distgraph.worker.tools import tool_handler


@dataclass(frozen=True, slots=True)
class AttemptCallbacks:
    """Callbacks for a node's config, and what the token capture has seen."""

    handlers: list[Any] | None
    capture: Any = None
    hooks: tuple[Hook, ...] = ()
    """Handlers that LangChain is to find in its context variables."""

    def seen(self) -> frozenset[str]:
        """Return the ids of messages that are not to be emitted again."""
        return frozenset() if self.capture is None else frozenset(self.capture.seen)


_NONE = AttemptCallbacks(None)


def attempt_callbacks(
    request: AttemptRequest,
    run: RunInfo,
    emit: Callable[[Event], None],
    progress: Progress | None = None,
) -> AttemptCallbacks:
    """Return the callbacks of one attempt. LangChain is imported only where they are needed."""
    shared, stream = run.shared, run.shared.stream
    beats = progress is not None and progress.listens and find_spec("langchain_core") is not None
    tools = "tools" in stream.modes and wants(stream, request)
    if shared.callbacks is None and not (beats or tools or run.capture):
        return _NONE
    emit = _stopping(emit)
    handlers: list[Any] = []
    hooks: tuple[Hook, ...] = ()
    if shared.callbacks is not None:
        handlers, hooks = stand_ins(shared.callbacks, emit, request.graph_path)
    if progress is not None and beats:
        handlers.append(beating_handler(progress.beat))
    if tools:

        def emit_tool(ns: tuple[str, ...], payload: dict[str, Any]) -> None:
            emit(Event(ns, "tools", payload))

        handlers.append(tool_handler(emit_tool, ns=request.ns, subgraphs=stream.subgraphs))
    taps = [handler for handler in handlers if getattr(handler, "shows_chunks", False)]
    if tools:
        handlers[-1].taps = taps
    if not run.capture:
        return AttemptCallbacks(handlers or None, hooks=hooks)
    shown = "messages" in stream.modes and wants(stream, request)

    def emit_message(ns: tuple[str, ...], message: Any, metadata: dict[str, Any]) -> None:
        if shown:
            emit(Event(ns, "messages", (message, metadata)))

    capture = make_handler(
        emit_message,
        ns=request.ns,
        metadata=dict(request.metadata),
        subgraphs=stream.subgraphs,
        input=_shown_before(request),
        seen=set(),
        events=stream.message_events,
    )
    capture.taps = taps
    # what is not shown here may be shown whole by the graph around this one
    heard = [*handlers, capture, pushed_handler(capture)]
    return AttemptCallbacks(heard, capture if shown else None, hooks)


def _shown_before(request: AttemptRequest) -> Any:
    """Return what the node was called with; what it returned is not among it."""
    if request.kind == "writers":
        return None
    return request.state if request.reads is not None else request.input


def _stopping(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return ``emit`` as handlers need it: a model that talks on after a cancel is stopped.

    LangChain logs an ordinary exception of a handler and goes on; its retries and fallbacks would
    call the model again.
    """
    attempt = _running_task()

    def emit_or_stop(event: Event) -> None:
        here = attempt is not None and attempt.get_loop() is asyncio._get_running_loop()
        # before Python 3.12, asyncio.wait_for loses a cancel that comes together with its result
        if here and _is_token(event) and getattr(attempt, "cancelling", int)():
            raise asyncio.CancelledError
        try:
            emit(event)
        except RunCancelled as gone:
            if here and attempt is not None:
                attempt.cancel()  # a model that is awaited reports only such a cancel as one
            raise asyncio.CancelledError(str(gone)) from gone

    return emit_or_stop


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        return None


def _is_token(event: Event) -> bool:
    forwarded = event.mode == CALLBACK_MODE
    return event.mode == "messages" or (forwarded and event.payload.name == "on_llm_new_token")
