"""Callbacks that the caller passes hear of a real model on a worker: tokens, usage, errors."""

import asyncio
import threading

import openai
import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    UsageMetadataCallbackHandler,
)
from langchain_core.outputs import ChatGenerationChunk

from tests.clients.support import HI, chat, single, talks
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
CALL = Answer(calls=(Call("f", {"a": 1}),))


class Recorder(BaseCallbackHandler):
    """Keeps what it hears, and holds a generator, so that it can be sent nowhere."""

    def __init__(self):
        self.heard = []
        self.lock = threading.Lock()
        self.held = (part for part in ())

    def note(self, *what):
        with self.lock:
            self.heard.append(what)

    def on_chat_model_start(self, serialized, messages, *, metadata, **kwargs):
        self.note("start", messages[0][-1].content, metadata["ls_model_name"])

    def on_llm_new_token(self, token, *, chunk=None, **kwargs):
        assert isinstance(chunk, ChatGenerationChunk)
        pieces = [c["args"] for c in getattr(chunk.message, "tool_call_chunks", [])]
        if token or pieces:
            self.note("token", token or pieces)

    def on_llm_end(self, response, **kwargs):
        message = response.generations[0][0].message
        self.note("end", message.content, message.usage_metadata["output_tokens"])

    def on_llm_error(self, error, **kwargs):
        self.note("error", error)


@FACES
def test_a_handler_hears_the_tokens_and_the_usage(engine, serve, is_async):
    server = serve("one two")
    recorder = Recorder()
    graph = engine.compile(talks(engine, chat(server), is_async))
    outcome = run(
        graph,
        HI,
        "async" if is_async else "sync",
        config={"callbacks": [recorder]},
        stream_mode="messages",
    )
    assert outcome.error is None
    assert recorder.heard == [
        ("start", "hi", "test"),
        ("token", "one "),
        ("token", "two"),
        ("end", "one two", 2),
    ]


def test_a_handler_hears_the_pieces_of_a_tool_call(engine, serve):
    recorder = Recorder()
    graph = engine.compile(talks(engine, chat(serve(CALL), streaming=True)))
    graph.invoke(HI, {"callbacks": [recorder]})
    assert recorder.heard == [
        ("start", "hi", "test"),
        ("token", [""]),
        ("token", ['{"a": ']),
        ("token", ["1}"]),
        ("end", "", 3),
    ]


@FACES
def test_usage_is_counted_at_the_caller(engine, serve, is_async):
    server = serve("one two three")
    small, large = chat(server, model="small"), chat(server, model="large")

    def call(state):
        return {"messages": [small.invoke("a"), large.invoke("b"), small.invoke("c")]}

    async def acall(state, config):
        messages = [await m.ainvoke("a", config) for m in (small, large, small)]
        return {"messages": messages}

    counter = UsageMetadataCallbackHandler()
    graph = engine.compile(single(engine, acall if is_async else call))
    outcome = run(graph, HI, "async" if is_async else "sync", config={"callbacks": [counter]})
    assert outcome.error is None
    totals = {name: usage["total_tokens"] for name, usage in counter.usage_metadata.items()}
    assert totals == {"small": 8, "large": 4}


@FACES
def test_a_handler_hears_of_a_stream_that_is_cut(engine, serve, is_async):
    server = serve(Answer("one two three", cut_after=2))
    recorder = Recorder()
    graph = engine.compile(talks(engine, chat(server), is_async))
    outcome = run(
        graph,
        HI,
        "async" if is_async else "sync",
        config={"callbacks": [recorder]},
        stream_mode="messages",
    )
    *before, (what, error) = recorder.heard
    assert before == [("start", "hi", "test"), ("token", "one "), ("token", "two ")]
    assert what == "error"
    assert isinstance(error, openai.APIConnectionError)
    assert type(error) is type(outcome.error)


def test_a_clients_retry_is_one_call_of_the_model(engine, serve):
    server = serve(Answer("slow", status=429, headers={"Retry-After": "0.01"}), "one two")
    recorder = Recorder()
    graph = engine.compile(talks(engine, chat(server, max_retries=1, streaming=True)))
    graph.invoke(HI, {"callbacks": [recorder]})
    assert recorder.heard == [
        ("start", "hi", "test"),
        ("token", "one "),
        ("token", "two"),
        ("end", "one two", 2),
    ]


def test_a_handler_hears_a_token_before_the_model_says_the_next(engine, serve):
    server = serve(Answer("one two", hold_after=1))

    class Awaiting(AsyncCallbackHandler):
        def __init__(self):
            self.tokens = []

        async def on_llm_new_token(self, token, **kwargs):
            if token:
                self.tokens.append(token)
                server.proceed()

    handler = Awaiting()
    graph = engine.compile(talks(engine, chat(server), is_async=True))

    async def drain():
        return [c async for c in graph.astream(HI, {"callbacks": [handler]}, stream_mode=MODES)]

    chunks = asyncio.run(drain())
    assert handler.tokens == ["one ", "two"]
    assert chunks[-1][0] == "updates"


MODES = ["messages", "updates"]


def test_a_handler_that_the_model_holds_is_refused_by_name(ours, serve):
    """It would hear nothing at the caller: such handlers belong into the config."""
    from distgraph.errors import SerializationError

    model = chat(serve("x"), callbacks=[Recorder()])
    if ours.name == "local":
        ours.compile(talks(ours, model)).invoke(HI)
        assert [what for what, *_ in model.callbacks[0].heard] == ["start", "end"]
        return
    with pytest.raises(SerializationError, match=r"(?s)node 'call'.*model.*'callbacks'.*generator"):
        ours.compile(talks(ours, model)).invoke(HI)
