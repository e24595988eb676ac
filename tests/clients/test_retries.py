"""A client that tries again: the caller sees one answer, or the client's own error."""

import time

import openai
import pytest
from langchain_core.messages import AIMessage

from tests.clients.support import HI, chat, failure_of, single, talks, texts
from tests.support.differential import run
from tests.support.openai_server import Answer

SLOW_DOWN = Answer("slow down", status=429, headers={"Retry-After": "0.05"})
BROKEN = Answer("broken", status=500, headers={"Retry-After": "0.01"})
NOT_NOW = Answer("later", status=503, headers={"Retry-After": "0.01"})

FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@FACES
@pytest.mark.parametrize(
    "before", [[SLOW_DOWN], [BROKEN], [SLOW_DOWN, NOT_NOW, BROKEN]], ids=["429", "500", "three"]
)
def test_a_models_retry_duplicates_no_token(engine, serve, before, is_async):
    server = serve(*before, "one two three")
    graph = engine.compile(talks(engine, chat(server, max_retries=3), is_async))
    started = time.monotonic()
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode=["messages", "updates"])
    assert time.monotonic() - started > (0.05 if SLOW_DOWN in before else 0.01)
    assert outcome.error is None
    *tokens, (_, update) = outcome.chunks
    assert texts([chunk for _, chunk in tokens]) == ["one ", "two ", "three"]
    answer = update["call"]["messages"]
    assert answer.content == "one two three"
    assert {message.id for _, (message, _) in tokens} == {answer.id}
    counts = [headers["x-stainless-retry-count"] for headers in server.headers]
    assert counts == [str(i) for i in range(len(before) + 1)]


@FACES
def test_an_openai_clients_retry_duplicates_no_token(engine, serve, is_async):
    server = serve(SLOW_DOWN, "one two")
    settings = {"api_key": "k", "base_url": server.base_url, "max_retries": 1}
    client, aclient = openai.OpenAI(**settings), openai.AsyncOpenAI(**settings)
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}

    def node(state, writer):
        for chunk in client.chat.completions.create(**request):
            writer(chunk.choices[0].delta.content)

    async def anode(state, writer):
        async for chunk in await aclient.chat.completions.create(**request):
            writer(chunk.choices[0].delta.content)

    graph = engine.compile(single(engine, anode if is_async else node))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="custom")
    assert outcome.chunks == ["", "one ", "two", None]
    assert len(server.requests) == 2


@FACES
def test_a_model_that_gives_up_raises_its_own_error(engine, serve, is_async):
    server = serve(SLOW_DOWN)
    expected = failure_of(chat(server))
    server.requests.clear()
    graph = engine.compile(talks(engine, chat(server, max_retries=1), is_async))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="messages")
    error = outcome.error
    assert type(error) is type(expected)
    assert isinstance(error, openai.RateLimitError)
    assert str(error) == str(expected)
    assert error.status_code == 429
    assert error.body == {"message": "slow down", "type": "test"}
    assert outcome.chunks == []
    assert len(server.requests) == 2


@FACES
def test_an_openai_client_that_gives_up_raises_its_own_error(engine, serve, is_async):
    server = serve(BROKEN)
    settings = {"api_key": "k", "base_url": server.base_url, "max_retries": 1}
    client, aclient = openai.OpenAI(**settings), openai.AsyncOpenAI(**settings)
    request = {"model": "m", "messages": []}

    def node(state):
        client.chat.completions.create(**request)

    async def anode(state):
        await aclient.chat.completions.create(**request)

    graph = engine.compile(single(engine, anode if is_async else node))
    outcome = run(graph, HI, "async" if is_async else "sync")
    assert type(outcome.error) is openai.InternalServerError
    assert outcome.error.status_code == 500
    assert outcome.error.body == {"message": "broken", "type": "test"}
    assert outcome.error.response.status_code == 500
    assert outcome.error.response.headers["retry-after"] == "0.01"
    assert len(server.requests) == 2


CUT = Answer("one two three", cut_after=2)
AGAIN = {
    "with_retry": lambda model: model.with_retry(wait_exponential_jitter=False),
    "with_fallbacks": lambda model: model.with_fallbacks([model]),
}


@pytest.mark.parametrize("how", AGAIN)
def test_langchains_own_retry_starts_a_new_message(differ, serve, how):
    """Such a retry is a call of its own: what it streams has an id of its own, as in LangGraph."""
    server = serve(CUT, "four five")

    def build(ns):
        server.rewind()
        return talks(ns, AGAIN[how](chat(server)))

    outcome = differ.stream(build, HI, stream_mode=["messages", "updates"])
    *tokens, (_, update) = outcome.chunks
    said = {}
    for _, (message, _) in tokens:
        said[message.id] = said.get(message.id, "") + message.text
    assert list(said.values()) == ["one two ", "four five"]
    answer = update["call"]["messages"]
    assert (type(answer), answer.content, answer.id) == (AIMessage, "four five", list(said)[1])


def test_a_nodes_own_except_clause_sees_the_clients_error(engine, serve):
    server = serve(SLOW_DOWN)
    model = chat(server)

    def node(state):
        try:
            return {"messages": model.invoke(state["messages"])}
        except openai.RateLimitError as error:
            return {"messages": AIMessage(f"sorry: {error.status_code}")}

    result = engine.compile(single(engine, node)).invoke(HI)
    assert result["messages"][-1].content == "sorry: 429"
