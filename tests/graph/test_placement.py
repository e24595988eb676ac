from __future__ import annotations

from typing import Any

import pytest

from distgraph.graph import START, StateGraph
from distgraph.placement import Placement, resolve


def task(**options: Any) -> Placement:
    return Placement("task", {"num_cpus": 1, **options})


@pytest.mark.parametrize(
    ("options", "is_async", "expected"),
    [
        (None, False, task()),
        ({}, True, Placement("async")),
        ({"num_cpus": 0}, False, task(num_cpus=0)),
        ({"num_cpus": 2, "memory": 10}, True, task(num_cpus=2, memory=10)),
        ({"num_gpus": 0.5}, True, task(num_gpus=0.5)),
        ({"label_selector": {"a": "b"}}, True, task(label_selector={"a": "b"})),
        ({"resources": {"db": 1}}, False, task(resources={"db": 1})),
        ({"placement": "thread"}, False, Placement("thread")),
        ({"placement": "async"}, True, Placement("async")),
        ({"placement": "task"}, True, task()),
        ({"placement": None, "num_cpus": None}, False, task()),
    ],
)
def test_options_resolve_to_one_placement(options: Any, is_async: bool, expected: Any) -> None:
    assert resolve(options, is_async) == expected


@pytest.mark.parametrize(
    ("options", "is_async", "message"),
    [
        ({"num_cpu": 1}, False, "unknown ray_options key 'num_cpu'. Did you mean 'num_cpus'"),
        ({"gpu": 1}, False, "Did you mean 'num_gpus'"),
        ({"zzz": 1}, False, "Valid keys: num_cpus"),
        ({"num_cpus": -1}, False, "must be a number that is not negative"),
        ({"num_cpus": "2"}, False, "must be a number that is not negative"),
        ({"num_gpus": True}, False, "must be a number that is not negative"),
        ({"resources": ["a"]}, False, "must map names to amounts"),
        ({"resources": {"CPU": 2}}, False, "ask for CPUs with ray_options"),
        ({"resources": {"GPU": 2}}, False, "ray_options['num_gpus']"),
        ({"placement": "process"}, False, "must be one of 'task', 'async', 'thread'"),
        ({"placement": "thread", "num_cpus": 1}, False, "num_cpus cannot be combined"),
        ({"placement": "async", "runtime_env": {}}, True, "runtime_env cannot be combined"),
        ({"placement": "async"}, False, "needs an `async def` node"),
        ({"placement": "thread"}, True, "is for sync nodes"),
        ([("num_cpus", 1)], False, "must be a mapping"),
    ],
)
def test_a_mistake_is_refused_when_the_node_is_added(
    options: Any, is_async: bool, message: str
) -> None:
    async def later(state: dict) -> None: ...

    def now(state: dict) -> None: ...

    with pytest.raises(ValueError) as caught:
        StateGraph(dict).add_node("n", later if is_async else now, ray_options=options)
    assert message in str(caught.value)
    assert str(caught.value).startswith("Node `n`: ")


def test_options_reach_the_spec_as_they_were_given() -> None:
    options = {"num_cpus": 2, "label_selector": {"zone": "a"}}
    builder = StateGraph(dict).add_node("n", lambda s: None, ray_options=options)
    spec = builder.add_edge(START, "n").compile().spec
    assert spec.nodes["n"].ray_options == options
    assert spec.nodes["n"].ray_options is not options


def test_a_subgraph_takes_no_options_of_its_own() -> None:
    child = StateGraph(dict).add_node("n", lambda s: None).add_edge(START, "n").compile()
    with pytest.raises(ValueError, match="give ray_options to its own nodes"):
        StateGraph(dict).add_node("child", child, ray_options={"num_cpus": 2})
