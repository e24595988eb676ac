"""The death of a driver, a broker or a caller ends the run in a bounded time."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.support.cluster import PATIENCE, eventually, pid_of_actor, wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray

ROOT = pathlib.Path(__file__).parents[2]


def long_run(ns):
    def node(state, writer):
        writer("started")
        end = time.monotonic() + 600
        while time.monotonic() < end:
            writer("alive")
            time.sleep(0.05)
        return {"items": []}

    return ns.StateGraph(Items).add_node("n", node).add_edge(ns.START, "n")


@pytest.mark.parametrize(
    ("actor", "error"), [("SuperstepDriver", "DriverLost"), ("StreamBroker", "BrokerLost")]
)
def test_a_lost_actor_is_a_typed_error_and_the_next_run_works(on_ray, actor, error):
    from distgraph import errors

    stream = on_ray.compile(long_run(on_ray)).stream({"items": []}, stream_mode="custom")
    assert next(stream) == "started"
    pid = pid_of_actor(actor)
    begin = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(getattr(errors, error)):
        for _ in stream:
            pass
    print(f"{error}: known after {time.perf_counter() - begin:.2f} s")
    assert time.perf_counter() - begin < PATIENCE  # not by the silence of its process
    wait_for_free_cpus()
    builder = on_ray.StateGraph(Items).add_node("n", adds("n")).add_edge(on_ray.START, "n")
    assert on_ray.compile(builder).invoke({"items": []}) == {"items": ["n"]}


CALLER = """
import time
import ray
from distgraph.graph import START, StateGraph
from tests.support.graphs import Items

ray.init(address={address!r}, log_to_driver=False, logging_level="ERROR")

def node(state, writer):
    end = time.monotonic() + 600
    while time.monotonic() < end:
        with open({trace!r}, "a") as file:
            file.write("x")
        writer("alive")
        time.sleep(0.05)

graph = StateGraph(Items).add_node("n", node).add_edge(START, "n").compile(backend="ray")
for chunk in graph.stream({{"items": []}}, stream_mode="custom"):
    pass
"""


def test_the_death_of_the_caller_ends_its_nodes(on_ray, ray_session, tmp_path):
    trace = tmp_path / "trace"
    address = ray_session.get_runtime_context().gcs_address
    script = tmp_path / "caller.py"
    script.write_text(CALLER.format(address=address, trace=str(trace)))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    caller = subprocess.Popen(
        [sys.executable, str(script)], env=env, cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        eventually(
            lambda: trace.exists() or caller.poll() is not None,
            "the node of the caller runs",
            4 * PATIENCE,
        )
        assert caller.poll() is None, caller.stderr.read().decode()
    finally:
        caller.kill()
        caller.wait()
    wait_for_free_cpus()  # Ray frees them before the process has ended
    eventually(lambda: is_still(trace), "the node of the caller has ended")


def is_still(file):
    size = file.stat().st_size
    time.sleep(0.3)
    return file.stat().st_size == size
