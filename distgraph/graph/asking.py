"""Code that needs a checkpoint saver, written once for callers that wait and for those that await.

Such code is a generator: it yields what it asks, and is sent the answer. Nothing in it knows
whether the saver's methods or their async forms are called.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from distgraph.persistence import faces

__all__ = ("Ask", "Steps", "UserCode", "afollow", "ask", "follow")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """A method of the saver to call."""

    method: str
    args: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserCode:
    """A coroutine to run, such as that of a conditional edge."""

    make: Callable[[], Coroutine[Any, Any, Any]]
    waits: bool
    """Whether it may suspend."""


Steps = Generator[Ask | UserCode, Any, T]


def ask(method: str, *args: Any, **options: Any) -> Steps[Any]:
    """Ask the saver, and return its answer: a list where the answer comes item by item."""
    answer = yield Ask(method, args, options)
    return answer


def follow(steps: Steps[T], saver: Any) -> T:
    """Carry out steps by the saver's own methods."""
    answer: Any = None
    while True:
        try:
            wanted = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if isinstance(wanted, Ask):
            answer = faces.call(saver, wanted.method, wanted.args, wanted.options)
        else:
            answer = _on_a_loop_of_its_own(wanted.make) if wanted.waits else _at_once(wanted.make)


async def afollow(steps: Steps[T], saver: Any) -> T:
    """Carry out steps by the saver's async methods."""
    answer: Any = None
    while True:
        try:
            wanted = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if isinstance(wanted, UserCode):
            answer = await wanted.make()
        elif faces.has_own(saver, "a" + wanted.method):
            answer = await faces.acall(saver, wanted.method, wanted.args, wanted.options)
        else:
            answer = await asyncio.to_thread(
                faces.call, saver, wanted.method, wanted.args, wanted.options
            )


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

    thread = threading.Thread(target=run, name="distgraph-update", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
