"""Raw Ray: the least that the same work costs on a cluster, without a graph around it.

A driver of ours is an actor that submits tasks, so the floor is an actor that submits tasks too.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import ray


@ray.remote(max_retries=0, num_cpus=1)
def echo(packed: bytes) -> bytes:
    """Return what came."""
    return packed


@ray.remote(max_retries=0, num_cpus=1)
def length_of(packed: bytes, number: int) -> int:
    """Unpickle a list and return its length plus ``number``."""
    return len(pickle.loads(packed)) + number


@ray.remote(max_retries=0, num_cpus=1)
def call(function: Callable[[int], Any], argument: int) -> Any:
    """Call a function."""
    return function(argument)


@ray.remote(num_cpus=0, max_restarts=0)
class Floor:
    """Submits tasks from inside an actor."""

    def ready(self) -> None:
        """Return when the actor is up."""

    def chain(self, steps: int, packed: bytes) -> bytes:
        """Run tasks one after the other, each with the result of the one before."""
        for _ in range(steps):
            packed = ray.get(echo.remote(packed))
        return packed

    def chain_beside(self, steps: int, packed: bytes) -> int:
        """Run tasks one after the other that all read the same large value."""
        reference, number = ray.put(packed), 0
        for _ in range(steps):
            number = ray.get(length_of.remote(reference, 0))
        return number

    def fan(self, count: int, packed: bytes) -> int:
        """Run tasks side by side."""
        return len(ray.get([echo.remote(packed) for _ in range(count)]))

    def fan_reading(self, count: int, packed: bytes) -> list[int]:
        """Run tasks side by side that all read the same large value."""
        reference = ray.put(packed)
        return ray.get([length_of.remote(reference, 0) for _ in range(count)])

    def fan_calling(self, function: Callable[[int], Any], count: int, argument: int) -> list[Any]:
        """Run a function side by side."""
        return ray.get([call.remote(function, argument) for _ in range(count)])


def _class(decorated: Any) -> Any:
    """Return an actor class as it is: type checkers see the class that was decorated."""
    return decorated


@cache
def floor() -> Any:
    """Return the actor, started with the first call."""
    actor = _class(Floor).remote()
    ray.get(actor.ready.remote())
    return actor


# --- events: one actor call each ----------------------------------------------------------------


@ray.remote(  # type: ignore[call-overload]
    num_cpus=0, max_restarts=0, concurrency_groups={"put": 1, "take": 1}
)
class Sink:
    """Collects events that are put one by one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[Any] = []

    @ray.method(concurrency_group="put")
    def put(self, item: Any) -> None:
        """Add one event."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    @ray.method(concurrency_group="take")
    def take(self) -> list[Any]:
        """Wait for events and return them all."""
        with self._changed:
            self._changed.wait_for(lambda: self._items, 5.0)
            items, self._items = self._items, []
            return items


@ray.remote(max_retries=0, num_cpus=1)
def publish(sink: Any, count: int, gap: float) -> None:
    """Put events, ``gap`` seconds apart."""
    begin = time.monotonic()
    for number in range(count):
        if gap:
            time.sleep(max(0.0, begin + number * gap - time.monotonic()))
        last = sink.put.remote((time.time(), number))
    ray.get(last)


@ray.remote(num_cpus=0, max_restarts=0)
class Waiter:
    """An asyncio loop in one process: what waits there holds no core."""

    async def publish(self, sink: Any, count: int, gap: float) -> None:
        """Put events, ``gap`` seconds apart."""
        begin = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number * gap - time.monotonic()))
            last = sink.put.remote((time.time(), number))
        await last

    async def wait(self, seconds: float) -> int:
        """Wait, and return one."""
        await asyncio.sleep(seconds)
        return 1


@cache
def sink() -> Any:
    """Return the sink, started with the first call."""
    return _class(Sink).remote()


@cache
def waiter() -> Any:
    """Return the waiter, started with the first call."""
    return _class(Waiter).options(max_concurrency=10_000).remote()
