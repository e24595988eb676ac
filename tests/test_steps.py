"""Code that waits, carried out by blocking calls and by awaiting."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any

import pytest

from distgraph._internal.steps import AsyncLate, Late, Steps, Wait, afollow, awalk, follow, walk

Follow = Callable[..., Any]


def _afollow(steps: Steps[Any], *given: Any) -> Any:
    return asyncio.run(afollow(steps, *given))


def _awalk(steps: Generator[Any, Any, Any]) -> list[Any]:
    async def items() -> list[Any]:
        return [item async for item in awalk(steps)]

    return asyncio.run(items())


follows = pytest.mark.parametrize("following", [follow, _afollow], ids=["sync", "async"])
walks = pytest.mark.parametrize(
    "walking", [lambda steps: list(walk(steps)), _awalk], ids=["sync", "async"]
)


def waits(value: Any) -> Wait:
    """Wait for a value, or for its being raised."""

    def call(*given: Any) -> Any:
        if isinstance(value, BaseException):
            raise value
        return (value, *given)

    async def acall(*given: Any) -> Any:
        await asyncio.sleep(0)
        return call(*given)

    return Wait(call, acall)


@follows
def test_steps_are_sent_what_they_waited_for(following: Follow) -> None:
    def steps() -> Steps[Any]:
        first = yield waits(1)
        second = yield waits(2)
        return first, second

    assert following(steps(), "saver") == ((1, "saver"), (2, "saver"))


@follows
def test_an_exception_is_raised_where_the_steps_wait(following: Follow) -> None:
    def steps() -> Steps[Any]:
        try:
            yield waits(KeyError("gone"))
        except KeyError as error:
            found = yield waits("instead")
            return error.args, found

    assert following(steps()) == (("gone",), ("instead",))


@follows
def test_an_exception_that_the_steps_leave_alone_is_the_callers(following: Follow) -> None:
    closed = []

    def steps() -> Steps[Any]:
        try:
            yield waits(KeyError("gone"))
        finally:
            closed.append(True)

    with pytest.raises(KeyError, match="gone"):
        following(steps())
    assert closed == [True]


@walks
def test_what_is_not_waited_for_is_yielded(walking: Follow) -> None:
    def steps() -> Generator[Any, Any, str]:
        (found,) = yield waits("a")
        assert (yield found) is None
        yield None
        try:
            yield waits(KeyError("gone"))
        except KeyError:
            yield "b"
        return "the end"

    assert walking(steps()) == ["a", None, "b"]


def test_leaving_a_walk_ends_its_steps() -> None:
    left = []

    def steps() -> Generator[Any, Any, None]:
        try:
            yield 1
            yield 2
        finally:
            left.append(True)

    for _ in walk(steps()):
        break
    assert left == [True]

    async def leave() -> None:
        items = awalk(steps())
        assert await anext(items) == 1
        await items.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert left == [True, True]


def test_cancelling_who_awaits_ends_the_steps() -> None:
    seen: list[type] = []

    def steps() -> Steps[None]:
        try:
            yield Wait(lambda: None, lambda: asyncio.sleep(60))
        except BaseException as error:
            seen.append(type(error))
            raise

    async def cancel() -> None:
        task = asyncio.ensure_future(afollow(steps()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert seen == [asyncio.CancelledError]


# --- late steps -----------------------------------------------------------------------------------


class _Late(Late[int]):
    def _begin(self) -> Generator[Any, Any, Any]:
        yield from (1, 2)


class _AsyncLate(AsyncLate[int]):
    def _begin(self) -> Generator[Any, Any, Any]:
        yield from (1, 2)


def test_late_steps_count_as_a_generator_that_inspect_can_look_at() -> None:
    late = _Late()
    assert inspect.isgenerator(late)
    assert isinstance(late, types.GeneratorType)
    assert isinstance(late, Late)
    assert not inspect.isawaitable(late)
    assert inspect.getgeneratorstate(late) == inspect.GEN_CREATED
    assert next(late) == 1
    assert inspect.getgeneratorstate(late) == inspect.GEN_SUSPENDED
    assert list(late) == [2]
    assert inspect.getgeneratorstate(late) == inspect.GEN_CLOSED


def test_late_async_steps_count_as_an_async_generator() -> None:
    async def main() -> None:
        late = _AsyncLate()
        assert inspect.isasyncgen(late)
        assert isinstance(late, types.AsyncGeneratorType)
        assert isinstance(late, AsyncLate)
        assert not inspect.isawaitable(late)
        assert late.ag_frame is not None
        assert [item async for item in late] == [1, 2]
        assert late.ag_frame is None

    asyncio.run(main())
