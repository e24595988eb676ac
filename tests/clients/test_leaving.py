"""A caller that leaves in the middle of an answer: the request to the model is given up."""

import asyncio
import sys

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from tests.clients.support import HI, chat, single, talks, texts
from tests.support.cluster import eventually
from tests.support.differential import run
from tests.support.openai_server import Answer


def leave(graph):
    async def first():
        stream = graph.astream(HI, stream_mode="messages")
        async for message, _ in stream:
            if message.text:
                break
        await stream.aclose()
        return message.text

    return asyncio.run(first())


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_model_that_talks_on_is_hung_up_on(ours, serve, is_async):
    server = serve("word " * 2000, interval=0.005)
    model = chat(server).with_retry(wait_exponential_jitter=False)
    assert leave(ours.compile(talks(ours, model, is_async))) == "word "
    eventually(lambda: server.hung_up, "the client hangs up")
    assert len(server.requests) == 1


def test_a_model_that_is_silent_is_hung_up_on(ours, serve):
    server = serve(Answer("one two", hold_after=1))
    assert leave(ours.compile(talks(ours, chat(server), is_async=True))) == "one "
    eventually(lambda: server.hung_up, "the client hangs up")


def test_a_model_without_tokens_to_show_is_hung_up_on_too(ours, serve):
    """Here only the caller's handlers hear of them."""
    server = serve("word " * 2000, interval=0.005)
    heard = []

    class Handler(BaseCallbackHandler):
        def on_llm_new_token(self, token, **kwargs):
            heard.append(token)

    async def first(graph):
        stream = graph.astream(HI, {"callbacks": [Handler()]}, stream_mode=["custom", "values"])
        async for mode, _ in stream:
            if mode == "custom":
                break
        await stream.aclose()

    model = chat(server, streaming=True)

    def node(state, writer):
        for i, _ in enumerate(model.stream("hi")):
            if i == 3:
                writer("three")

    asyncio.run(first(ours.compile(single(ours, node))))
    assert heard[1:3] == ["word ", "word "]
    eventually(lambda: server.hung_up, "the client hangs up")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is newer")
def test_a_nodes_own_time_limit_on_a_model_holds(engine, serve):
    """A cancel within the node is the node's own affair."""
    server = serve(Answer("one two", hold_after=1), "other words")
    model, heard = chat(server, streaming=True), []

    class Handler(BaseCallbackHandler):
        def on_llm_new_token(self, token, **kwargs):
            heard.append(token)

    async def node(state):
        try:
            async with asyncio.timeout(None) as limit:
                async for chunk in model.astream("hi"):
                    if chunk.content:  # the server sends no more
                        limit.reschedule(asyncio.get_running_loop().time())
        except TimeoutError:
            return {"messages": await model.ainvoke("again")}

    graph = engine.compile(single(engine, node))
    outcome = run(graph, HI, "async", config={"callbacks": [Handler()]}, stream_mode="messages")
    assert outcome.error is None
    assert texts(outcome.chunks) == ["one ", "other ", "words"]
    assert [token for token in heard if token] == ["one ", "other ", "words"]
    eventually(lambda: server.hung_up, "the client hangs up")
