"""What a backend does before its first run never blocks a running event loop."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

import distgraph
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


def test_connect_reaches_the_backend_in_the_background() -> None:
    connected = threading.Event()

    class Told(Distant):
        def connect(self) -> None:
            super().connect()
            connected.set()

    backend = Told()
    distgraph.connect(backend)
    assert backend.connects == []
    backend.reached.set()
    assert connected.wait(30)
    assert backend.connects != [threading.get_ident()]


def test_connect_leaves_a_backend_alone_that_is_ready() -> None:
    backend = Distant()
    backend.connects.append(0)
    distgraph.connect(backend)
    distgraph.connect("local")
    assert backend.connects == [0]


def test_the_first_run_raises_what_connect_failed_with() -> None:
    class Unreachable(Distant):
        def connect(self) -> None:
            self.reached.set()
            raise ConnectionError("nobody is there")

        def start(self, plan: Any, *, is_async: bool) -> Any:
            self.connect()

    backend = Unreachable()
    distgraph.connect(backend)
    assert backend.reached.wait(30)
    with pytest.raises(ConnectionError, match="nobody is there"):
        graph(backend).invoke({"items": []})


def test_connect_refuses_an_unknown_backend_at_once() -> None:
    with pytest.raises(ValueError, match="choose 'ray' or 'local'"):
        distgraph.connect("rey")


def test_a_local_ray_starts_without_the_server_of_its_dashboard_and_its_autoscaler() -> None:
    from ray._private.node import Node

    from actors.connect import _quick_start

    before = Node.start_api_server, Node.start_monitor, Node.start_raylet
    node: Any = object()
    with _quick_start():
        Node.start_api_server(node, include_dashboard=False, raise_on_failure=False)
        Node.start_monitor(node)
    assert (Node.start_api_server, Node.start_monitor, Node.start_raylet) == before


def test_a_local_ray_waits_for_no_port_that_another_ray_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    from actors.connect import _quick_start

    node: Any = SimpleNamespace(_ray_params=RayParams())
    asked: list[Any] = []
    monkeypatch.setattr(
        Node, "start_raylet", lambda self, *given: asked.append((self._ray_params, *given))
    )
    assert node._ray_params.dashboard_agent_listen_port != 0
    with _quick_start():
        Node.start_raylet(node, "plasma", "fallback")
    assert asked == [(node._ray_params, "plasma", "fallback")]
    assert node._ray_params.dashboard_agent_listen_port == 0
