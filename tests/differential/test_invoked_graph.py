"""A graph that a node's function calls by itself streams under that node's namespace."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.graph import START, StateGraph
from tests.support.cluster import eventually
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


def invoking_in_threads(ns):
    """Threads that have the node's config, and not its context."""
    child = child_of(ns)

    def call(state, config):
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(child.invoke, {"items": ["0"]}, config).result()
            second = pool.submit(lambda: asyncio.run(child.ainvoke({"items": ["1"]}, config)))
            return {"items": [*first["items"], *second.result()["items"]]}

    return ns.StateGraph(Items).add_node("call", call).add_edge(ns.START, "call")


def test_a_graph_invoked_in_a_thread_with_the_config_of_the_node(differ):
    differ.stream(invoking_in_threads, {"items": []}, stream_mode=MODES, subgraphs=True)


@pytest.mark.parametrize("way", ["config", "context"])
def test_a_graph_in_a_thread_that_outlives_its_node_goes_on(engine, tmp_path, way):
    """Nobody gets its stream; the thread gets its result."""
    begun, over, said = (tmp_path / name for name in ("begun", "over", "said"))

    def first(state, writer):
        begun.touch()
        eventually(over.exists, "the node around has ended")
        writer("late")
        return {"items": ["first"]}

    child = engine.StateGraph(Items).add_sequence([("first", first), ("last", adds("last", 1))])
    child = child.add_edge(engine.START, "first").compile()

    def call(state, config):
        given = (config,) if way == "config" else ()

        def work():
            try:
                told = str(child.invoke({"items": []}, *given))
            except BaseException as error:
                told = repr(error)
            (tmp_path / "made").write_text(told)
            (tmp_path / "made").rename(said)

        run = contextvars.copy_context().run if way == "context" else lambda call: call()
        threading.Thread(target=run, args=(work,), daemon=True).start()
        eventually(begun.exists, "the called graph has begun")
        return {"items": ["called"]}

    def after(state):
        over.touch()
        eventually(said.exists, "the called graph has ended")
        return {"items": ["after"]}

    graph = engine.StateGraph(Items).add_sequence([("call", call), ("after", after)])
    graph = engine.compile(graph.add_edge(engine.START, "call"))
    list(graph.stream({"items": []}, stream_mode=MODES, subgraphs=True))
    assert said.read_text() == "{'items': ['first', 'last']}"


def test_interrupts_of_graphs_and_chains_in_threads_with_the_config_of_the_node(differ):
    def build(ns):
        def ask(state):
            return {"items": [ns.interrupt("graph?")]}

        child = ns.StateGraph(Items).add_node("ask", ask).add_edge(ns.START, "ask").compile()

        def call(state, config):
            with ThreadPoolExecutor(1) as pool:
                ask = RunnableLambda(lambda text: ns.interrupt(text))
                chain = pool.submit(ask.invoke, "chain?", config).result()
                graph = pool.submit(child.invoke, {"items": []}, config).result()
            return {"items": [chain, *graph["items"]]}

        return ns.StateGraph(Items).add_node("call", call).add_edge(ns.START, "call")

    def converse(ns):
        graph = ns.compile(build(ns), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        asked = [graph.invoke({"items": []}, config)]
        asked.append(graph.invoke(ns.Command(resume="one"), config))
        questions = [[i.value for i in state["__interrupt__"]] for state in asked]
        return questions, graph.invoke(ns.Command(resume="two"), config)

    expected = ([["chain?"], ["graph?"]], {"items": ["one", "two"]})
    assert converse(differ.contender) == converse(differ.reference) == expected


def test_a_thread_that_a_node_leaves_behind_runs_a_graph_of_its_own():
    """Its config leads to the node's run only as long as the node runs."""
    left = threading.Event()
    results = []
    child = StateGraph(Items).add_node("c", adds("c", 1)).add_edge(START, "c")
    inner = child.compile(backend="local")

    def call(state, config):
        def work():
            left.wait(20)
            results.append(inner.invoke({"items": []}, config))

        threads.append(threading.Thread(target=work))
        threads[0].start()
        return {"items": ["called"]}

    threads = []
    builder = StateGraph(Items).add_node("call", call).add_edge(START, "call")
    stream = builder.compile(backend="local").stream({"items": []}, subgraphs=True)
    assert list(stream) == [((), {"call": {"items": ["called"]}})]
    left.set()
    threads[0].join(60)
    assert results == [{"items": ["c"]}]


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


def test_a_node_can_stream_a_graph_with_one_history(engine):
    child = engine.StateGraph(Items).add_node("c", adds("c", 1)).add_edge(engine.START, "c")
    child = child.compile(checkpointer=True)

    def call(state):
        chunks = child.stream({"items": ["s"]}, stream_mode=["values", "updates"])
        return {"items": list(chunks)}

    builder = engine.StateGraph(Items).add_node("call", call).add_edge(engine.START, "call")
    graph = engine.compile(builder, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    graph.invoke({"items": []}, thread)
    chunks = graph.stream({"items": []}, thread, stream_mode="updates", subgraphs=True)
    assert normalise(list(chunks)[-1:]) == [
        (
            (),
            {
                "call": {
                    "items": [
                        ("values", {"items": ["s", "c", "s"]}),
                        ("updates", {"c": {"items": ["c"]}}),
                        ("values", {"items": ["s", "c", "s", "c"]}),
                    ]
                }
            },
        )
    ]
