"""Capture of chat messages for stream mode ``messages``: tokens as they come, whole ones once.

Tokens are captured where the model runs, by a LangChain callback handler in the node's config.
Messages that a node returns are emitted whole when it ends, unless their id was seen before.
LangChain is imported only to make a handler; everything else looks whether it is loaded already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

from distgraph._internal.chat_messages import (
    message_ids,
    messages_in,
    state_values,
    whole_messages,
)
from distgraph._internal.keys import NS_SEP, PUSH
from distgraph._internal.loaded import loaded
from distgraph.constants import TAG_HIDDEN, TAG_NOSTREAM
from distgraph.errors import MissingExtraError
from distgraph.langgraphs.vocabulary import private_if_loaded
from distgraph.worker.forward import is_of_task

__all__ = (
    "graph_namespace",
    "make_handler",
    "other_messages",
    "pushed_handler",
    "streaming_base",
)

Emit = Callable[[tuple[str, ...], Any, dict[str, Any]], None]
"""Receives the namespace, the message or chunk, and the metadata of each token."""


def make_handler(
    emit: Emit,
    *,
    ns: tuple[str, ...],
    metadata: Mapping[str, Any],
    subgraphs: bool,
    input: Any,
    seen: set[str],
    events: bool = False,
) -> Any:
    """Return the LangChain callback handler that captures the tokens of one attempt.

    It goes into the node's ``config["callbacks"]``; a chat model called anywhere below streams
    because it is there. Attach it only where the graph at ``ns`` is itself to be seen.

    Args:
        emit: Called once per token, in order, in the thread of the model.
        ns: Namespace of the graph that the node belongs to.
        metadata: The task's metadata, for a model whose own run has lost it.
        subgraphs: Whether tokens of graphs nested below ``ns`` are emitted as well.
        input: The node's input: the ids of the messages in it count as seen.
        seen: Ids not to be emitted again. The handler adds to it and shows it as ``.seen``.
        events: Whether what models stream is emitted as events (``message-start``,
            ``content-block-delta``, …), in place of message chunks.

    Raises:
        MissingExtraError: ``langchain-core`` is not installed, or too old for ``events``.
    """
    seen.update(message_ids(input))
    make = _event_handler_class() if events else _handler_class()
    return make(emit, ns, dict(metadata), subgraphs, seen)


def other_messages(returned: Any, written: Iterable[Any]) -> tuple[Any, ...] | None:
    """Return the messages in what a node returned; None where they are those that it writes.

    LangGraph shows what a node returns, also under keys that are not in the state; the update of a
    ``Command`` counts where it is a dict or an object.
    """
    base = loaded("langchain_core.messages.base", "BaseMessage")
    if base is None:
        return None
    shown = tuple(messages_in(_returned(returned), base))
    same = [id(m) for m in shown] == [id(m) for m in messages_in(written, base)]
    return None if same else shown


def _returned(value: Any) -> Iterator[Any]:
    """Yield the state values in what a node of LangGraph's returned, those of commands too."""
    commands = isinstance(value, Sequence) and any(map(_is_command, value))
    for item in value if commands else [value]:
        update = item.update if _is_command(item) else item
        values = state_values(update)
        yield from [update] if values is None else values


def _is_command(value: Any) -> bool:
    return type(value).__name__ == "Command" and hasattr(value, "goto")


