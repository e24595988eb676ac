"""Stand-ins on the worker for the caller's callback handlers.

One handler forwards all events inside the run. Each handler also has a stand-in that forwards
nothing. By the stand-in, LangChain and instrumentations of LangChain see that the handler is there
already, and add none of their own. Where a run inside inherits nothing, LangChain still gives it
the handlers that context variables hold: those stand-ins forward what they receive.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import Any
from uuid import UUID

from distgraph._internal.loaded import loaded
from distgraph.contract.callbacks import STREAMED, CallbackInfo, Listener
from distgraph.contract.stream import Event
from distgraph.worker.forward import IGNORED_BY, forward, forwarding_handler, relaying
from distgraph.worker.tracing import is_tracer, tracer_stand_in

__all__ = ("Hook", "configured", "stand_ins")

Hook = tuple[Any, bool]
"""A handler that a context variable of LangChain's is to hold, and whether runs inherit it."""


def stand_ins(
    info: CallbackInfo, emit: Callable[[Event], None], path: tuple[str, ...]
) -> tuple[list[Any], tuple[Hook, ...]]:
    """Return the handlers that all in an attempt inherits, and those of context variables.

    ``path`` leads to the graph of the attempt.
    """
    whole = forwarding_handler(emit, path)
    handlers = [whole]
    hooks: list[Hook] = []
    for listener in info.listeners:
        if path[: len(listener.path)] != listener.path:
            continue
        relay = _Relay(listener, whole, emit)
        if listener.trace is not None:
            one = tracer_stand_in(relay, info.run_id)
            whole.ending.append(one.run_map.end)
        else:
            cls = _tapping_class() if listener.taps else _stand_in_class()
            one = cls(relay, listener.cls)
        if listener.inherited:
            handlers.append(one)
            whole.starting.append(relay.leaves)
        if listener.hook is not None:
            hooks.append((one, listener.hook))
    return handlers, tuple(hooks)


def configured(hooks: Sequence[Hook]) -> AbstractContextManager[None] | None:
    """Have LangChain configure these handlers in this context, and none that it holds otherwise.

    None: it does so already. The caller's own handlers are in the context too where caller and node
    share a process.
    """
    module = "langchain_core.tracers.context"
    if hooks:  # a node may run graphs and no model: nothing else loads the module then
        importlib.import_module(module)
    known = loaded(module, "_configure_hooks")
    if known is None:
        return None
    if not hooks and all(hook[0].get() is None for hook in known) and _switch().get() is None:
        return None
    return _configured(known, hooks)


def _switch() -> ContextVar[Any]:
    """Return the variable by which LangChain finds a tracer."""
    found: ContextVar[Any] = loaded("langchain_core.tracers.context", "tracing_v2_callback_var")
    return found


@contextmanager
def _configured(known: Sequence[Any], hooks: Sequence[Hook]) -> Iterator[None]:
    tracers = [handler for handler, _ in hooks if is_tracer(handler)]
    hooks = [hook for hook in hooks if hook[0] not in tracers]
    places: dict[bool, list[Any]] = {True: [], False: []}
    for handler, inherits in hooks:
        places[inherits].append(handler)
    changes: list[tuple[ContextVar[Any], Token[Any]]] = []
    own = {_place(inherits, at) for inherits in places for at in range(len(places[inherits]))}
    for hook in list(known):
        if hook[0] not in own and hook[0].get() is not None:
            changes.append((hook[0], hook[0].set(None)))
    for inherits, handlers in places.items():
        for at, handler in enumerate(handlers):
            place = _place(inherits, at)
            changes.append((place, place.set(handler)))
    switch = _switch()
    changes.append((switch, switch.set(tracers[0] if tracers else None)))
    try:
        yield
    finally:
        for var, token in reversed(changes):
            var.reset(token)


@lru_cache(maxsize=256)
def _place(inherits: bool, at: int) -> ContextVar[Any]:
    """Return a context variable that LangChain looks at; those of callers exist there only."""
    from langchain_core.tracers.context import register_configure_hook

    var: ContextVar[Any] = ContextVar(f"distgraph_listener_{at}", default=None)
    register_configure_hook(var, inherits)
    return var


class _Relay:
    """Forwards the events that only one stand-in receives."""

    def __init__(self, listener: Listener, whole: Any, emit: Callable[[Event], None]) -> None:
        self.listener = listener
        self.silent = listener.hook is None
        self.emit = emit
        self._whole = whole
        self._runs: set[UUID] = set()
        self._tapped: set[UUID] = set()

    def take(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward the events that the handler alone receives."""
        run_id: Any = kwargs.get("run_id")
        covered = self.listener.inherited and run_id in self._whole.runs
        if name.endswith("_start") and not covered:
            self._runs.add(run_id)
        if run_id not in self._runs:
            return
        if name.endswith(("_end", "_error")):
            self._runs.discard(run_id)
        forward(self.emit, name, args, kwargs, listener=self.listener.number)

    def leaves(self, run_id: UUID) -> int | None:
        """Leave a run to the handler of all events, which has received the start of it too.

        Returns: the number of the handler, if its start was forwarded before.
        """
        if run_id not in self._runs:
            return None
        self._runs.discard(run_id)
        return self.listener.number

    def is_new(self, run_id: UUID) -> bool:
        """Whether nobody forwards yet what a run streams: several handlers may be asked to."""
        known = run_id in self._tapped
        self._tapped.add(run_id)
        return not known

    def streamed(self, run_id: UUID, chunk: Any) -> None:
        """Forward a chunk that a run streams."""
        number = self.listener.number
        forward(self.emit, STREAMED, (chunk,), {"run_id": run_id}, listener=number)


@lru_cache(maxsize=1)
def _stand_in_class() -> type[Any]:
    from langchain_core.callbacks import BaseCallbackHandler

    class StandIn(BaseCallbackHandler):
        """One handler of the caller's."""

        run_inline = True

        def __init__(self, relay: _Relay, cls: tuple[str, str]) -> None:
            self.relay = relay
            self._stands_for: type = _class(cls) or type(self)

        @property  # type: ignore[misc]
        def __class__(self) -> type:
            return self._stands_for

        @property
        def _silent(self) -> bool:
            return self.relay.silent

        ignore_llm = ignore_retry = ignore_chain = ignore_agent = ignore_retriever = _silent
        ignore_chat_model = ignore_custom_event = _silent

    for name in IGNORED_BY:
        setattr(StandIn, name, relaying(name))
    return StandIn


@lru_cache(maxsize=1)
def _tapping_class() -> type[Any]:
    # a LangGraph graph inside the node looks for this class among the bases
    base: Any = importlib.import_module("langchain_core.tracers._streaming")
    cls: Any = _stand_in_class()

    class TappingStandIn(cls, base._StreamingCallbackHandler):  # type: ignore[misc]
        """A handler that also receives the chunks that a run streams."""

        shows_chunks = True

        def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
            return self._tap(run_id, output) if self.relay.is_new(run_id) else output

        def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
            return self._atap(run_id, output) if self.relay.is_new(run_id) else output

        def _tap(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
            for chunk in output:
                self.relay.streamed(run_id, chunk)
                yield chunk

        async def _atap(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for chunk in output:
                self.relay.streamed(run_id, chunk)
                yield chunk

    return TappingStandIn


def _class(cls: tuple[str, str]) -> Any:
    """Return the class of a handler, if this process has it."""
    module, names = cls
    outer, *inner = names.split(".")
    found = loaded(module, outer)
    for name in inner:
        found = getattr(found, name, None)
    return found if isinstance(found, type) else None
