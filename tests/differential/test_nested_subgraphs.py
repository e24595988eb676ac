"""A subgraph of a subgraph: namespaces grow by one element a level."""

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver

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


def looping(ns):
    """A graph that keeps its history, as a node that runs three times."""
    inner = ns.StateGraph(Items).add_node("leaf", adds("leaf", 1)).add_edge(ns.START, "leaf")
    inner.add_node("last", lambda s: {"items": [f"of {len(s['items'])}"]}).add_edge("leaf", "last")
    inner = inner.compile(checkpointer=True)
    middle = ns.StateGraph(Items).add_node("inner", inner).add_edge(ns.START, "inner")
    builder = ns.StateGraph(Items).add_node("middle", middle.compile())
    return builder.add_edge(ns.START, "middle").add_conditional_edges(
        "middle", lambda s: "middle" if len(s["items"]) < 9 else ns.END, ["middle", ns.END]
    )


@pytest.mark.parametrize("subgraphs", [False, True])
def test_a_graph_with_a_history_of_its_own_runs_again_in_a_run_that_saves_nothing(
    differ, subgraphs
):
    differ.stream(looping, {"items": []}, stream_mode=["tasks", "values"], subgraphs=subgraphs)


def test_each_run_of_a_graph_with_a_history_has_a_run_id_of_its_own(engine):
    begun = []

    class Recorder(BaseCallbackHandler):
        def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):
            begun.append(run_id)

    graph = engine.compile(looping(engine), checkpointer=InMemorySaver())
    config = {"callbacks": [Recorder()], "configurable": {"thread_id": "t"}}
    graph.invoke({"items": []}, config)
    assert len(begun) == len(set(begun)) > 6
