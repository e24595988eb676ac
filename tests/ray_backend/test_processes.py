"""Nodes run in processes of their own, at the same time."""

import os
import time

import pytest

from tests.support.graphs import Items, adds

pytestmark = pytest.mark.ray


def burns(folder):
    """Burn CPU until another process does so as well, for half a minute at most."""

    def burn(state):
        (folder / str(os.getpid())).touch()
        until = time.monotonic() + 30
        while (met := len(list(folder.iterdir()))) < 2 and time.monotonic() < until:
            sum(range(100_000))
        return {"items": [(os.getpid(), met)]}

    return burn


def check_burnt(items):
    pids = {pid for pid, _ in items}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert [met for _, met in items] == [2, 2], "they ran one after another"


def test_two_nodes_burn_cpu_in_two_processes(on_ray, tmp_path):
    builder = on_ray.StateGraph(Items)
    for name in ("left", "right"):
        builder.add_node(name, burns(tmp_path)).add_edge(on_ray.START, name)
    check_burnt(on_ray.compile(builder).invoke({"items": []})["items"])


def test_a_node_never_runs_in_the_callers_process(on_ray):
    def sync(state):
        return {"items": [os.getpid()]}

    async def asynchronous(state):
        return {"items": [os.getpid()]}

    builder = on_ray.StateGraph(Items).add_node("sync", sync).add_node("async", asynchronous)
    builder.add_edge(on_ray.START, "sync").add_edge("sync", "async")
    assert os.getpid() not in on_ray.compile(builder).invoke({"items": []})["items"]


def test_a_conditional_edge_runs_where_nodes_run(on_ray):
    def path(state):
        return on_ray.Send("seen", {"pid": os.getpid()})

    builder = on_ray.StateGraph(Items).add_node("a", lambda s: {"items": []})
    builder.add_node("seen", lambda s: {"items": [s["pid"]]})
    builder.add_edge(on_ray.START, "a").add_conditional_edges("a", path, ["seen"])
    (pid,) = on_ray.compile(builder).invoke({"items": []})["items"]
    assert pid != os.getpid()


def test_the_nodes_of_a_subgraph_run_in_parallel(on_ray, tmp_path):
    child = on_ray.StateGraph(Items).add_node("burn", burns(tmp_path))
    child = child.add_edge(on_ray.START, "burn").compile()
    builder = on_ray.StateGraph(Items)
    for name in ("left", "right"):
        builder.add_node(name, child).add_edge(on_ray.START, name)
    check_burnt(on_ray.compile(builder).invoke({"items": []})["items"])


def test_a_node_that_mutates_its_state_does_not_change_it_for_later_nodes(on_ray):
    def mutate(state):
        state["items"].append("leaked")

    builder = on_ray.StateGraph(Items).add_node("mutate", mutate).add_node("b", adds("b"))
    builder.add_edge(on_ray.START, "mutate").add_edge("mutate", "b")
    assert on_ray.compile(builder).invoke({"items": ["x"]}) == {"items": ["x", "b"]}
