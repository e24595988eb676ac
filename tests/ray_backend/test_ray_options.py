"""``ray_options`` of a node reach Ray."""

import os

import pytest

from tests.support.cluster import PATIENCE, all_cpus, eventually, free_cpus
from tests.support.graphs import Items

pytestmark = pytest.mark.ray


def test_a_node_takes_one_cpu_by_default_and_as_many_as_it_asks_for(on_ray, tmp_path):
    def hold(state, writer):
        writer("started")
        import time

        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return {"items": []}

    for options, taken in [({}, 1), ({"num_cpus": 2}, 2)]:
        builder = on_ray.StateGraph(Items).add_node("n", hold, ray_options=options)
        stream = on_ray.compile(builder.add_edge(on_ray.START, "n")).stream(
            {"items": []}, stream_mode="custom"
        )
        assert next(stream) == "started"
        eventually(lambda t=taken: free_cpus() == all_cpus() - t, f"{taken} CPUs are taken")
        (tmp_path / "go").touch()
        list(stream)
        (tmp_path / "go").unlink()


def test_a_runtime_environment(on_ray):
    def node(state):
        return {"items": [os.environ.get("MY_FLAG")]}

    builder = on_ray.StateGraph(Items)
    builder.add_node("n", node, ray_options={"runtime_env": {"env_vars": {"MY_FLAG": "on"}}})
    assert on_ray.compile(builder.add_edge(on_ray.START, "n")).invoke({"items": []}) == {
        "items": ["on"]
    }


def test_an_unknown_option_is_refused_by_name(on_ray):
    builder = on_ray.StateGraph(Items)
    with pytest.raises((TypeError, ValueError), match="num_gpu_typo"):
        builder.add_node("n", lambda s: None, ray_options={"num_gpu_typo": 1})
        on_ray.compile(builder.add_edge(on_ray.START, "n"))
