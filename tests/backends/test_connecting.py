"""What a backend does before its first run never blocks a running event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
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


def test_a_local_ray_starts_without_what_only_a_dashboard_reads() -> None:
    from ray._private import services
    from ray._private.node import Node

    from actors.connect import _quick_start

    command = services._build_python_executable_command_memory_profileable
    before = Node.start_api_server, Node.start_monitor, command
    node: Any = object()
    with _quick_start():
        Node.start_api_server(node, include_dashboard=False, raise_on_failure=False)
        Node.start_monitor(node)
        build = services._build_python_executable_command_memory_profileable
        agent, other = build("dashboard_agent", "folder"), build("log_monitor", "folder")
    assert agent[-1].endswith("agent_stub.py")
    assert other == command("log_monitor", "folder")
    after = services._build_python_executable_command_memory_profileable
    assert (Node.start_api_server, Node.start_monitor, after) == before


def test_a_version_of_ray_that_is_not_known_starts_the_agent_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray
    from ray._private import services

    from actors.connect import _quick_start

    command = services._build_python_executable_command_memory_profileable
    monkeypatch.setattr(ray, "__version__", "2.61.0")
    with _quick_start():
        build = services._build_python_executable_command_memory_profileable
        agent = build("dashboard_agent", "folder")
    assert agent == command("dashboard_agent", "folder")


def test_a_local_ray_starts_on_a_version_of_ray_that_lacks_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private import services
    from ray._private.node import Node

    from actors.connect import _quick_start

    monkeypatch.delattr(services, "_build_python_executable_command_memory_profileable")
    monkeypatch.delattr(Node, "start_monitor")
    with _quick_start():
        assert not hasattr(Node, "start_monitor")
    assert not hasattr(Node, "start_monitor")
    assert not hasattr(services, "_build_python_executable_command_memory_profileable")


WAITS = (
    "RAY_raylet_client_connect_timeout_milliseconds",
    "RAY_raylet_client_num_connect_attempts",
)


def test_the_raylet_connects_to_its_store_again_soon_and_no_other_process_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from actors.connect import _quick_start

    for name in WAITS:
        monkeypatch.delenv(name, raising=False)
    with _quick_start():
        assert [os.environ[name] for name in WAITS] == ["20", "500"]
    assert not os.environ.keys() & set(WAITS)
    monkeypatch.setenv(WAITS[1], "7")
    with _quick_start():
        assert WAITS[0] not in os.environ
        assert os.environ[WAITS[1]] == "7"
    assert os.environ[WAITS[1]] == "7"


PARENT = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-S", "-E", *sys.argv[2:]])
while len([p for p in Path(sys.argv[1]).iterdir() if p.suffix != ".new"]) < 3:
    assert child.poll() is None
    time.sleep(0.01)
print(child.poll())
"""


def test_the_agent_of_a_local_ray_offers_no_port_and_ends_with_its_raylet(tmp_path: Path) -> None:
    from actors import agent_stub

    arguments = ["agent.py", "--node-id=abc", f"--session-dir={tmp_path}", "--head"]
    done = subprocess.run(  # returns when no process has its output open any more
        [sys.executable, "-c", PARENT, str(tmp_path), str(agent_stub.__file__), *arguments],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "metrics_agent_port_abc": "-1",
        "metrics_export_port_abc": "-1",
        "dashboard_agent_listen_port_abc": "-1",
    }
