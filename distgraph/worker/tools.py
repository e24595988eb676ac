"""Capture of tool calls for stream mode ``tools``: start, output and end of each call.

Calls are captured where the tool runs, by a LangChain callback handler in the node's config.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import Any
from uuid import UUID

from distgraph.constants import TAG_NOSTREAM
from distgraph.errors import MissingExtraError, SerializationError
from distgraph.langgraphs.vocabulary import private_if_loaded
from distgraph.worker.forward import portable
from distgraph.worker.messages import graph_namespace, streaming_base

__all__ = ("delta_writer", "tool_handler")

Emit = Callable[[tuple[str, ...], dict[str, Any]], None]
"""Receives the namespace and the payload of each event."""

delta_writer: ContextVar[Callable[[Any], None] | None] = ContextVar(
    "distgraph_tool_delta", default=None
)
"""Emits a part of the output of the tool call that this code runs in."""

_PAUSES = frozenset({"GraphInterrupt", "GraphDrained"})
"""Exceptions of both libraries after which a call runs again: it has not failed."""


def tool_handler(emit: Emit, *, ns: tuple[str, ...], subgraphs: bool) -> Any:
    """Return the LangChain callback handler that captures the tool calls of one attempt.

    Args:
        emit: Called once per event, in order, in the thread of the tool.
        ns: Namespace of the graph that the node belongs to.
        subgraphs: Whether calls in graphs nested below ``ns`` are emitted as well.

    Raises:
        MissingExtraError: ``langchain-core`` is not installed.
    """
    return _handler_class()(emit, ns, subgraphs)


def _writers() -> list[ContextVar[Any]]:
    """Return where ``emit_output_delta`` of either library looks for its writer."""
    theirs = private_if_loaded("_tool_call_writer")
    return [delta_writer] if theirs is None else [delta_writer, theirs]


class _Call:
    """A tool call that goes on."""

    def __init__(self, emit: Emit, ns: tuple[str, ...], call_id: str) -> None:
        self._emit = emit
        self._ns = ns
        self._id = call_id
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []

    def emit(self, event: str, **fields: Any) -> None:
        payload = {"event": event, "tool_call_id": self._id, **fields}
        try:
            self._emit(self._ns, payload)
        except SerializationError:  # what a tool takes and returns need not travel by itself
            shown = {key: portable(value) for key, value in fields.items()}
            self._emit(self._ns, {**payload, **shown})

    def begin(self, name: str, inputs: Mapping[str, Any] | None) -> None:
        def write(delta: Any) -> None:
            self._emit(
                self._ns,
                {"event": "tool-output-delta", "tool_call_id": self._id, "delta": delta},
            )

        self._tokens = [(var, var.set(write)) for var in _writers()]
        fields = {} if inputs is None else {"input": inputs}
        self.emit("tool-started", tool_name=name, **fields)

    def end(self, event: str | None, **fields: Any) -> None:
        for var, token in self._tokens:
            try:
                var.reset(token)
            except ValueError:  # begun in another context, which is over with the call
                pass
        if event is not None:
            try:
                self.emit(event, **fields)
            except asyncio.CancelledError:  # the run is over, and so is the call
                pass


@lru_cache(maxsize=1)
def _handler_class() -> type[Any]:
    try:
        from langchain_core.callbacks.base import BaseCallbackHandler
    except ImportError as exc:
        raise MissingExtraError(
            'stream_mode="tools" captures the calls of LangChain tools and needs '
            "langchain-core: pip install 'distgraph[langchain]'"
        ) from exc

    class ToolCapture(BaseCallbackHandler, streaming_base()):  # type: ignore[misc]
        """Emits what tools do. Models stream where it is attached, as with LangGraph's."""

        captures_stream = True
        run_inline = True
        raise_error = True  # an event that is not emitted would be lost without a word

        def __init__(self, emit: Emit, ns: tuple[str, ...], subgraphs: bool) -> None:
            self._emit = emit
            self._ns = ns
            self._subgraphs = subgraphs
            self._calls: dict[UUID, _Call] = {}

        def on_tool_start(
            self,
            serialized: dict[str, Any] | None,
            input_str: str,
            *,
            run_id: UUID,
            tags: list[str] | None = None,
            metadata: dict[str, Any] | None = None,
            inputs: dict[str, Any] | None = None,
            **kwargs: Any,
        ) -> None:
            if not metadata or TAG_NOSTREAM in (tags or ()):
                return
            ns = graph_namespace(metadata)
            ns = self._ns if ns is None else ns
            if ns != self._ns and not self._subgraphs:
                return
            name = (serialized or {}).get("name") or kwargs.get("name") or ""
            call = _Call(self._emit, ns, kwargs.get("tool_call_id") or str(run_id))
            self._calls[run_id] = call
            call.begin(name, inputs)

        def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
            call = self._calls.pop(run_id, None)
            if call is not None:
                call.end("tool-finished", output=output)

        def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
            call = self._calls.pop(run_id, None)
            if call is None:
                return
            # one that was interrupted by its time limit has its answer instead
            ended = not isinstance(error, KeyboardInterrupt)
            paused = any(cls.__name__ in _PAUSES for cls in type(error).__mro__)
            call.end("tool-error" if ended and not paused else None, message=str(error))

    return ToolCapture
