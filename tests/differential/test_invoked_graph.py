"""A graph that a node's function calls by itself streams under that node's namespace."""

import pytest

from tests.support.graphs import Items, adds
from tests.support.normalise import normalise

MODES = ["values", "updates", "custom", "tasks"]


def child_of(ns):
    return (
        ns.StateGraph(Items)
        .add_node("c1", adds("c1", 1))
        .add_node("c2", adds("c2", 1))
        .add_edge(ns.START, "c1")
        .add_edge("c1", "c2")
        .compile()
    )


def invoking(ns, calls=1):
    child = child_of(ns)

    def call(state, writer):
        writer("before")
        out = []
        for i in range(calls):
            out += child.invoke({"items": [str(i)]})["items"]
        writer("after")
        return {"items": out}

    return ns.StateGraph(Items).add_node("call", call).add_edge(ns.START, "call")


def ainvoking(ns):
    child = child_of(ns)

    async def call(state):
        return {"items": (await child.ainvoke({"items": ["0"]}))["items"]}

    return ns.StateGraph(Items).add_node("call", call).add_edge(ns.START, "call")


def streaming(ns, pass_config=False, **options):
    child = child_of(ns)

    def call(state, config):
        given = (config,) if pass_config else ()
        return {"items": [repr(c) for c in child.stream({"items": ["s"]}, *given, **options)]}

    return ns.StateGraph(Items).add_node("call", call).add_edge(ns.START, "call")


@pytest.mark.parametrize("subgraphs", [False, True])
def test_an_invoked_graph(differ, subgraphs):
    differ.stream(invoking, {"items": []}, stream_mode=MODES, subgraphs=subgraphs)


def test_an_awaited_graph(differ):
    differ.stream(
        ainvoking, {"items": []}, stream_mode=MODES, subgraphs=True, reference_face="async"
    )


def test_two_calls_in_one_node_have_namespaces_of_their_own(differ):
    differ.stream(
        lambda ns: invoking(ns, 2), {"items": []}, stream_mode=["updates", "custom"], subgraphs=True
    )


def test_namespaces_exactly(engine):
    graph = engine.compile(invoking(engine))
    assert normalise(graph.stream({"items": []}, stream_mode="custom", subgraphs=True)) == [
        ((), "before"),
        (("call:<uuid-1>",), {"node": "c1", "i": 0}),
        (("call:<uuid-1>",), {"node": "c2", "i": 0}),
        ((), "after"),
    ]


@pytest.mark.parametrize("mode", ["custom", "updates"])
def test_custom_chunks_go_to_the_node_alone_if_it_streams_them(differ, mode):
    differ.stream(
        lambda ns: streaming(ns, stream_mode=mode),
        {"items": []},
        stream_mode=["updates", "custom"],
        subgraphs=True,
    )


@pytest.mark.parametrize("pass_config", [False, True])
@pytest.mark.parametrize("mode", [None, "values", ["updates", "custom"]], ids=str)
def test_a_node_can_stream_a_graph(differ, mode, pass_config):
    differ.stream(
        lambda ns: streaming(ns, pass_config, stream_mode=mode),
        {"items": []},
        stream_mode="updates",
    )
