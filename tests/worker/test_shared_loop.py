"""Attempts that share an event loop wait for room in the stream between the steps of their node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from distgraph.worker.shared_loop import NonBlockingStream, throttled


class Stream:
    """A stream that is full while ``congested``."""

    def __init__(self) -> None:
        self.congested = False
        self.freed = asyncio.Event()
        self.seen: list[Any] = []
        self.close = self.emitted = lambda: None

    def emit(self, event: Any, *, wait: bool) -> None:
        self.seen.append((event, wait))

    async def room(self) -> None:
        self.seen.append("waits")
        await self.freed.wait()
        self.congested = False


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(steps: Any) -> Any:
    return asyncio.run(steps)


def test_a_node_goes_on_once_the_stream_has_room() -> None:
    async def main() -> list[Any]:
        stream: Any = Stream()

        async def node() -> str:
            stream.congested = True
            await asyncio.sleep(0)
            stream.seen.append("goes on")
            return "result"

        async def awaited() -> str:
            result: str = await throttled(node(), stream)  # type: ignore[arg-type]
            return result

        task = asyncio.create_task(awaited())
        await turns()
        stream.seen.append("slow")
        stream.freed.set()
        return [await task, *stream.seen]

    assert run(main()) == ["result", "waits", "slow", "goes on"]


def test_a_cancel_while_a_node_waits_for_room_reaches_the_node() -> None:
    async def main() -> list[Any]:
        stream: Any = Stream()

        async def node() -> None:
            stream.congested = True
            try:
                await asyncio.sleep(0)
            finally:
                stream.seen.append("cleanup")

        async def awaited() -> None:
            await throttled(node(), stream)  # type: ignore[arg-type]

        task = asyncio.create_task(awaited())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return list(stream.seen)

    assert run(main()) == ["waits", "cleanup"]


def test_the_writer_of_a_node_on_the_loop_does_not_wait() -> None:
    async def main() -> list[Any]:
        stream: Any = Stream()
        event: Any = "event"
        NonBlockingStream(stream).emit(event)
        return list(stream.seen)

    assert run(main()) == [("event", False)]
