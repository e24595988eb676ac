"""Code that waits, written once for callers that block and for those that await.

Such code is a generator: it yields what it waits for, and is sent the answer, or has the exception
raised where it waits. Nothing in it knows which of the two forms is called.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeVar

__all__ = ("Steps", "Wait", "afollow", "awalk", "follow", "walk")

T = TypeVar("T")


class Wait(NamedTuple):
    """Something to wait for, in both forms: each is called with what ``follow`` is given."""

    call: Callable[..., Any]
    acall: Callable[..., Awaitable[Any]]


Steps = Generator[Wait, Any, T]


def follow(steps: Steps[T], *given: Any) -> T:
    """Carry out steps by blocking calls, and return their result."""
    try:
        wait = next(steps)
        while True:
            try:
                answer = wait.call(*given)
            except BaseException as error:
                wait = steps.throw(error)
            else:
                wait = steps.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        steps.close()


async def afollow(steps: Steps[T], *given: Any) -> T:
    """As ``follow``, by awaiting."""
    try:
        wait = next(steps)
        while True:
            try:
                answer = await wait.acall(*given)
            except BaseException as error:
                wait = steps.throw(error)
            else:
                wait = steps.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        steps.close()


def walk(steps: Generator[Any, Any, Any]) -> Iterator[Any]:
    """Carry out steps by blocking calls, and yield what they yield beside what they wait for.

    Whoever leaves the iterator ends them.
    """
    try:
        item = next(steps)
        while True:
            if item.__class__ is not Wait:
                yield item
                item = next(steps)
                continue
            try:
                answer = item.call()
            except BaseException as error:
                item = steps.throw(error)
            else:
                item = steps.send(answer)
    except StopIteration:
        return
    finally:
        steps.close()


async def awalk(steps: Generator[Any, Any, Any]) -> AsyncIterator[Any]:
    """As ``walk``, by awaiting."""
    try:
        item = next(steps)
        while True:
            if item.__class__ is not Wait:
                yield item
                item = next(steps)
                continue
            try:
                answer = await item.acall()
            except BaseException as error:
                item = steps.throw(error)
            else:
                item = steps.send(answer)
    except StopIteration:
        return
    finally:
        steps.close()
