"""A stream that breaks: the tokens before it, then the client's own error, at the caller."""

import socket

import httpx
import openai
import pytest

from tests.clients.support import HI, chat, failure_of, single, talks, texts
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

CUT = Answer("one two three", cut_after=2)
ERROR_EVENT = Answer("one two three", error_after=2)
BREAKS = pytest.mark.parametrize("answer", [CUT, ERROR_EVENT], ids=["cut", "error event"])
FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__


def told(engine, error):
    """Check the notes that say where on the cluster an error was raised."""
    notes = "\n".join(error.__notes__)
    assert "During task with name 'call'" in notes
    if not engine.is_reference:
        assert "node 'call', step 1, attempt 1" in notes


@FACES
def test_a_models_stream_that_is_cut(engine, serve, is_async):
    server = serve(CUT)
    expected = failure_of(chat(server))
    server.requests.clear()
    graph = engine.compile(talks(engine, chat(server, max_retries=2), is_async))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="messages")
    assert texts(outcome.chunks) == ["one ", "two "]
    assert isinstance(outcome.error, openai.APIConnectionError)
    chain = [(type(error), str(error)) for error in causes(outcome.error)]
    assert chain == [(type(error), str(error)) for error in causes(expected)]
    assert "incomplete chunked read" in chain[-1][1]
    assert str(outcome.error.request.url) == f"{server.base_url}/chat/completions"
    told(engine, outcome.error)
    assert len(server.requests) == 1


@FACES
def test_a_models_stream_with_an_error_event(engine, serve, is_async):
    server = serve(ERROR_EVENT)
    graph = engine.compile(talks(engine, chat(server, max_retries=2), is_async))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="messages")
    assert texts(outcome.chunks) == ["one ", "two "]
    assert type(outcome.error) is openai.APIError
    assert outcome.error.message == "the model broke"
    assert outcome.error.body == {"message": "the model broke", "type": "test"}
    told(engine, outcome.error)


@BREAKS
@FACES
def test_an_openai_clients_stream_that_breaks(engine, serve, answer, is_async):
    server = serve(answer)
    settings = {"api_key": "k", "base_url": server.base_url}
    client, aclient = openai.OpenAI(**settings), openai.AsyncOpenAI(**settings)

    def node(state, writer):
        for chunk in client.chat.completions.create(**REQUEST):
            writer(chunk.choices[0].delta.content)

    async def anode(state, writer):
        async for chunk in await aclient.chat.completions.create(**REQUEST):
            writer(chunk.choices[0].delta.content)

    graph = engine.compile(single(engine, anode if is_async else node))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="custom")
    assert outcome.chunks == ["", "one ", "two "]
    assert type(outcome.error) is (openai.APIConnectionError if answer is CUT else openai.APIError)
    told(engine, outcome.error)


def test_an_httpx_stream_that_is_cut(engine, serve):
    server = serve(CUT)
    client = httpx.Client(base_url=server.base_url)

    def node(state, writer):
        with client.stream("POST", "/chat/completions", json=REQUEST) as response:
            for line in response.iter_lines():
                if "content" in line:
                    writer(line.partition('"content": ')[2].split("}")[0])

    outcome = run(engine.compile(single(engine, node)), HI, stream_mode="custom")
    assert outcome.chunks == ['""', '"one "', '"two "']
    assert type(outcome.error) is httpx.RemoteProtocolError
    assert str(outcome.error.request.url) == f"{server.base_url}/chat/completions"
    told(engine, outcome.error)


@BREAKS
def test_the_same_chunks_and_error_as_langgraph(differ, serve, answer):
    server = serve(answer)

    def build(ns):
        server.rewind()
        return talks(ns, chat(server))

    outcome = differ.stream(build, HI, stream_mode=["messages", "updates", "tasks"])
    assert outcome.error is not None


@BREAKS
def test_the_same_chunks_and_error_as_langgraph_awaited(differ, serve, answer):
    server = serve(answer)

    def build(ns):
        server.rewind()
        return talks(ns, chat(server), is_async=True)

    options = {"faces": ("async",), "reference_face": "async"}
    outcome = differ.stream(build, HI, stream_mode=["messages", "updates"], **options)
    assert outcome.error is not None


def test_a_stream_that_is_cut_within_a_tool_call(engine, serve):
    server = serve(Answer(calls=(Call("f", {"a": "long enough"}),), cut_after=2))
    outcome = run(engine.compile(talks(engine, chat(server))), HI, stream_mode="messages")
    pieces = [c["args"] for message, _ in outcome.chunks for c in message.tool_call_chunks]
    assert pieces == ["", '{"a": ']
    assert isinstance(outcome.error, openai.APIConnectionError)


def test_nothing_of_a_broken_step_is_in_the_state(engine, serve):
    server = serve("first", CUT)
    model = chat(server)

    def node(state):
        return {"messages": model.invoke(state["messages"])}

    builder = single(engine, node).add_node("again", node).add_edge("call", "again")
    outcome = run(engine.compile(builder), HI, stream_mode=["values", "messages"])
    states = [c["messages"][-1].content for mode, c in outcome.chunks if mode == "values"]
    assert states == ["hi", "first"]
    tokens = texts([chunk for mode, chunk in outcome.chunks if mode == "messages"])
    assert tokens == ["first", "one ", "two "]
    assert isinstance(outcome.error, openai.APIConnectionError)


def test_a_refused_connection(engine, serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        model = chat(serve(), base_url=url)
        outcome = run(engine.compile(talks(engine, model)), HI)
    assert isinstance(outcome.error, openai.APIConnectionError)
    assert any(type(error).__name__ == "ConnectError" for error in causes(outcome.error))
