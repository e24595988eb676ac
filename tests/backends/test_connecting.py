"""What a backend does before its first run never blocks a running event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from distgraph.backends.local import LocalBackend
from distgraph.graph import START, StateGraph
from tests.support.graphs import Items


class Distant(LocalBackend):
    """A backend that is reached when the caller's loop has run meanwhile."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.connects: list[int] = []

    def ready(self) -> bool:
        return bool(self.connects)

    def connect(self) -> None:
        assert self.reached.wait(30)
        self.connects.append(threading.get_ident())


def graph(backend: Any) -> Any:
    builder = StateGraph(Items).add_node("n", lambda s: {"items": ["x"]}).add_edge(START, "n")
    return builder.compile(backend=backend)


@pytest.mark.parametrize("method", ["ainvoke", "astream"])
def test_the_loop_runs_while_a_coroutine_s_first_run_connects(method: str) -> None:
    backend = Distant()

    async def main() -> Any:
        compiled = graph(backend)

        async def consume() -> Any:
            if method == "ainvoke":
                return await compiled.ainvoke({"items": []})
            return [c async for c in compiled.astream({"items": []}, stream_mode="values")][-1]

        run = asyncio.ensure_future(consume())
        await asyncio.sleep(0)
        backend.reached.set()  # by the loop, which connect would have blocked
        await run
        return run.result(), await consume()

    assert asyncio.run(main()) == ({"items": ["x"]}, {"items": ["x"]})
    assert len(backend.connects) == 1
    assert backend.connects[0] != threading.get_ident()


def test_a_synchronous_run_connects_in_its_own_thread() -> None:
    backend = Distant()
    backend.reached.set()
    assert graph(backend).invoke({"items": []}) == {"items": ["x"]}
    assert backend.connects == [threading.get_ident()]
