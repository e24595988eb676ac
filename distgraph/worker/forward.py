"""The caller's LangChain callbacks, on the worker: every call of them becomes an event.

Handlers hold what only their own process has (a list that collects, a file, a connection to a
tracer), so they do not travel. Their calls do, in the run's stream, and are made on the caller's
side in the order of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any
from uuid import UUID

from distgraph._internal.ids import new_run_id
from distgraph._internal.keys import PUSH
from distgraph._internal.loaded import loaded
from distgraph._internal.missing import MISSING
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.callbacks import CallbackInfo, HandlerCall
from distgraph.contract.stream import CALLBACK_MODE, Event
from distgraph.errors import SerializationError
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data

logger = logging.getLogger("distgraph")

IGNORED_BY = {
    "on_chat_model_start": "ignore_chat_model",
    "on_llm_start": "ignore_llm",
    "on_llm_new_token": "ignore_llm",
    "on_stream_event": "ignore_llm",
    "on_llm_end": "ignore_llm",
    "on_llm_error": "ignore_llm",
    "on_chain_start": "ignore_chain",
    "on_chain_end": "ignore_chain",
    "on_chain_error": "ignore_chain",
    "on_tool_start": "ignore_agent",
    "on_tool_end": "ignore_agent",
    "on_tool_error": "ignore_agent",
    "on_agent_action": "ignore_agent",
    "on_agent_finish": "ignore_agent",
    "on_retriever_start": "ignore_retriever",
    "on_retriever_end": "ignore_retriever",
    "on_retriever_error": "ignore_retriever",
    "on_retry": "ignore_retry",
    "on_text": None,
    "on_custom_event": "ignore_custom_event",
}
"""Events of LangChain's handlers, and the attribute by which a handler declines each."""

NODE_TAG = "graph:step:"
"""Begins a tag that LangChain's runs of nodes have, followed by the number of the superstep."""

CALL_TAG = "seq:step:1"
"""A tag that LangChain's runs of called tasks have, and others."""


def is_of_task(name: Any, tags: Sequence[str] | None, metadata: Mapping[str, Any]) -> bool:
    """Whether a run of LangChain's is that of a node or of a called task."""
    # nodes by their tag: what metadata says of the position can be written by users
    if any(tag.startswith(NODE_TAG) for tag in tags or ()):
        return True
    path: Any = metadata.get("langgraph_path") or ()
    called = len(path) == 4 and path[0] == PUSH and path[3] is True
    return called and CALL_TAG in (tags or ()) and name == metadata.get("langgraph_node")


def forwarding_handler(emit: Callable[[Event], None], path: tuple[str, ...]) -> Any:
    """Return a handler that emits each of its calls in mode ``CALLBACK_MODE``.

    ``path`` leads to the graph of the attempt.
    """
    return _handler_class()(emit, path)


def beating_handler(beat: Callable[[], None]) -> Any:
    """Return a handler that makes the same call for every event."""
    return _beating_class()(beat)


def node_manager(
    handlers: list[Any], request: AttemptRequest, info: CallbackInfo, value: Any
) -> Any:
    """Report that a node starts, and return its run manager: its child is the node's callbacks."""

    return _manager(handlers, request, info).on_chain_start(None, value, name=request.node)


def begun_node(handlers: list[Any], request: AttemptRequest, info: CallbackInfo) -> Any:
    """Return the run manager of a node whose run was begun elsewhere."""
    from langchain_core.callbacks.manager import CallbackManagerForChainRun

    manager = _manager(handlers, request, info)
    return CallbackManagerForChainRun(
        run_id=manager.parent_run_id,
        handlers=manager.handlers,
        inheritable_handlers=manager.inheritable_handlers,
        parent_run_id=None,
        tags=manager.tags,
        inheritable_tags=manager.inheritable_tags,
        metadata=manager.metadata,
        inheritable_metadata=manager.inheritable_metadata,
    )


def unheard_callbacks(request: AttemptRequest, about: Callable[[], CallbackInfo]) -> Any:
    """Return the callbacks of a node to which nobody listens; None where LangChain is not loaded.

    What runs in the node has a run around it: ``dispatch_custom_event`` demands one. And handlers
    that the node's code adds receive the node's tags and metadata.
    """
    cls = loaded("langchain_core.callbacks.manager", "CallbackManager")
    if cls is None:
        return None
    info = about()
    tags, metadata = list(info.tags), _metadata(request, info)
    return cls(
        handlers=[],
        parent_run_id=new_run_id(),
        tags=[CALL_TAG, *tags],
        inheritable_tags=tags,
        metadata=metadata,
        inheritable_metadata=dict(metadata),
    )


def _metadata(request: AttemptRequest, info: CallbackInfo) -> dict[str, Any]:
    return {**info.metadata, "ls_integration": "langgraph", **request.metadata}


def _manager(handlers: list[Any], request: AttemptRequest, info: CallbackInfo) -> Any:
    from langchain_core.callbacks.manager import CallbackManager

    around = request.around if request.called is None else request.called.around
    metadata = _metadata(request, info)
    manager = CallbackManager(
        handlers=[],
        inheritable_handlers=handlers,
        parent_run_id=UUID(around or info.run_id),
        inheritable_tags=list(info.tags),
        inheritable_metadata=metadata,
    )
    manager.handlers = list(handlers)
    own = f"{NODE_TAG}{request.step}" if request.called is None else CALL_TAG
    manager.tags = [own, *info.tags]  # in the order of LangGraph
    manager.metadata = dict(metadata)
    return manager


