"""What a coroutine may emit of a run that has ended, before the cancel reaches it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from distgraph.contract.stream import Event
from distgraph.errors import RunCancelled
from distgraph.worker.left_runs import until_cancelled

EVENT = Event((), "custom", 1)


def refuse(event: Event) -> None:
    raise RunCancelled("the run has ended")


def never() -> None:
    raise AssertionError("nothing was to be said")


class Now:
    """A clock that the test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_events_of_a_run_that_goes_on_are_emitted() -> None:
    seen: list[Event] = []

    async def code() -> None:
        until_cancelled(seen.append, never)(EVENT)

    asyncio.run(code())
    assert seen == [EVENT]


def test_the_code_sees_the_cancel_and_nothing_else() -> None:
    told: list[str] = []

    async def code() -> None:
        emit = until_cancelled(refuse, never)
        try:
            while True:
                emit(EVENT)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            emit(EVENT)
            await asyncio.sleep(0)
            told.append("cleaned up")
            raise

    async def run() -> None:
        task = asyncio.create_task(code())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert told == ["cleaned up"]


def test_tasks_that_the_code_has_started_see_nothing_else_either() -> None:
    async def code() -> None:
        emit = until_cancelled(refuse, never)

        async def part() -> None:
            while True:
                emit(EVENT)
                await asyncio.sleep(0)

        await asyncio.gather(part(), part())

    async def run() -> None:
        task = asyncio.create_task(code())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_code_that_never_awaits_is_ended_by_its_next_event_after_a_second() -> None:
    now = Now()

    async def code() -> None:
        emit = until_cancelled(refuse, never, now)
        emit(EVENT)
        now.seconds = 1.0
        emit(EVENT)
        now.seconds = 1.1
        with pytest.raises(RunCancelled):
            emit(EVENT)

    asyncio.run(code())


def test_events_of_code_that_goes_on_behind_its_cancel_are_lost_and_that_is_said_once() -> None:
    now = Now()
    said: list[float] = []
    cleaned: list[float] = []

    async def code() -> None:
        emit = until_cancelled(refuse, lambda: said.append(now.seconds), now)
        while now.seconds < 3:
            try:
                emit(EVENT)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                emit(EVENT)
                cleaned.append(now.seconds)
            now.seconds += 0.5

    async def run() -> None:
        task = asyncio.create_task(code())
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(run())
    assert (cleaned, said) == ([0.0], [1.5])


def test_a_thread_that_the_code_has_started_is_ended_by_its_next_event() -> None:
    async def code() -> None:
        emit = until_cancelled(refuse, never)
        with pytest.raises(RunCancelled):
            await asyncio.to_thread(emit, EVENT)

    asyncio.run(code())


def test_a_task_that_outlives_the_attempt_is_ended_by_its_next_event() -> None:
    later: list[Any] = []

    async def code() -> None:
        later.append(until_cancelled(refuse, never))

    async def run() -> None:
        await asyncio.create_task(code())
        with pytest.raises(RunCancelled):
            later[0](EVENT)

    asyncio.run(run())
