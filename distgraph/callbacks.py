"""The caller's LangChain callbacks: called on the caller's side, with what happened on workers.

A run's handlers are those of its config, of the chain or node around it, and those that LangChain
configures by itself: ``get_usage_metadata_callback``, ``collect_runs``, tracers that an environment
variable or an instrumentation switches on.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any
from uuid import UUID

from distgraph._internal.loaded import loaded
from distgraph._internal.mistakes import nearest
from distgraph.contract.callbacks import (
    CHANGED,
    STREAMED,
    CallbackInfo,
    HandlerCall,
    Listener,
    Trace,
)
from distgraph.contract.failure import ShippedError
from distgraph.errors import MissingExtraError, RunCancelled
from distgraph.serde.exceptions import rebuild_error
from distgraph.worker.forward import IGNORED_BY, is_of_task
from distgraph.worker.tracing import change_run, tell_client, traced_as

if TYPE_CHECKING:
    from langgraph.callbacks import GraphCallbackHandler as GraphCallbackHandler
    from langgraph.callbacks import GraphInterruptEvent as GraphInterruptEvent
    from langgraph.callbacks import GraphLifecycleEvent as GraphLifecycleEvent
    from langgraph.callbacks import GraphLifecycleStatus as GraphLifecycleStatus
    from langgraph.callbacks import GraphResumeEvent as GraphResumeEvent

_OF_LANGGRAPH = frozenset(
    {
        "GraphCallbackHandler",
        "GraphInterruptEvent",
        "GraphLifecycleEvent",
        "GraphLifecycleStatus",
        "GraphResumeEvent",
    }
)

_SWITCHES = (
    "LANGSMITH_TRACING_V2",
    "LANGCHAIN_TRACING_V2",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING",
)
"""Environment variables that make LangChain trace without being asked to."""

_ENDED_BY = {
    "on_chain_start": "on_chain_error",
    "on_chat_model_start": "on_llm_error",
    "on_llm_start": "on_llm_error",
    "on_tool_start": "on_tool_error",
    "on_retriever_start": "on_retriever_error",
}

_LIFECYCLE = {"on_interrupt": "GraphInterruptEvent", "on_resume": "GraphResumeEvent"}

_SECRET = ("key", "token", "secret", "password", "auth")


def __getattr__(name: str) -> Any:
    if name not in _OF_LANGGRAPH:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}.{nearest(name, _OF_LANGGRAPH)}"
        )
    try:
        from langgraph import callbacks
    except ImportError as error:
        raise MissingExtraError(
            f"{name} is a class of LangGraph 1.1 or newer: pip install 'distgraph[agents]'"
        ) from error
    return getattr(callbacks, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_LANGGRAPH})


class CallerCallbacks:
    """The handlers of one run, and the root run that they receive.

    Args:
        config: The run's merged config.
        name: Name of the run.
        run_id: Id of the run, a UUID.
        inner: Handlers that ``with_config`` gave to graphs that are nodes, by the names of the
            nodes that lead to each of these graphs.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        name: str,
        run_id: UUID,
        inner: Mapping[tuple[str, ...], Any] | None = None,
    ) -> None:
        manager = _manager(config)
        self._inner = {path: _handlers(given) for path, given in (inner or {}).items()}
        self._own = _heard_by(manager, "handlers")
        self._inherited = _heard_by(manager, "inheritable_handlers")
        self._listeners: list[Any] = []
        self._configured: list[Any] = []
        """Handlers of a block around the run, such as ``collect_runs()``, that nodes do not
        inherit."""
        self._run_id = run_id
        self._name = name
        self._parent = None if manager is None else manager.parent_run_id
        self._tags = [] if manager is None else list(manager.tags)
        self._metadata = {} if manager is None else dict(manager.metadata)
        self._tapped: set[UUID] = set()
        """Runs of nodes and called tasks, whose results are shown as what they stream."""
        self._graphs = {run_id}
        """The root's run, and those of the graphs that are nodes."""
        self._open: dict[UUID, HandlerCall] = {}
        """Runs on workers that have started and not ended."""
        self._taps = [h for h in self._inherited if shows_tokens(h)]
        self._chunks = _StreamedChunks()
        tags, metadata = tuple(config["tags"]), dict(config["metadata"])
        if manager is not None:
            tags = tuple(manager.inheritable_tags)
            metadata = dict(manager.inheritable_metadata)
        self.info = self._info(tags, metadata)
        """What workers need to know; None where nobody listens."""

    @property
    def hears(self) -> bool:
        """Whether a handler receives calls of the run."""
        return bool(self._own)

    @property
    def shows_tokens(self) -> bool:
        """Whether a handler shows what models stream."""
        return any(map(shows_tokens, (*self._own, *self._inherited)))

    def _info(self, tags: tuple[str, ...], metadata: dict[str, Any]) -> CallbackInfo | None:
        hooked = {id(handler): inherits for handler, inherits in _hooked()}
        if _is_tracing():
            hooked.update({id(h): True for h in self._inherited if _traces(h)})
        known = {id(handler) for handler in self._inherited}
        listeners = []
        for handler in (*self._inherited, *(h for h in self._own if id(h) not in known)):
            inherited = id(handler) in known
            if not inherited and id(handler) not in hooked:
                continue  # it receives the graph only
            if not inherited:
                self._configured.append(handler)
            listeners.append(
                Listener(
                    len(self._listeners),
                    type_of(handler),
                    inherited=inherited,
                    hook=hooked.get(id(handler)),
                    trace=self._trace(handler),
                    taps=shows_tokens(handler),
                )
            )
            self._listeners.append(handler)
        for path, handlers in self._inner.items():
            for handler in handlers:
                number = len(self._listeners)
                taps = shows_tokens(handler)
                listeners.append(
                    Listener(number, type_of(handler), inherited=True, path=path, taps=taps)
                )
                self._listeners.append(handler)
        if not listeners:
            return None
        every = (*self._own, *self._inherited, *chain.from_iterable(self._inner.values()))
        return CallbackInfo(
            run_id=str(self._run_id),
            listeners=tuple(listeners),
            tags=tags,
            metadata=metadata,
            lifecycle=any(map(_hears_of_graphs, every)),
        )

    def _trace(self, handler: Any) -> Trace | None:
        """Return what a tracer says of all runs; None for other handlers."""
        if not _traces(handler):
            return None
        around = None if self._parent is None else handler.run_map.get(str(self._parent))
        return Trace(
            str(self._run_id if around is None else around.trace_id),
            handler.project_name if around is None else around.session_name,
            tuple(handler.tags or ()),
            dict(getattr(handler, "tracing_metadata", None) or {}),
        )

    def _inside(self, path: tuple[str, ...]) -> list[Any]:
        """Return the handlers of what runs in the graph to which ``path`` leads."""
        above = [own for start, own in self._inner.items() if path[: len(start)] == start]
        inner = chain.from_iterable(above)
        return [*self._inherited, *(h for h in inner if h not in self._inherited)]

    # --- the run itself -------------------------------------------------------------------------

    def started(self, value: Any) -> HandlerCall:
        """Return the call that says that the graph starts."""
        more = {"metadata": dict(self._metadata), "name": self._name}
        return self._of_root("on_chain_start", (None, value), **more)

    def ended(self, value: Any) -> HandlerCall:
        """Return the call that says that the graph has ended."""
        return self._of_root("on_chain_end", (value,))

    def failed(self, error: BaseException) -> HandlerCall:
        """Return the call that says that the graph has failed."""
        return self._of_root("on_chain_error", (error,))

    def _of_root(self, call: str, args: tuple[Any, ...], **more: Any) -> HandlerCall:
        root = {"run_id": self._run_id, "parent_run_id": self._parent, "tags": list(self._tags)}
        return HandlerCall(call, args, {**root, **more})

    # --- telling --------------------------------------------------------------------------------

    def call(self, call: HandlerCall) -> None:
        """Make one call of the handlers; async handlers run to their end too."""
        for handlers, name, args, kwargs in self._due(call):
            from langchain_core.callbacks.manager import handle_event

            with traced_as(call):
                handle_event(handlers, name, IGNORED_BY.get(name), *args, **kwargs)

    async def acall(self, call: HandlerCall) -> None:
        """As ``call``; async handlers run on this event loop."""
        for handlers, name, args, kwargs in self._due(call):
            from langchain_core.callbacks.manager import ahandle_event

            if self._taps:
                await self._tap(call, name, args, kwargs)
            with traced_as(call):
                await ahandle_event(handlers, name, IGNORED_BY.get(name), *args, **kwargs)

    def _due(
        self, call: HandlerCall
    ) -> list[tuple[list[Any], str, tuple[Any, ...], dict[str, Any]]]:
        """Return handlers with the calls that they receive."""
        if not (self._own or self._inherited or self._inner):
            return []
        if call.client:
            assert call.listener is not None
            tell_client(self._listeners[call.listener], call)
            return []
        run_id: Any = call.kwargs.get("run_id")
        if call.name == CHANGED:
            assert call.listener is not None
            change_run(self._listeners[call.listener], run_id, call.args[0])
            return []
        if call.name == STREAMED:
            assert call.listener is not None
            self._chunks.take(self._listeners[call.listener], run_id, call.args[0])
            return []
        if call.name.endswith(("_end", "_error")):
            self._chunks.end(run_id)
        root = run_id == self._run_id
        due = []
        if root and call.name in ("on_chain_end", "on_chain_error"):
            due += self._unended(call)
        if not root:
            if call.name in _ENDED_BY:
                self._open[run_id] = call._replace(without=())
            elif call.name.endswith(("_end", "_error")):
                self._open.pop(run_id, None)
        if call.name in _LIFECYCLE:
            return [(*lifecycle, {}) for lifecycle in self._of_graph(call, root)]
        args = tuple(rebuild_error(a) if isinstance(a, ShippedError) else a for a in call.args)
        for handlers, arguments in _addressed(
            self._own if root else self._audience(call), call, args
        ):
            if handlers:
                due.append((handlers, call.name, arguments, call.kwargs))
        return due

    def _audience(self, call: HandlerCall) -> list[Any]:
        """Return the handlers of a call that is not the root's."""
        if call.listener is not None:
            return [self._listeners[call.listener]]
        inside = self._inside(call.path)
        if call.without:
            without = [self._listeners[number] for number in call.without]
            inside = [h for h in inside if not any(h is other for other in without)]
        # LangChain configures handlers of a block around the run anew for each graph
        return [*inside, *self._configured] if call.of_graph else inside

    def _unended(
        self, call: HandlerCall
    ) -> list[tuple[list[Any], str, tuple[Any, ...], dict[str, Any]]]:
        """Return the calls that end runs on workers whose own end did not arrive."""
        error = call.args[0] if call.name == "on_chain_error" else None
        if not isinstance(error, BaseException):
            error = RunCancelled("the attempt that it was a part of was cancelled or lost")
        due = []
        while self._open:
            run_id, begun = self._open.popitem()
            kwargs = {"run_id": run_id}
            kwargs |= {k: begun.kwargs[k] for k in ("parent_run_id", "tags") if k in begun.kwargs}
            due.append((self._audience(begun), _ENDED_BY[begun.name], (error,), kwargs))
        return due

    def _of_graph(
        self, call: HandlerCall, root: bool
    ) -> list[tuple[list[Any], str, tuple[Any, ...]]]:
        """Return the call for a graph's interrupt or resume."""
        from langgraph import callbacks

        audience = self._own if root else self._inside(call.path)
        handlers = [h for h in audience if _hears_of_graphs(h)]
        event = getattr(callbacks, _LIFECYCLE[call.name])(**call.kwargs)
        return [(handlers, call.name, (event,))]

    async def _tap(
        self, call: HandlerCall, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Show the result of a node as what it streams.

        A graph that the code of a node awaits shows its own; one that is called without ``await``
        shows none, as in LangGraph.
        """
        run_id: Any = kwargs.get("run_id")
        if name == "on_chain_start":
            parent = kwargs.get("parent_run_id")
            if call.of_graph:
                self._graphs.add(run_id)
            elif (parent in self._graphs or parent in self._tapped) and is_of_task(
                kwargs.get("name"), kwargs.get("tags"), kwargs.get("metadata") or {}
            ):
                self._tapped.add(run_id)
        elif name == "on_chain_end" and run_id in self._tapped:
            for handler in self._taps:
                async for _ in handler.tap_output_aiter(run_id, _one(args[0])):
                    pass


_END = object()


class _StreamedChunks:
    """Hands the chunks that runs inside attempts stream to the handlers that show them.

    Such a handler shows what passes through its ``tap_output_iter``, once for each run: the
    iterator of a run stays open until the run ends.
    """

    def __init__(self) -> None:
        self._open: dict[UUID, dict[int, tuple[deque[Any], Iterator[Any]]]] = {}

    def take(self, handler: Any, run_id: UUID, chunk: Any) -> None:
        of_run = self._open.setdefault(run_id, {})
        if id(handler) not in of_run:
            waiting: deque[Any] = deque()
            shown = handler.tap_output_iter(run_id, iter(waiting.popleft, _END))
            of_run[id(handler)] = (waiting, shown)
        waiting, shown = of_run[id(handler)]
        waiting.append(chunk)
        next(shown, None)

    def end(self, run_id: Any) -> None:
        self._open.pop(run_id, None)


def shows_tokens(handler: Any) -> bool:
    """Whether a handler shows what a run streams, as that of ``astream_events`` does."""
    return hasattr(handler, "tap_output_aiter")


def type_of(handler: Any) -> tuple[str, str]:
    """Return module and name of a handler's class; a stand-in has that of what it stands for."""
    cls = handler.__class__
    return cls.__module__, cls.__qualname__


def _hears_of_graphs(handler: Any) -> bool:
    """Whether a handler receives interrupts and resumes of graphs."""
    cls = loaded("langgraph.callbacks", "GraphCallbackHandler")
    return cls is not None and isinstance(handler, cls)


def _traces(handler: Any) -> bool:
    """Whether a handler is LangChain's tracer for LangSmith."""
    cls = loaded("langchain_core.tracers.langchain", "LangChainTracer")
    return cls is not None and isinstance(handler, cls)


def _is_tracing() -> bool:
    """Whether LangChain traces what nobody has asked it to trace."""
    enabled = loaded("langchain_core.tracers.context", "_tracing_v2_is_enabled")
    return bool(enabled and enabled())


def _addressed(
    handlers: list[Any], call: HandlerCall, args: tuple[Any, ...]
) -> list[tuple[list[Any], tuple[Any, ...]]]:
    """Return handlers with their arguments; a node's ``trace_policy`` changes those of tracers."""
    if not call.recorded:
        return [(handlers, args)]
    tracer = loaded("langchain_core.tracers.base", "BaseTracer")
    tracers = [h for h in handlers if tracer is not None and isinstance(h, tracer)]
    others = [h for h in handlers if h not in tracers]
    return [(others, args), (tracers, (*args[:-1], *call.recorded))]


async def _one(item: Any) -> AsyncIterator[Any]:
    yield item


def _heard_by(manager: Any, attribute: str) -> list[Any]:
    """Return a manager's handlers, without those by which a node around the run is streamed."""
    handlers = () if manager is None else getattr(manager, attribute)
    return [h for h in handlers if not getattr(h, "captures_stream", False)]


def _handlers(callbacks: Any) -> list[Any]:
    """Return the handlers of a config's callbacks: a list, one handler, or a manager."""
    if hasattr(callbacks, "inheritable_handlers"):
        return list(callbacks.inheritable_handlers)
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _manager(config: Mapping[str, Any]) -> Any:
    """Return LangChain's callback manager for a run with this config; None without handlers.

    It is completed by what LangChain configures by itself, also inside a chain or a node: LangGraph
    completes it for every graph.
    """
    callbacks = config["callbacks"]
    if not callbacks and not _configures():
        return None
    from langchain_core.callbacks.manager import CallbackManager

    tags, metadata = list(config["tags"]), dict(config["metadata"])
    options: dict[str, Any] = {}
    if _takes_tracing_metadata():
        options["langsmith_inheritable_metadata"] = _for_tracers(config["configurable"])
    manager = CallbackManager.configure(
        callbacks or None, inheritable_tags=tags, inheritable_metadata=metadata, **options
    )
    if "ls_integration" not in manager.metadata:
        manager.add_metadata({"ls_integration": "langgraph"})
    return manager if manager.handlers or manager.inheritable_handlers else None


def _configures() -> bool:
    """Whether LangChain may have handlers of its own. It is not imported to find out."""
    if "langchain_core.callbacks.manager" in sys.modules:
        return True
    switched = any(os.environ.get(name, "").lower() == "true" for name in _SWITCHES)
    return switched and find_spec("langchain_core") is not None


def _hooked() -> list[tuple[Any, bool]]:
    """Return the handlers that context variables hold, and whether the runs inside have them."""
    hooks = loaded("langchain_core.tracers.context", "_configure_hooks") or ()
    found = [(hook[0].get(), bool(hook[1])) for hook in hooks]
    return [(handler, inherits) for handler, inherits in found if handler is not None]


@lru_cache(maxsize=1)
def _takes_tracing_metadata() -> bool:
    from langchain_core.callbacks.manager import CallbackManager

    return (
        "langsmith_inheritable_metadata" in inspect.signature(CallbackManager.configure).parameters
    )


def _for_tracers(configurable: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what tracers show of ``configurable``: plain values whose name is no secret's."""
    shown = {
        key: value
        for key, value in configurable.items()
        if not key.startswith("__")
        and isinstance(value, (str, int, float, bool))
        and not any(part in key.casefold() for part in _SECRET)
    }
    return shown or None
