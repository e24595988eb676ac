"""The caller's LangChain callbacks: called on the caller's side, with what happened on workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from distgraph._internal.loaded import loaded
from distgraph.contract.failure import ShippedError
from distgraph.serde.exceptions import rebuild_error
from distgraph.worker.forward import IGNORED_BY, NODE_TAG


class CallerCallbacks:
    """The handlers of one run, and the run that they are told of as the root of all others.

    Args:
        handlers: LangChain callback handlers, sync or async.
        name: Name of the run.
        config: The run's merged config.
        run_id: Id of the run, a UUID.
    """

    def __init__(
        self, handlers: Sequence[Any], name: str, config: Mapping[str, Any], run_id: UUID
    ) -> None:
        self._handlers = list(handlers)
        parent = config.get("parent_run_id")  # the graph is part of a sequence of LangChain's
        self._root = {"run_id": run_id, "parent_run_id": parent, "tags": list(config["tags"])}
        self._nodes: set[UUID] = set()
        self._taps = [h for h in self._handlers if shows_tokens(h)]
        self._started = {"metadata": dict(config["metadata"]), "name": name}

    def started(self, value: Any) -> tuple[Any, ...]:
        """Return the call that says that the graph starts."""
        return "on_chain_start", ({}, value), {**self._root, **self._started}

    def ended(self, value: Any) -> tuple[Any, ...]:
        """Return the call that says that the graph has ended."""
        return "on_chain_end", (value,), self._root

    def failed(self, error: BaseException) -> tuple[Any, ...]:
        """Return the call that says that the graph has failed."""
        return "on_chain_error", (error,), self._root

    def call(self, call: tuple[Any, ...]) -> None:
        """Make one call of the handlers; async handlers run to their end too."""
        if self._handlers:
            from langchain_core.callbacks.manager import handle_event

            name, args, kwargs = _rebuilt(call)
            for handlers, told in self._audiences(call, args):
                handle_event(handlers, name, IGNORED_BY[name], *told, **kwargs)

    async def acall(self, call: tuple[Any, ...]) -> None:
        """As ``call``; async handlers run on this event loop."""
        if self._handlers:
            from langchain_core.callbacks.manager import ahandle_event

            name, args, kwargs = _rebuilt(call)
            if self._taps:
                await self._tap(name, args, kwargs)
            for handlers, told in self._audiences(call, args):
                await ahandle_event(handlers, name, IGNORED_BY[name], *told, **kwargs)

    def _audiences(
        self, call: tuple[Any, ...], args: tuple[Any, ...]
    ) -> list[tuple[list[Any], tuple[Any, ...]]]:
        """Return who is told what: a node's ``trace_policy`` says what tracers are told."""
        if len(call) == 3:
            return [(self._handlers, args)]
        tracer = loaded("langchain_core.tracers.base", "BaseTracer")
        tracers = [h for h in self._handlers if tracer is not None and isinstance(h, tracer)]
        others = [h for h in self._handlers if h not in tracers]
        return [(others, args), (tracers, (*args[:-1], call[3]))]

    async def _tap(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Show the result of a node as what it streams."""
        run_id: Any = kwargs.get("run_id")
        if name == "on_chain_start":
            # by its tag: what metadata says of the position can be written by users
            if any(tag.startswith(NODE_TAG) for tag in kwargs.get("tags") or ()):
                self._nodes.add(run_id)
        elif name == "on_chain_end" and run_id in self._nodes:
            for handler in self._taps:
                async for _ in handler.tap_output_aiter(run_id, _one(args[0])):
                    pass


def shows_tokens(handler: Any) -> bool:
    """Whether a handler shows what a run streams, as that of ``astream_events`` does."""
    return hasattr(handler, "tap_output_aiter")


async def _one(item: Any) -> AsyncIterator[Any]:
    yield item


def _rebuilt(call: tuple[Any, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    name, args, kwargs = call[:3]
    return name, tuple(rebuild_error(a) if isinstance(a, ShippedError) else a for a in args), kwargs
