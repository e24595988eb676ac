"""The caller's LangChain callbacks: called on the caller's side, with what happened on workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from distgraph.serde.exceptions import ShippedError
from distgraph.worker.forward import IGNORED_BY


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
        self._root = {"run_id": run_id, "parent_run_id": None, "tags": list(config["tags"])}
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
            handle_event(self._handlers, name, IGNORED_BY[name], *args, **kwargs)

    async def acall(self, call: tuple[Any, ...]) -> None:
        """As ``call``; async handlers run on this event loop."""
        if self._handlers:
            from langchain_core.callbacks.manager import ahandle_event

            name, args, kwargs = _rebuilt(call)
            await ahandle_event(self._handlers, name, IGNORED_BY[name], *args, **kwargs)


def _rebuilt(call: tuple[Any, ...]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    name, args, kwargs = call
    return name, tuple(a.rebuild() if isinstance(a, ShippedError) else a for a in args), kwargs
