"""A subgraph of a subgraph: namespaces grow by one element a level."""

import pytest

from tests.support.graphs import Items, adds
from tests.support.normalise import normalise

MODES = ["values", "updates", "custom", "tasks", "debug"]


def nested(ns):
    inner = (
        ns.StateGraph(Items).add_node("leaf", adds("leaf", 1)).add_edge(ns.START, "leaf").compile()
    )
    middle = (
        ns.StateGraph(Items)
        .add_node("inner", inner)
        .add_node("after_inner", adds("after_inner", 1))
        .add_edge(ns.START, "inner")
        .add_edge("inner", "after_inner")
        .compile()
    )
    return (
        ns.StateGraph(Items)
        .add_node("middle", middle)
        .add_node("last", adds("last", 1))
        .add_edge(ns.START, "middle")
        .add_edge("middle", "last")
    )


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_two_levels_down(differ, mode, subgraphs):
    differ.stream(nested, {"items": []}, stream_mode=mode, subgraphs=subgraphs)


def test_namespaces_exactly(engine):
    graph = engine.compile(nested(engine))
    chunks = normalise(graph.stream({"items": []}, stream_mode="custom", subgraphs=True))
    assert chunks == [
        (("middle:<uuid-1>", "inner:<uuid-2>"), {"node": "leaf", "i": 0}),
        (("middle:<uuid-1>",), {"node": "after_inner", "i": 0}),
        ((), {"node": "last", "i": 0}),
    ]
