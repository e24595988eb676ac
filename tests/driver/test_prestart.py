"""What the driver starts before the first run of a graph asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph.driver.prestart import awaits
from distgraph.graph import START, StateGraph
from tests.support.graphs import Items


async def coroutine(state: Any) -> Any:
    return {"items": ["x"]}


def function(state: Any) -> Any:
    return {"items": ["x"]}


@pytest.mark.parametrize(
    ("node", "ray_options", "expected"),
    [
        (function, None, False),
        (coroutine, None, True),
        (coroutine, {"num_cpus": 1}, False),
        (coroutine, {"affinity": "run"}, False),
        (function, {"placement": "thread"}, True),
    ],
)
def test_a_graph_awaits_where_a_node_runs_in_a_shared_executor(
    node: Any, ray_options: Any, expected: bool
) -> None:
    builder = StateGraph(Items).add_node("node", node, ray_options=ray_options)
    graph = builder.add_edge(START, "node").compile(backend="local")
    assert awaits(graph.spec) is expected
    outer = StateGraph(Items).add_node("graph", graph).add_edge(START, "graph")
    assert awaits(outer.compile(backend="local").spec) is expected
