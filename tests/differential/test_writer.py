"""The custom stream: injected writers, ``get_stream_writer``, helpers, threads, async code."""

import asyncio
import contextvars
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.runnables import RunnableLambda

from tests.support.graphs import one
from tests.support.normalise import normalise


def by_parameter(ns):
    def node(state, *, writer):
        writer("keyword only")
        writer({"a": [1, 2]})
        writer(None)
        return {"items": ["done"]}

    return one(ns, node)


def by_helper(ns):
    def helper(text):
        ns.get_stream_writer()(text)

    def node(state):
        helper("one")
        helper("two")
        return {"items": ["done"]}

    return one(ns, node)


def by_async_helper(ns):
    async def helper(text):
        await asyncio.sleep(0)
        ns.get_stream_writer()(text)

    async def node(state):
        await helper("one")
        await asyncio.gather(helper("two"), helper("three"))
        await asyncio.create_task(helper("four"))
        return {"items": ["done"]}

    return one(ns, node)


def by_thread(ns):
    def helper():
        ns.get_stream_writer()("from a thread")

    def node(state):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(helper,))
        thread.start()
        thread.join()
        return {"items": ["done"]}

    return one(ns, node)


def by_a_chain_in_a_thread(ns):
    """The thread has the node's config, and not its context."""

    def helper(text):
        ns.get_stream_writer()(text)
        ns.get_stream_writer()(sorted(ns.get_config().get("tags", [])))
        return text

    def node(state, config):
        chain = RunnableLambda(helper).with_config(tags=["of the chain"])
        with ThreadPoolExecutor(1) as pool:
            return {"items": [pool.submit(chain.invoke, "from a thread", config).result()]}

    return one(ns, node)


def by_to_thread(ns):
    def helper(text):
        ns.get_stream_writer()(text)

    async def node(state):
        await asyncio.to_thread(helper, "from a thread")
        return {"items": ["done"]}

    return one(ns, node)


def in_a_conditional_edge(ns):
    def path(state):
        ns.get_stream_writer()("from the path")
        return ns.END

    return one(ns, lambda s: {"items": ["done"]}).add_conditional_edges("n", path, [ns.END])


@dataclasses.dataclass
class Progress:
    done: int
    total: int


def an_object(ns):
    def node(state, writer):
        writer(Progress(1, 2))
        return {"items": []}

    return one(ns, node)


@pytest.mark.parametrize(
    "build",
    [
        by_parameter,
        by_helper,
        by_thread,
        by_a_chain_in_a_thread,
        in_a_conditional_edge,
        an_object,
    ],
    ids=lambda b: b.__name__,
)
@pytest.mark.parametrize("mode", ["custom", ["custom", "updates", "values"], "updates"], ids=str)
def test_custom_events(differ, build, mode):
    differ.stream(build, {"items": []}, stream_mode=mode)


@pytest.mark.skipif(
    "sys.version_info < (3, 11)", reason="tasks carry no context before Python 3.11"
)
@pytest.mark.parametrize("build", [by_async_helper, by_to_thread], ids=lambda b: b.__name__)
def test_custom_events_of_async_code(differ, build):
    differ.stream(build, {"items": []}, stream_mode=["custom", "updates"], reference_face="async")


def test_many_events_keep_their_order(engine):
    def node(state, writer):
        for i in range(2_000):
            writer(i)
        return {"items": ["done"]}

    graph = engine.compile(one(engine, node))
    chunks = list(graph.stream({"items": []}, stream_mode=["custom", "updates"]))
    assert chunks == [
        *(("custom", i) for i in range(2_000)),
        ("updates", {"n": {"items": ["done"]}}),
    ]


def test_events_before_a_failure_are_delivered(engine):
    def node(state, writer):
        writer("one")
        writer("two")
        raise ValueError("boom")

    stream = engine.compile(one(engine, node)).stream({"items": []}, stream_mode="custom")
    got = []
    with pytest.raises(ValueError, match="boom"):
        for chunk in stream:
            got.append(chunk)
    assert got == ["one", "two"]


def test_without_mode_custom_the_writer_is_silent(engine):
    graph = engine.compile(by_parameter(engine))
    assert normalise(graph.stream({"items": []})) == [{"n": {"items": ["done"]}}]
    assert graph.invoke({"items": []}) == {"items": ["done"]}
