"""A node that requests what no machine has is named when the run starts."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from distgraph import START, StateGraph, status
from distgraph._internal import mistakes
from distgraph.capacity import demand_of, requests_anything, unplaceable
from distgraph.errors import UnsupportedClusterError
from tests.support.graphs import Items

MACHINES = [{"CPU": 4.0}, {"CPU": 8.0, "big": 1.0}]


def graph(**ray_options: Any) -> Any:
    builder = StateGraph(Items).add_node("embed", len, ray_options=ray_options or None)
    return builder.add_edge(START, "embed").compile(backend="local", name="g")


def test_a_node_that_no_machine_can_run_is_named_with_the_resource() -> None:
    assert unplaceable(graph(num_gpus=1).spec, MACHINES) == [
        "node 'embed' waits for GPU 1: no machine has one"
    ]
    assert unplaceable(graph(num_cpus=8, resources={"big": 1}).spec, MACHINES) == []
    assert unplaceable(graph(num_cpus=8, resources={"big": 2}).spec, MACHINES) == [
        "node 'embed' waits for big 2: no machine has more than 1"
    ]


def test_a_node_of_a_subgraph_is_named_by_its_path() -> None:
    outer = StateGraph(Items).add_node("child", graph(accelerator_type="H100"))
    spec = outer.add_edge(START, "child").compile(backend="local").spec
    assert unplaceable(spec, MACHINES) == [
        "node 'child:embed' waits for accelerator_type:H100 0.001: no machine has one"
    ]


def test_a_graph_without_requests_costs_no_question_to_the_cluster() -> None:
    assert requests_anything(graph().spec) is False
    assert requests_anything(graph(placement="thread").spec) is False
    assert requests_anything(graph(num_gpus=0.5).spec) is True
    assert demand_of({"num_cpus": 0, "memory": 5}) == {"memory": 5.0}


@pytest.fixture
def on_cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    from actors import capacity as on_ray

    monkeypatch.setattr(on_ray, "machines", lambda: MACHINES)
    monkeypatch.setattr(on_ray, "cluster_size", lambda: "2 machines, 12 CPUs")
    monkeypatch.setattr(mistakes, "_logged", {})
    monkeypatch.setattr(status, "_noted", set())
    monkeypatch.setattr(status, "_wanted", True)
    return on_ray.check_capacity


def test_it_is_shown_and_logged_once(
    on_cluster: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="distgraph"):
        for _ in range(2):
            on_cluster(graph(num_gpus=1).spec)
    told = "node 'embed' waits for GPU 1: no machine has one"
    assert capsys.readouterr().err == f"distgraph: {told}\n"
    assert caplog.messages == [f"graph 'g': {told} (the run goes on when one joins)"]


def test_it_is_an_error_on_request(on_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_MISSING_RESOURCES", "raise")
    with pytest.raises(UnsupportedClusterError) as caught:
        on_cluster(graph(num_gpus=1).spec)
    assert caught.value.args == (
        "graph 'g': node 'embed' waits for GPU 1: no machine has one. The cluster has 2 machines, "
        "12 CPUs. Change the node's ray_options, or add a machine",
    )


@pytest.mark.ray
@pytest.mark.parametrize("method", ["invoke", "start"])
def test_a_run_on_ray_whose_node_no_machine_can_run_raises_on_request(
    method: str, ray_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_MISSING_RESOURCES", "raise")
    builder = StateGraph(Items).add_node("embed", len, ray_options={"resources": {"moon": 1}})
    compiled = builder.add_edge(START, "embed").compile(backend="ray")
    with pytest.raises(UnsupportedClusterError, match="waits for moon 1: no machine has one"):
        getattr(compiled, method)({"items": []})
