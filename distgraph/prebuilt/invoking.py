"""Calling a tool and what surrounds it, from synchronous code and from coroutines alike."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Protocol, TypeVar

from langchain_core.tools import BaseTool, StructuredTool, Tool

from distgraph.concurrency.threads import daemon, in_thread, new_loop
from distgraph.interop import own
from distgraph.prebuilt.options import has_async, has_sync

__all__ = ("AWAITING", "IN_PLACE", "Face", "on_a_loop", "without_loop")

T = TypeVar("T")

_POLL = 0.05
"""Seconds between two looks at a result: Ray's cancellation does not end an unbounded wait."""


class Face(Protocol):
    """Interface by which one coroutine calls tools, synchronously or asynchronously."""

    is_async: bool

    async def invoke(self, tool: BaseTool, call: dict[str, Any], config: Any) -> Any:
        """Return the result of the tool for a tool call."""


class _InPlace:
    is_async = False

    async def invoke(self, tool: BaseTool, call: dict[str, Any], config: Any) -> Any:
        return own(call_tool(tool, call, config))


class _Awaiting:
    is_async = True

    async def invoke(self, tool: BaseTool, call: dict[str, Any], config: Any) -> Any:
        return own(await await_tool(tool, call, config))


IN_PLACE: Face = _InPlace()
"""Never suspends: what uses it can be run by ``without_loop``."""

AWAITING: Face = _Awaiting()


def call_tool(tool: BaseTool, call: dict[str, Any], config: Any) -> Any:
    """Invoke a tool from synchronous code; one that is only async runs on a loop."""
    if not has_sync(tool):
        return on_a_loop(tool.ainvoke(call, config))
    try:
        return tool.invoke(call, config)
    except NotImplementedError:
        if _by_class(tool) and has_async(tool):
            return on_a_loop(tool.ainvoke(call, config))
        raise


async def await_tool(tool: BaseTool, call: dict[str, Any], config: Any) -> Any:
    """Await a tool. One that is only synchronous runs in a thread."""
    try:
        return await tool.ainvoke(call, config)
    except NotImplementedError:
        # many classes of tools say so of an _arun that they could have left out
        if _by_class(tool) and has_async(tool):
            return await in_thread(tool.invoke, call, config)
        raise


def _by_class(tool: BaseTool) -> bool:
    return not isinstance(tool, (StructuredTool, Tool))


def without_loop(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    steps.close()
    raise RuntimeError("a coroutine for synchronous code has suspended: a bug of distgraph")


def on_a_loop(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code, in the caller's context."""
    loop = _loop()
    if loop.own is threading.current_thread():
        # the loop waits for this very call: another one has to do it
        loop = _Loop()
        try:
            return _wait(loop, steps)
        finally:
            loop.stop()
    return _wait(loop, steps)


def _wait(loop: _Loop, steps: Coroutine[Any, Any, T]) -> T:
    future = asyncio.run_coroutine_threadsafe(steps, loop.loop)
    try:
        while True:
            try:
                return future.result(_POLL)
            except NotYet:
                if future.done():
                    return future.result()
    except BaseException:
        future.cancel()
        raise


class _Loop:
    """An event loop in a thread. It is shared: clients keep connections by loop."""

    def __init__(self) -> None:
        self.loop = new_loop()
        self.own = daemon(self.loop.run_forever, "distgraph-tools")
        self.own.start()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.own.join()
        self.loop.close()


@functools.lru_cache(maxsize=1)
def _loop() -> _Loop:
    return _Loop()
