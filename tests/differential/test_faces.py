"""Sync and async nodes under sync and async faces."""

import asyncio

from tests.support.differential import run
from tests.support.graphs import Items, adds, joke
from tests.support.normalise import normalise

MODES = ["values", "updates", "custom", "tasks"]


def mixed(ns):
    async def waits(state, writer):
        writer({"node": "waits"})
        await asyncio.sleep(0.01)
        return {"items": ["waits"]}

    builder = ns.StateGraph(Items).add_node("waits", waits).add_node("works", adds("works", 1))
    return builder.add_edge(ns.START, "waits").add_edge("waits", "works")


def test_sync_and_async_nodes_in_one_graph(differ):
    differ.stream(mixed, {"items": []}, stream_mode=MODES, reference_face="async")


def test_async_nodes_work_under_the_sync_face(ours):
    # the reference refuses this
    graph = ours.compile(mixed(ours))
    assert list(graph.stream({"items": []}, stream_mode=["updates", "custom"])) == [
        ("custom", {"node": "waits"}),
        ("updates", {"waits": {"items": ["waits"]}}),
        ("custom", {"node": "works", "i": 0}),
        ("updates", {"works": {"items": ["works"]}}),
    ]
    assert graph.invoke({"items": []}) == {"items": ["waits", "works"]}


def test_async_nodes_work_under_the_sync_face_inside_a_running_loop(ours):
    graph = ours.compile(mixed(ours))

    async def caller():
        return graph.invoke({"items": []})

    assert asyncio.run(caller()) == {"items": ["waits", "works"]}


def test_both_faces_stream_the_same(engine):
    graph = engine.compile(joke(engine))
    sync = run(graph, {"topic": "ice"}, "sync", stream_mode=MODES)
    asynchronous = run(graph, {"topic": "ice"}, "async", stream_mode=MODES)
    assert normalise(sync.chunks) == normalise(asynchronous.chunks)


def test_a_hundred_async_nodes_wait_at_once(engine, tmp_path):
    folder, together = tmp_path / "begun", tmp_path / "together"
    folder.mkdir()

    def build(ns):
        async def wait(state):
            (folder / str(state["i"])).touch()
            if len(list(folder.iterdir())) == 100:
                together.touch()
            while not together.exists():  # for ever, if they waited one after another
                await asyncio.sleep(0.05)
            return {"items": [state["i"]]}

        builder = ns.StateGraph(Items).add_node("wait", wait)
        return builder.add_conditional_edges(
            ns.START, lambda s: [ns.Send("wait", {"i": i}) for i in range(100)], ["wait"]
        )

    graph = engine.compile(build(engine))
    assert asyncio.run(graph.ainvoke({"items": []})) == {"items": list(range(100))}


def test_a_callable_object_and_a_partial_are_nodes(engine):
    import functools

    def add(word, state):
        return {"items": [word]}

    builder = engine.StateGraph(Items).add_node("partial", functools.partial(add, "p"))
    builder.add_node("object", _Adds("o")).add_edge(engine.START, "partial").add_edge(
        "partial", "object"
    )
    assert engine.compile(builder).invoke({"items": []}) == {"items": ["p", "o"]}


class _Adds:
    def __init__(self, word):
        self.word = word

    def __call__(self, state):
        return {"items": [self.word]}


def test_a_bound_method_is_a_node(engine):
    builder = engine.StateGraph(Items).add_node("method", _Adds("m").__call__)
    assert engine.compile(builder.add_edge(engine.START, "method")).invoke({"items": []}) == {
        "items": ["m"]
    }