def graph_namespace(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the namespace of the graph that a model's run belongs to, by the run's metadata."""
    checkpoint_ns = metadata.get("langgraph_checkpoint_ns")
    if not isinstance(checkpoint_ns, str):
        return None
    own = 1
    # a call of a functional task stands inside its caller's path and adds a segment of its own
    path = metadata.get("langgraph_path", ())
    while len(path) == 4 and path[0] == PUSH and path[3] is True:
        own += 1
        path = path[1]
    return tuple(checkpoint_ns.split(NS_SEP))[:-own]


def _user_tags(tags: Sequence[str] | None) -> list[str]:
    """Return a run's tags less those that frameworks add by themselves."""
    internal = ("seq:step", "graph:step")
    return [tag for tag in tags or () if tag != TAG_HIDDEN and not tag.startswith(internal)]


@lru_cache(maxsize=1)
def streaming_base() -> type[Any]:
    """Return the base of a handler for whose sake models stream."""
    try:
        # private, but it is by this class that a model decides whether to stream
        marker: Any = import_module("langchain_core.tracers._streaming")._StreamingCallbackHandler
    except (ImportError, AttributeError):
        marker = object

    class Streaming(marker):  # type: ignore[misc]
        taps: Sequence[Any] = ()
        """Handlers that receive what runs stream: LangChain gives it to one handler of a run only,
        which may be this one."""

        def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
            for tap in self.taps:
                output = tap.tap_output_iter(run_id, output)
            return output

        def tap_output_aiter(self, run_id: UUID, output: Any) -> Any:
            for tap in self.taps:
                output = tap.tap_output_aiter(run_id, output)
            return output

    return Streaming


@lru_cache(maxsize=1)
def _pushed_class() -> type[Any]:
    from langchain_core.callbacks.base import BaseCallbackHandler

    class PushedMessages(BaseCallbackHandler):
        """Takes the messages of LangGraph's ``push_message``; it receives nothing else.

        That looks for LangGraph's own handler, which the node's code may be the first to import.
        """

        ignore_llm = ignore_chain = ignore_agent = ignore_retriever = ignore_chat_model = True
        ignore_retry = ignore_custom_event = True
        subgraphs = True
        __class__ = property(lambda self: private_if_loaded("StreamMessagesHandler") or type(self))

        def __init__(self, capture: Any) -> None:
            self._capture = capture

        def tap_output_iter(self, run_id: UUID, output: Any) -> Any:
            return self._capture.tap_output_iter(run_id, output)

        def tap_output_aiter(self, run_id: UUID, output: Any) -> Any:
            return self._capture.tap_output_aiter(run_id, output)

        def _emit(self, meta: Any, message: Any, *, dedupe: bool = False) -> None:
            self._capture.show_message(message, meta[1])

    return PushedMessages


def pushed_handler(capture: Any) -> Any:
    """Return the handler that directs messages of LangGraph's ``push_message`` to ``capture``."""
    return _pushed_class()(capture)


@lru_cache(maxsize=1)
def _handler_class() -> type[Any]:
    try:
        from langchain_core.callbacks.base import BaseCallbackHandler
    except ImportError as exc:
        raise MissingExtraError(
            'stream_mode="messages" captures the tokens of LangChain chat models and needs '
            "langchain-core: pip install 'distgraph[langchain]'"
        ) from exc

    class TokenCapture(BaseCallbackHandler, streaming_base()):  # type: ignore[misc]
        """Emits what chat models stream. Models stream where such a handler is attached."""

        captures_stream = True
        run_inline = True
        raise_error = True  # a token that is not emitted would be lost without a word

        def __init__(
            self,
            emit: Emit,
            ns: tuple[str, ...],
            metadata: dict[str, Any],
            subgraphs: bool,
            seen: set[str],
        ) -> None:
            self.seen = seen
            self._emit_token = emit
            self._ns = ns
            self._task_metadata = metadata
            self._subgraphs = subgraphs
            self._runs: dict[UUID, tuple[tuple[str, ...], dict[str, Any]]] = {}
            self._nodes: dict[UUID, tuple[tuple[str, ...], dict[str, Any]]] = {}

        def on_chat_model_start(
            self,
            serialized: Any,
            messages: Any,
            *,
            run_id: UUID,
            tags: list[str] | None = None,
            metadata: dict[str, Any] | None = None,
            **kwargs: Any,
        ) -> None:
            if tags and TAG_NOSTREAM in tags:
                return
            shown = dict(metadata or {})
            ns = graph_namespace(shown)
            if ns is None:
                ns, shown = self._ns, {**self._task_metadata, **shown}
            if ns != self._ns and not self._subgraphs:
                return
            user_tags = _user_tags(tags)
            if user_tags:
                shown["tags"] = user_tags
            self._runs[run_id] = (ns, shown)

        def on_llm_new_token(
            self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
        ) -> None:
            run = self._runs.get(run_id)
            message = getattr(chunk, "message", None)
            if run is not None and message is not None:
                self._show(run, message)

        def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
            run = self._runs.pop(run_id, None)
            if run is None or not response.generations or not response.generations[0]:
                return
            message = getattr(response.generations[0][0], "message", None)
            if message is not None and (message.id is None or message.id not in self.seen):
                self._show(run, message)

        def on_llm_error(self, error: Any, *, run_id: UUID, **kwargs: Any) -> None:
            self._runs.pop(run_id, None)

        def on_chain_start(
            self,
            serialized: Any,
            inputs: Any,
            *,
            run_id: UUID,
            tags: list[str] | None = None,
            metadata: dict[str, Any] | None = None,
            **kwargs: Any,
        ) -> None:
            """Note a node of a graph that LangGraph runs inside of this one.

            LangGraph knows nodes by their name. A graph that a node calls, and that has the node's
            name, counts too: its output is shown as the node's.
            """
            shown = dict(metadata or {})
            if TAG_HIDDEN in (tags or ()) or kwargs.get("name") != shown.get("langgraph_node"):
                return
            ns = graph_namespace(shown)
            inside = ns is not None and len(ns) > len(self._ns) and self._subgraphs
            is_node = is_of_task(kwargs.get("name"), tags, shown)
            if ns is not None and (inside or (ns == self._ns and not is_node)):
                self._nodes[run_id] = (ns, shown)
                self.seen.update(message_ids(inputs))

        def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
            node = self._nodes.pop(run_id, None)
            if node is not None:
                for message in whole_messages(_returned(outputs), self.seen):
                    self._emit_token(node[0], message, node[1])

        def on_chain_error(self, error: Any, *, run_id: UUID, **kwargs: Any) -> None:
            self._nodes.pop(run_id, None)

        def show_message(self, message: Any, metadata: dict[str, Any]) -> None:
            """Emit a message that code in a node with this metadata hands over."""
            ns = graph_namespace(metadata)
            if ns is None or ns == self._ns or self._subgraphs:
                self._show((self._ns if ns is None else ns, dict(metadata)), message)

        def _show(self, run: tuple[tuple[str, ...], dict[str, Any]], message: Any) -> None:
            if message.id is None:
                message.id = str(uuid4())
            self.seen.add(message.id)
            self._emit_token(run[0], message, run[1])

    return TokenCapture


@lru_cache(maxsize=1)
def _event_handler_class() -> type[Any]:
    base = _handler_class()
    try:
        from langchain_core.tracers._streaming import _V2StreamingCallbackHandler
    except ImportError as exc:
        raise MissingExtraError(
            "stream_events(version='v3') needs a langchain-core whose models stream events: "
            "pip install --upgrade langchain-core"
        ) from exc

    class EventCapture(base, _V2StreamingCallbackHandler):  # type: ignore[misc,valid-type]
        """Emits the events of chat models, which stream events where it is attached."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._streamed: set[UUID] = set()

        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            """Emit nothing: the events of the model say the same."""

        def on_stream_event(self, event: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
            run = self._runs.get(run_id)
            if run is None:
                return
            if event.get("event") == "message-start":
                self._streamed.add(run_id)
                if event.get("message_id"):
                    self.seen.add(event["message_id"])
            self._emit_token(run[0], event, {**run[1], "run_id": str(run_id)})

        def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
            if run_id not in self._streamed:
                super().on_llm_end(response, run_id=run_id, **kwargs)
                return
            self._streamed.discard(run_id)
            self._runs.pop(run_id, None)
            for generation in response.generations[:1]:
                message = getattr(generation[0], "message", None) if generation else None
                if message is not None:
                    if message.id is None:
                        message.id = str(uuid4())
                    self.seen.add(message.id)

        def on_llm_error(self, error: Any, *, run_id: UUID, **kwargs: Any) -> None:
            self._streamed.discard(run_id)
            super().on_llm_error(error, run_id=run_id, **kwargs)

    return EventCapture
