"""Steps of reading and writing a thread: calls of the saver, and calls of code of the graph.

Both are steps (see ``distgraph._internal.steps``), which a sync or an async caller executes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from distgraph._internal.steps import Steps, Wait
from distgraph.concurrency.threads import daemon
from distgraph.persistence import sync_or_async

__all__ = ("ask", "run_code")


def ask(method: str, *args: Any, **options: Any) -> Steps[Any]:
    """Call the saver, and return the result; results that arrive item by item are returned as a
    list."""

    def call(saver: Any) -> Any:
        return sync_or_async.call(saver, method, args, options)

    async def acall(saver: Any) -> Any:
        if sync_or_async.has_own(saver, "a" + method):
            return await sync_or_async.acall(saver, method, args, options)
        return await asyncio.to_thread(call, saver)

    answer = yield Wait(call, acall)
    return answer


def run_code(make: Callable[[], Coroutine[Any, Any, Any]], *, waits: bool) -> Steps[Any]:
    """Run a coroutine, such as that of a conditional edge. ``waits``: whether it may suspend."""
    block = _on_a_loop_of_its_own if waits else _at_once
    result = yield Wait(lambda _: block(make), lambda _: make())
    return result


def _at_once(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    coroutine = make()
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("synchronous code awaited something; declare it with `async def`")


def _on_a_loop_of_its_own(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine in a thread: the caller's may have a loop that runs."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(make()))
        except BaseException as error:
            failure.append(error)

    thread = daemon(run, "distgraph-update")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
