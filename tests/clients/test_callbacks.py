"""Callbacks that the caller passes hear of a real model on a worker: tokens, usage, errors."""

import asyncio
import threading

import openai
import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    CallbackManager,
    StdOutCallbackHandler,
    StreamingStdOutCallbackHandler,
    UsageMetadataCallbackHandler,
)
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool

from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps_code, loads
from tests.clients.support import HI, chat, single, talks
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
CALL = Answer(calls=(Call("f", {"a": 1}),))


class Recorder(BaseCallbackHandler):
    """Keeps what it hears behind a lock, so that it can be sent nowhere."""

    def __init__(self):
        self.heard = []
        self.lock = threading.Lock()

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


class Counter(BaseCallbackHandler):
    """Could be copied; the copy would count in place of this one."""

    def __init__(self):
        self.count = 0

    def on_llm_start(self, *args, **kwargs):
        self.count += 1

    on_chat_model_start = on_tool_start = on_llm_start


def model_with(**settings):
    return FakeListChatModel(responses=["x"], **settings)


def with_callbacks(handler):
    model = model_with(callbacks=[handler])
    return lambda state: {"messages": model.invoke("hi")}


def with_manager(handler):
    model = model_with(callbacks=CallbackManager([handler]))
    return lambda state: {"messages": model.invoke("hi")}


def with_tool(handler):
    tool = StructuredTool.from_function(lambda: "x", name="t", description="d", callbacks=[handler])
    return lambda state: {"messages": tool.invoke({})}


def with_bound_config(handler):
    model = model_with().with_config(callbacks=[handler])
    return lambda state: {"messages": model.invoke("hi")}


def with_bound_runnable(handler):
    model = model_with()
    node = RunnableLambda(lambda state: {"messages": model.invoke("hi")})
    return node.with_config(callbacks=[handler])


def with_closure(handler):
    model = model_with()
    return lambda state: {"messages": model.invoke("hi", {"callbacks": [handler]})}


def with_attribute(handler):
    model = model_with()

    class Node:
        def __init__(self):
            self.config = {"callbacks": [handler]}

        def __call__(self, state):
            return {"messages": model.invoke("hi", self.config)}

    return Node()


HOLDERS = [
    with_callbacks,
    with_manager,
    with_tool,
    with_bound_config,
    with_bound_runnable,
    with_closure,
    with_attribute,
]


@pytest.mark.parametrize("hold", HOLDERS, ids=lambda hold: hold.__name__)
def test_a_handler_inside_the_graph_hears_here_or_is_refused_by_name(ours, hold):
    """A copy on a worker would hear in its place: such handlers belong into the config."""
    handler = Counter()
    builder = single(ours, hold(handler))
    if ours.name == "local":
        ours.compile(builder).invoke(HI)
        assert handler.count == 1
        return
    with pytest.raises(SerializationError) as caught:
        ours.compile(builder)
    message = str(caught.value)
    assert message.startswith("node 'call' cannot be sent to a worker because of ")
    assert "a callback handler (Counter) exists in one process only" in message
    assert "Remedy: pass it in the config of a run, as in invoke(input, {'callbacks'" in message


def test_a_handler_of_a_model_in_the_context_is_refused_by_name(ours):
    handler = Counter()

    def call(state, runtime: ours.Runtime):
        return {"messages": runtime.context["model"].invoke("hi")}

    graph = ours.compile(single(ours, call))
    context = {"model": model_with(callbacks=[handler])}
    if ours.name == "local":
        graph.invoke(HI, context=context)
        assert handler.count == 1
        return
    with pytest.raises(SerializationError, match=r"context.*a callback handler \(Counter\)"):
        graph.invoke(HI, context=context)


def test_handlers_that_only_print_are_sent(ours):
    model = model_with(callbacks=[StdOutCallbackHandler(), StreamingStdOutCallbackHandler()])
    graph = ours.compile(single(ours, lambda state: {"messages": model.invoke("hi")}))
    assert graph.invoke(HI)["messages"][-1].content == "x"


def test_a_subclass_of_a_handler_that_only_prints_is_refused():
    class Keeps(StdOutCallbackHandler):
        pass

    with pytest.raises(SerializationError, match=r"a callback handler \(.*Keeps\) exists"):
        dumps_code(model_with(callbacks=[Keeps()]))


def test_a_handler_that_says_how_it_is_pickled_is_taken_at_its_word():
    class Own(BaseCallbackHandler):
        def __reduce__(self):
            return Own, ()

    (handler,) = loads(dumps_code(model_with(callbacks=[Own()]))).callbacks
    assert type(handler).__name__ == "Own"
