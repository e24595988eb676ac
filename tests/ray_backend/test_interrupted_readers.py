"""Ctrl-C, or an exception of a signal handler, at random moments of what reads a started run."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from distgraph import attach
from distgraph.errors import RunCancelled
from distgraph.graph import START, StateGraph
from distgraph.runs import RunHandle
from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.faults]

EVENTS, TIMES = 20, 40


CALLS: dict[str, Callable[[RunHandle], object]] = {
    "attach": lambda run: attach(run.run_id),
    "result": lambda run: run.result(),
    "cancel": lambda run: run.cancel(wait=True),
    "events": lambda run: list(run.events()),
    "status": lambda run: run.status,
}


class Struck(BaseException):
    """Raised by a signal handler."""


async def counts(state: Any, writer: Any) -> Any:
    for number in range(EVENTS):
        writer(number)
        await asyncio.sleep(0.002)
    return {"items": ["done"]}


class Interrupter:
    """Interrupts the main thread once, some time after it was told to."""

    def __init__(self) -> None:
        self.armed = False

    def handle(self, number: int, frame: Any) -> None:
        if self.armed:
            raise Struck

    def strikes(self, call: Callable[[], object], seconds: float) -> bool:
        """Make a call. Return whether it was interrupted."""
        timer = threading.Timer(
            seconds, signal.pthread_kill, [threading.main_thread().ident, signal.SIGUSR1]
        )
        timer.start()
        struck = False
        try:
            self.armed = True
            call()
            self.armed = False
        except Struck:
            struck = True
        finally:
            self.armed = False
            timer.join()
        return struck


@pytest.fixture
def interrupter() -> Iterator[Interrupter]:
    made = Interrupter()
    before = signal.signal(signal.SIGUSR1, made.handle)
    yield made
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("what", "longest"),
    [("attach", 0.02), ("result", 0.08), ("cancel", 0.03), ("events", 0.08), ("status", 0.005)],
)
@pytest.mark.parametrize("backend", ["local", "ray"])
def test_an_interrupt_of_a_reader_leaves_the_run_and_the_next_one_exact(
    ray_session: Any, interrupter: Interrupter, backend: str, what: str, longest: float
) -> None:
    graph: Any = StateGraph(Items).add_node("n", counts).add_edge(START, "n")
    graph = graph.compile(backend=backend)
    graph.invoke({"items": []})
    chance, struck = random.Random(what), 0
    for _ in range(TIMES):
        run = graph.start({"items": []}, stream_mode="custom")
        struck += interrupter.strikes(partial(CALLS[what], run), chance.uniform(0, longest))
        try:
            assert [chunk for _, chunk in attach(run.run_id).events()] == list(range(EVENTS))
            assert run.result(timeout=60) == {"items": ["done"]}
        except RunCancelled:
            assert what == "cancel"
        following = list(graph.stream({"items": []}, stream_mode="custom"))
        assert following == list(range(EVENTS))
    print(f"{backend}: {struck} of {TIMES} calls of {what} were interrupted")
