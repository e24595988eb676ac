"""A worker that dies is a typed error that names the node, within seconds."""

import os
import signal
import sys
import time

import pytest

from tests.support.cluster import PATIENCE, wait_for_free_cpus
from tests.support.differential import run
from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray


def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


def leave_at_once():
    os._exit(3)


def dying(ns, how, is_async=False):
    def dies(state):
        how()

    async def adies(state):
        how()

    builder = (
        ns.StateGraph(Items).add_node("before", adds("before", 3)).add_node("after", adds("after"))
    )
    builder.add_node("dies", adies if is_async else dies)
    return builder.add_edge(ns.START, "before").add_edge("before", "dies").add_edge("dies", "after")


def worker_died():
    from distgraph.errors import WorkerDied

    return WorkerDied


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("how", [sigkill, leave_at_once], ids=lambda f: f.__name__)
def test_a_dead_worker_is_an_error_that_names_the_node(on_ray, how, is_async, tmp_path):
    death = tmp_path / "death"

    def noted():
        death.touch()
        how()

    graph = on_ray.compile(dying(on_ray, noted, is_async))
    outcome = run(graph, {"items": []}, stream_mode=["values", "updates", "custom"])
    seconds = time.time() - death.stat().st_mtime
    print(f"{how.__name__}: known after {seconds:.2f} s")
    assert type(outcome.error) is worker_died()
    assert "dies" in str(outcome.error)
    assert seconds < PATIENCE  # not by the silence of its process
    assert outcome.chunks == [
        ("values", {"items": []}),
        *(("custom", {"node": "before", "i": i}) for i in range(3)),
        ("updates", {"before": {"items": ["before"]}}),
        ("values", {"items": ["before"]}),
    ]
    wait_for_free_cpus()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_sys_exit_in_a_node_reaches_the_caller_as_itself(on_ray, is_async):
    graph = on_ray.compile(dying(on_ray, lambda: sys.exit(4), is_async))
    with pytest.raises(SystemExit) as caught:
        graph.invoke({"items": []})
    assert caught.value.code == 4
    wait_for_free_cpus()


def test_a_dead_worker_ends_its_siblings(on_ray, tmp_path):
    def dies(state):
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "sibling").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        sigkill()

    def sibling(state):
        (tmp_path / "sibling").touch()
        time.sleep(600)

    builder = on_ray.StateGraph(Items).add_node("dies", dies).add_node("sibling", sibling)
    builder.add_edge(on_ray.START, "dies").add_edge(on_ray.START, "sibling")
    with pytest.raises(worker_died(), match="dies"):
        on_ray.compile(builder).invoke({"items": []})
    wait_for_free_cpus()


def test_another_run_is_not_touched(on_ray, tmp_path):
    def patient(state, writer):
        writer("started")
        deadline = time.monotonic() + 2 * PATIENCE
        while not (tmp_path / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return {"items": ["patient"]}

    builder = on_ray.StateGraph(Items).add_node("n", patient).add_edge(on_ray.START, "n")
    stream = on_ray.compile(builder).stream({"items": []}, stream_mode=["custom", "updates"])
    assert next(stream) == ("custom", "started")
    with pytest.raises(worker_died()):
        on_ray.compile(dying(on_ray, sigkill)).invoke({"items": []})
    (tmp_path / "go").touch()
    assert list(stream) == [("updates", {"n": {"items": ["patient"]}})]


def test_a_death_in_a_subgraph(on_ray):
    child = dying(on_ray, sigkill).compile()
    builder = on_ray.StateGraph(Items).add_node("child", child).add_edge(on_ray.START, "child")
    with pytest.raises(worker_died(), match="dies"):
        on_ray.compile(builder).invoke({"items": []})


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_next_run_finds_a_new_worker(on_ray, is_async):
    def make(name):
        async def anode(state):
            return {"items": [name]}

        return anode if is_async else adds(name)

    with pytest.raises(worker_died()):
        on_ray.compile(dying(on_ray, sigkill, is_async)).invoke({"items": []})
    builder = on_ray.StateGraph(Items).add_node("n", make("fine")).add_edge(on_ray.START, "n")
    assert on_ray.compile(builder).invoke({"items": []}) == {"items": ["fine"]}