def path_run(
    config: dict[str, Any], name: Callable[[], str], value: Any
) -> AbstractContextManager[Callable[[Any], None] | None]:
    """Report the path of a conditional edge as a run inside its node's.

    Gives what ends the run, None where nobody listens.
    """
    around: Any = config.get("callbacks")
    if not getattr(around, "handlers", ()):
        return nullcontext()
    return _path_run(around, config, name(), value)


@contextmanager
def _path_run(
    around: Any, config: dict[str, Any], name: str, value: Any
) -> Iterator[Callable[[Any], None]]:
    run = around.on_chain_start(None, value, name=name)
    config["callbacks"] = run.get_child()
    try:
        yield run.on_chain_end
    except BaseException as error:
        run.on_chain_error(error)
        raise
    finally:
        config["callbacks"] = around


def record(handlers: list[Any], process: Callable[[Any], Any] | None, value: Any) -> None:
    """Replace a value for tracers by the result of ``process``, when they receive the value next.

    If ``process`` raises, tracers receive the value itself.
    """
    if process is None:
        return
    try:
        recorded = process(value)
    except Exception:
        logger.exception("a trace_policy failed; what it was to replace is recorded as it is")
        return
    for handler in handlers:
        if getattr(handler, "recorded", None) is MISSING:
            handler.recorded = recorded


def portable(value: Any) -> Any:
    """Return what travels in place of a value: itself, a shipped exception, or its ``repr``.

    Messages without an id are copied: the state gives them an id later, after handlers were called.
    """
    if isinstance(value, BaseException):
        return capture_error(value)
    value = _as_now(value)
    try:
        dumps_data(value)
    except SerializationError:
        return repr(value)
    return value


def _as_now(value: Any) -> Any:
    """Return a value with copies of the messages in it that have no id yet."""
    if type(value) is dict:
        return {key: _as_now(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_as_now, value))
    if getattr(value, "id", "") is None and hasattr(value, "model_copy"):
        return value.model_copy()
    return value


def forward(
    emit: Callable[[Event], None],
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    recorded: tuple[Any, ...] = (),
    listener: int | None = None,
    client: bool = False,
    path: tuple[str, ...] = (),
    without: tuple[int, ...] = (),
) -> None:
    """Emit the call of a handler, or of its LangSmith client."""
    call = HandlerCall(
        name,
        tuple(map(portable, args)),
        {k: portable(v) for k, v in kwargs.items()},
        tuple(map(portable, recorded)),
        listener,
        client,
        path,
        untraced=name.endswith("_start") and _switched_off(),
        without=without,
    )
    try:
        emit(Event((), CALLBACK_MODE, call))
    except asyncio.CancelledError:
        if not name.endswith(("_end", "_error")):  # these report what has ended already
            raise


def _switched_off() -> bool:
    """Whether the code has switched LangSmith's tracing off for what it runs."""
    context = loaded("langsmith.run_helpers", "get_tracing_context")
    return context is not None and context().get("enabled") is False


def relaying(name: str) -> Callable[..., None]:
    """Return a method of a stand-in; ``self.relay`` decides what it forwards."""

    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        self.relay.take(name, args, kwargs)

    return call


@lru_cache(maxsize=1)
def _beating_class() -> type[Any]:
    from langchain_core.callbacks import BaseCallbackHandler

    class BeatingHandler(BaseCallbackHandler):
        run_inline = True

        def __init__(self, beat: Callable[[], None]) -> None:
            self._beat = beat

    def beat(self: Any, *args: Any, **kwargs: Any) -> None:
        self._beat()

    for name in IGNORED_BY:
        setattr(BeatingHandler, name, beat)
    return BeatingHandler


@lru_cache(maxsize=1)
def _handler_class() -> type[Any]:
    from langchain_core.callbacks import BaseCallbackHandler

    class ForwardingHandler(BaseCallbackHandler):
        run_inline = True

        def __init__(self, emit: Callable[[Event], None], path: tuple[str, ...]) -> None:
            self._emit = emit
            self._path = path
            self.recorded: Any = MISSING
            self.runs: set[UUID] = set()
            """Runs whose start has arrived, and whose end has not."""
            self.starting: list[Callable[[UUID], int | None]] = []
            """Called with a run that starts. The result is the number of a listener to which its
            start was forwarded before: LangChain gives managers that it merges any order."""
            self.ending: list[Callable[[UUID], None]] = []
            """Called with a run that ends, before its end is forwarded."""

    def forwarded(name: str) -> Callable[..., None]:
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            without: tuple[int, ...] = ()
            if name.endswith("_start"):
                self.runs.add(kwargs["run_id"])
                numbers = [leaves(kwargs["run_id"]) for leaves in self.starting]
                without = tuple(number for number in numbers if number is not None)
            elif name.endswith(("_end", "_error")):
                for call in self.ending:
                    call(kwargs["run_id"])
            recorded: tuple[Any, ...] = ()
            if self.recorded is not MISSING and name in ("on_chain_start", "on_chain_end"):
                recorded = (self.recorded,)
                self.recorded = MISSING
            forward(
                self._emit,
                name,
                args,
                kwargs,
                recorded=recorded,
                path=self._path,
                without=without,
            )

        return call

    for name in IGNORED_BY:
        setattr(ForwardingHandler, name, forwarded(name))
    return ForwardingHandler
