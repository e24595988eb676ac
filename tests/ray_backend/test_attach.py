"""Started runs read from other processes, and runs that outlive the process that started them."""

from __future__ import annotations

import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph import attach
from distgraph.errors import BrokerLost, DriverLost, RunNotFound
from distgraph.runs import Retention
from tests.ray_backend.started_graphs import EVENTS, counting, endless
from tests.support.cluster import eventually, pids_of_actors, wait_for_free_cpus

pytestmark = pytest.mark.ray

ROOT = pathlib.Path(__file__).parents[2]


def process(command: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a command of ``started_graphs`` in a process of its own."""
    import ray

    address = ray.get_runtime_context().gcs_address
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ray_backend.started_graphs", command, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(reader: subprocess.Popen[str]) -> Iterator[list[Any]]:
    assert reader.stdout is not None
    return map(json.loads, reader.stdout)


def test_the_handle_keeps_the_checkpointer_of_a_graph_that_nobody_else_holds(on_ray: Any) -> None:
    config: Any = {"configurable": {"thread_id": "kept by the handle"}}
    run = counting(backend="ray", checkpointer=InMemorySaver()).start({"items": []}, config)
    gc.collect()
    assert run.result() == {"items": [EVENTS]}


@pytest.mark.parametrize("after", [0, 7])
def test_a_reader_elsewhere_is_killed_returns_and_sees_the_same(on_ray: Any, after: int) -> None:
    run = counting(backend="ray").start({"items": []}, stream_mode="custom")
    first, seen = process("read", run.run_id, after), []
    for item in lines(first):
        seen.append(item)
        if len(seen) == 5:
            os.kill(first.pid, signal.SIGKILL)
            break
    seen += lines(first)  # what was in the pipe
    second = process("read", run.run_id, seen[-1][0])
    seen += lines(second)
    assert second.wait(30) == 0
    first.wait(10)
    assert seen.pop() == ["BrokerLost", False]  # once it had left the cluster
    assert seen == [[number, number - 1] for number in range(after + 1, EVENTS + 1)]
    assert run.result(timeout=60) == {"items": [EVENTS]}
    assert [[seq, chunk] for seq, chunk in run.events(after=after)] == seen


def test_a_detached_run_outlives_its_caller_and_its_actors_end_when_idle(
    on_ray: Any, tmp_path: pathlib.Path
) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    database = tmp_path / "threads.sqlite"
    caller = process("detach", database, DISTGRAPH_DETACHED_IDLE="1")
    (run_id,) = next(lines(caller))
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait(10)
    run = attach(run_id)
    assert run.info.detached
    assert run.status == "running"
    expected = [(number, number - 1) for number in range(1, EVENTS + 1)]
    assert list(run.events()) == expected
    assert run.result(timeout=60) == {"items": [EVENTS]}
    assert list(run.events(after=EVENTS - 3)) == expected[-3:]
    with SqliteSaver.from_conn_string(str(database)) as saver:
        graph = counting(backend="ray", checkpointer=saver)
        state = graph.get_state({"configurable": {"thread_id": "t"}})
    assert state.values == {"items": [EVENTS]}
    eventually(lambda: _is_forgotten(run_id), "the run is forgotten")
    eventually(lambda: not _detached_actors(), "driver and broker have ended")
    wait_for_free_cpus()


def _is_forgotten(run_id: str) -> bool:
    try:
        attach(run_id)
    except RunNotFound:
        return True
    return False


def _detached_actors() -> list[str]:
    import ray

    from actors import sessions

    own = {s.id for s in sessions.usable()}
    names = [a["name"] for a in ray.util.list_named_actors(all_namespaces=True)]
    return [n for n in names if n.startswith("distgraph-") and n.rpartition("-")[2][:12] not in own]


def test_the_death_of_a_detached_driver_is_an_error_for_readers_elsewhere(
    on_ray: Any, ray_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_DETACHED_IDLE", "1")
    run = endless(backend="ray").start(
        {"items": []}, stream_mode="custom", detached=True, retention=Retention(seconds=1)
    )
    reader = run.events()
    assert next(reader).chunk == "started"
    ray_session.kill(run._run._link.driver)  # type: ignore[attr-defined]
    for read in (lambda: list(reader), lambda: run.result(timeout=60)):
        with pytest.raises(DriverLost, match="the superstep driver died"):
            read()
    assert run.status == "error"
    wait_for_free_cpus()


def test_a_run_that_ended_is_read_after_the_death_of_its_driver(
    on_ray: Any, ray_session: Any
) -> None:
    from actors import sessions

    graph = counting(backend="ray")
    run = graph.start({"items": []}, stream_mode="custom")
    assert run.result(timeout=30) == {"items": [EVENTS]}
    lost = sessions.current()
    ray_session.kill(lost.driver)
    eventually(lambda: not lost.alive(), "the death is known")
    assert graph.start({"items": []}).result(timeout=60) == {"items": [EVENTS]}
    expected = [(number, number - 1) for number in range(1, EVENTS + 1)]
    assert list(run.events()) == expected
    assert list(attach(run.run_id).events()) == expected
    assert run.status == "success"


def test_the_death_of_the_broker_is_a_typed_error_for_readers_and_handles(on_ray: Any) -> None:
    run = endless(backend="ray").start({"items": []}, stream_mode="custom")
    reader = run.events()
    assert next(reader).chunk == "started"
    for pid in pids_of_actors("StreamBroker"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(BrokerLost):
        list(reader)
    with pytest.raises(BrokerLost):
        run.result(timeout=60)
    with pytest.raises((BrokerLost, RunNotFound)):
        attach(run.run_id)
    wait_for_free_cpus()
    again = counting(backend="ray").start({"items": []})
    assert again.result(timeout=30) == {"items": [EVENTS]}
