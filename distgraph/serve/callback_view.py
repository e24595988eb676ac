"""Stream mode ``events``: what ``astream_events(version="v2")`` yields for a run, for one reader.

A run with this mode has a listener in its config, so that the calls of callbacks on workers are in
its log. Each reader makes these calls again, of LangChain's own handler for ``astream_events``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.tracers.event_stream import _AstreamEventsCallbackHandler

from distgraph.callbacks import CallerCallbacks
from distgraph.contract.stream import CALLBACK_MODE
from distgraph.serve.thread_log import LogEntry, RunBegan, RunChunk, RunEnded

__all__ = ("CallbackView", "Listening")


class Listening(AsyncCallbackHandler):
    """What is in the config of a run with the mode: its calls are wanted, by readers."""

    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = True
    ignore_chat_model = ignore_retry = ignore_custom_event = True

    async def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> Any:
        """Say that the tokens of models are wanted too."""
        async for each in output:
            yield each

    def tap_output_iter(self, run_id: UUID, output: Any) -> Any:
        """As ``tap_output_aiter``."""
        return output


class _Handler(_AstreamEventsCallbackHandler):
    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Any] = []

    def _send(self, event: Any, event_type: str) -> None:
        self.made.append(event)


class CallbackView:
    """Turns the entries of a run's log into events. It must see the run from its start."""

    def __init__(self) -> None:
        self._handler = _Handler()
        self._callbacks: CallerCallbacks | None = None
        self._run_id: UUID | None = None
        self._output: Any = None

    def of(self, entry: LogEntry) -> list[Any]:
        """Return the events of an entry."""
        if isinstance(entry, RunBegan):
            self._begin(entry)
        elif self._callbacks is None or self._run_id is None:
            return []  # the reader came later
        elif isinstance(entry, RunEnded):
            if entry.status == "success":
                _at_once(self._callbacks.acall(self._callbacks.ended(self._output)))
        else:
            _at_once(self._chunk(self._callbacks, self._run_id, entry))
        made, self._handler.made = self._handler.made, []
        return made

    def _begin(self, entry: RunBegan) -> None:
        run, kwargs = entry.run, entry.run.kwargs
        config = kwargs.get("config") or {}
        self._run_id = UUID(run.run_id)
        given = {
            "callbacks": [self._handler],
            "tags": list(config.get("tags") or ()),
            "metadata": {**(config.get("metadata") or {}), **run.metadata},
            "configurable": {},
        }
        self._callbacks = CallerCallbacks(given, run.graph_id, self._run_id)
        _at_once(self._callbacks.acall(self._callbacks.started(kwargs.get("input"))))

    async def _chunk(self, callbacks: CallerCallbacks, run_id: UUID, chunk: RunChunk) -> None:
        if chunk.mode == CALLBACK_MODE:
            await callbacks.acall(chunk.payload)
        elif chunk.ns:
            return
        elif chunk.mode == "values":
            self._output = chunk.payload
        elif chunk.mode == "updates":
            self._handler.is_tapped.pop(run_id, None)  # each chunk is shown, not the first only
            async for _ in self._handler.tap_output_aiter(run_id, _one(chunk.payload)):
                pass


async def _one(item: Any) -> AsyncIterator[Any]:
    yield item


def _at_once(calls: Coroutine[Any, Any, None]) -> None:
    """Carry out calls of the handler, none of which waits."""
    try:
        calls.send(None)
    except StopIteration:
        return
    calls.close()
    raise RuntimeError("a handler of callbacks waits for something")
