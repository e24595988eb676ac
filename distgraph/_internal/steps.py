"""Code that waits, written once for callers that block and for those that await.

Such code is a generator: it yields what it waits for, and is sent the answer, or has the exception
raised where it waits. Nothing in it knows which of the two forms is called.
"""

from __future__ import annotations

import asyncio
import types
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, NamedTuple, TypeVar

from distgraph._internal.tracebacks import hide_machinery

__all__ = (
    "AsyncLate",
    "Late",
    "Steps",
    "Wait",
    "afollow",
    "awalk",
    "follow",
    "through_cancels",
    "walk",
)

T = TypeVar("T")


class Wait(NamedTuple):
    """Something to wait for, in both forms: each is called with what ``follow`` is given."""

    call: Callable[..., Any]
    acall: Callable[..., Awaitable[Any]]


Steps = Generator[Wait, Any, T]


def follow(steps: Steps[T], *given: Any) -> T:
    """Carry out steps by blocking calls, and return their result."""
    __tracebackhide__ = True
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
    except Exception as error:
        raise _shown(error)  # noqa: B904 (the same error)
    finally:
        steps.close()


async def afollow(steps: Steps[T], *given: Any) -> T:
    """As ``follow``, by awaiting."""
    __tracebackhide__ = True
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
    except Exception as error:
        raise _shown(error)  # noqa: B904 (the same error)
    finally:
        steps.close()


def walk(steps: Generator[Any, Any, Any]) -> Generator[Any, None, None]:
    """Carry out steps by blocking calls, and yield what they yield beside what they wait for.

    Closing the iterator ends them.
    """
    __tracebackhide__ = True
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
    except Exception as error:
        raise _shown(error)  # noqa: B904 (the same error)
    finally:
        steps.close()


async def awalk(steps: Generator[Any, Any, Any]) -> AsyncGenerator[Any, None]:
    """As ``walk``, by awaiting."""
    __tracebackhide__ = True
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
    except Exception as error:
        raise _shown(error)  # noqa: B904 (the same error)
    finally:
        await _leave(steps)


def _of_open(name: str) -> property:
    """Return an attribute of the generator whose items are shown; it does not start it."""
    return property(lambda late: getattr(late._items(), name))


class Late(Generator[T, None, None]):
    """Items of steps that begin when the first item is requested.

    They count as a generator, which LangGraph returns: FastAPI, Ray Serve and ``inspect`` ask.
    """

    _open: Generator[T, None, None] | None = None
    gi_code = walk.__code__
    gi_frame = _of_open("gi_frame")
    gi_running = _of_open("gi_running")
    gi_suspended = _of_open("gi_suspended")
    gi_yieldfrom = _of_open("gi_yieldfrom")
    __class__ = property(lambda late: types.GeneratorType)

    @abstractmethod
    def _begin(self) -> Generator[Any, Any, Any]:
        """Return the steps."""

    def _items(self) -> Generator[T, None, None]:
        if self._open is None:
            self._open = self._walked()
        return self._open

    def _walked(self) -> Generator[T, None, None]:
        return walk(self._begin())

    def __iter__(self) -> Generator[T, None, None]:
        return self._items()  # a loop over the items then costs no further call for each

    def __next__(self) -> T:
        return next(self._items())

    def send(self, value: None) -> T:
        return self._items().send(value)

    def throw(self, *error: Any) -> T:
        return self._items().throw(*error)

    def close(self) -> None:
        self._items().close()


class AsyncLate(AsyncGenerator[T, None]):
    """Async variant of ``Late``."""

    _open: AsyncGenerator[T, None] | None = None
    ag_code = awalk.__code__
    ag_frame = _of_open("ag_frame")
    ag_running = _of_open("ag_running")
    ag_suspended = _of_open("ag_suspended")
    ag_await = _of_open("ag_await")
    __class__ = property(lambda late: types.AsyncGeneratorType)

    @abstractmethod
    def _begin(self) -> Generator[Any, Any, Any]:
        """Return the steps."""

    def _items(self) -> AsyncGenerator[T, None]:
        if self._open is None:
            self._open = self._walked()
        return self._open

    def _walked(self) -> AsyncGenerator[T, None]:
        return awalk(self._begin())

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._items()

    def __anext__(self) -> Any:
        return self._items().__anext__()

    def asend(self, value: None) -> Any:
        return self._items().asend(value)

    def athrow(self, *error: Any) -> Any:
        return self._items().athrow(*error)

    def aclose(self) -> Any:
        return self._items().aclose()


async def through_cancels(
    last: Callable[[], Awaitable[bool]], cancelled: Callable[[], object] = lambda: None
) -> None:
    """Await ``last`` until it returns True, also where this task is cancelled meanwhile.

    Args:
        last: Waits for something. Whether it was the last thing to wait for.
        cancelled: Called for each cancel.

    Raises:
        asyncio.CancelledError: The task was cancelled. It is raised at the end.
    """
    raised: asyncio.CancelledError | None = None
    while True:
        try:
            if await last():
                break
        except asyncio.CancelledError as error:
            raised = error
            cancelled()
    if raised is not None:
        raise raised


class Left(GeneratorExit):
    """Raised in steps whose caller leaves and awaits their end: they may still wait meanwhile."""


async def _leave(steps: Generator[Any, Any, Any]) -> None:
    """End steps, and carry out what they wait for meanwhile. Ended steps are left as they are."""
    try:
        item = steps.throw(Left())
        while True:
            try:
                answer = await item.acall()
            except BaseException as error:
                item = steps.throw(error)
            else:
                item = steps.send(answer)
    except (StopIteration, Left):
        return
    finally:
        steps.close()


def _shown(error: Exception) -> Exception:
    """Return an error without the frames from its catcher's to those of the node's code.

    Where no node raised it, its catcher's frame alone is left out: raising it again adds that.
    """
    caught = error.__traceback__
    seen = hide_machinery(caught)
    if seen is caught and caught is not None:
        seen = caught.tb_next
    return error.with_traceback(seen)
