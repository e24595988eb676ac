"""What of a model's answers is shown: ``nostream``, models that do not stream, tags, two models."""

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from tests.clients.support import HI, chat, single, talks, texts
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def face(is_async):
    return "async" if is_async else "sync"


def lookup(key: str) -> str:
    """Look a key up."""
    return key


def by_model(body):
    """Each model says its name; one that may call tools calls the first of them."""
    if body.get("tools"):
        return Answer(calls=(Call(body["tools"][0]["function"]["name"], {"key": "k"}),))
    return f"{body['model']} speaks"


MODELS = {
    "plain": lambda server: chat(server),
    "tagged": lambda server: chat(server, tags=["joke"]),
    "nostream": lambda server: chat(server, tags=["nostream"]),
    "nostream and a tag": lambda server: chat(server, tags=["nostream", "joke"]),
    "nostream by config": lambda server: chat(server).with_config(tags=["nostream"]),
    "disable_streaming": lambda server: chat(server, disable_streaming=True),
    "tool_calling without tools": lambda server: chat(server, disable_streaming="tool_calling"),
    "tool_calling with tools": lambda server: chat(
        server, disable_streaming="tool_calling"
    ).bind_tools([lookup]),
    "streaming": lambda server: chat(server, streaming=True),
    "streaming off": lambda server: chat(server, streaming=False),
    "bound tools": lambda server: chat(server).bind_tools([lookup]),
    "metadata": lambda server: chat(server, metadata={"team": "t"}),
    "a chain": lambda server: chat(server) | (lambda m: AIMessage(m.text.upper(), id="up")),
    "two in a chain": lambda server: chat(server, model="a") | (lambda m: [m]) | chat(server),
}
MODES = ["messages", "updates"]


@pytest.mark.parametrize("what", MODELS)
def test_the_same_chunks_as_langgraph(differ, serve, what):
    server = serve(by_model)

    def build(ns):
        server.rewind()
        return talks(ns, MODELS[what](server))

    differ.stream(build, HI, stream_mode=MODES, faces=("sync",))


@pytest.mark.parametrize("what", MODELS)
def test_the_same_chunks_as_langgraph_awaited(differ, serve, what):
    server = serve(by_model)

    def build(ns):
        server.rewind()
        return talks(ns, MODELS[what](server), is_async=True)

    differ.stream(build, HI, stream_mode=MODES, faces=("async",), reference_face="async")


@FACES
def test_nostream_shows_only_the_message_that_the_node_returns(engine, serve, is_async):
    server = serve(by_model)
    graph = engine.compile(talks(engine, MODELS["nostream"](server), is_async))
    ((message, metadata),) = run(graph, HI, face(is_async), stream_mode="messages").chunks
    assert (type(message), message.content) == (AIMessage, "test speaks")
    assert metadata["langgraph_node"] == "call"


@FACES
@pytest.mark.parametrize(
    ("what", "streamed", "shown"),
    [
        ("disable_streaming", False, ["test speaks"]),
        ("tool_calling without tools", True, ["test ", "speaks"]),
        ("tool_calling with tools", False, []),
        ("bound tools", True, []),
    ],
)
def test_what_the_server_is_asked_for(engine, serve, what, streamed, shown, is_async):
    server = serve(by_model)
    graph = engine.compile(talks(engine, MODELS[what](server), is_async))
    outcome = run(graph, HI, face(is_async), stream_mode=MODES)
    assert outcome.error is None
    (request,) = server.requests
    assert bool(request.get("stream")) is streamed
    *tokens, (_, update) = outcome.chunks
    assert texts([chunk for _, chunk in tokens]) == shown
    answer = update["call"]["messages"]
    if what in ("bound tools", "tool_calling with tools"):
        assert request["tools"][0]["function"]["name"] == "lookup"
        assert [call["args"] for call in answer.tool_calls] == [{"key": "k"}]
        pieces = [c for _, (m, _) in tokens for c in getattr(m, "tool_call_chunks", [])]
        assert len(pieces) == (3 if streamed else 0)
    if not streamed:
        ((_, (message, _)),) = tokens
        assert message == answer


class Pair(TypedDict, total=False):
    topic: str
    joke: str
    poem: str


def two_models(ns, server, is_async=False):
    joker, poet = chat(server, model="joker", tags=["joke"]), chat(server, model="poet", tags=["p"])

    def call(state):
        joke = joker.invoke(state["topic"]).text
        return {"joke": joke, "poem": poet.invoke(state["topic"], {"tags": ["late"]}).text}

    async def acall(state, config: RunnableConfig):
        joke = (await joker.ainvoke(state["topic"], config)).text
        return {"joke": joke, "poem": (await poet.ainvoke(state["topic"], config)).text}

    return single(ns, acall if is_async else call, Pair)


def test_two_models_in_one_node_as_langgraph_streams_them(differ, serve):
    server = serve(by_model)

    def build(ns):
        server.rewind()
        return two_models(ns, server)

    config = {"tags": ["mine"], "metadata": {"user": "u"}}
    differ.stream(build, {"topic": "cats"}, config=config, stream_mode=MODES)


@FACES
def test_two_models_in_one_node_are_told_apart_by_their_tags(engine, serve, is_async):
    graph = engine.compile(two_models(engine, serve(by_model), is_async))
    outcome = run(
        graph, {"topic": "cats"}, face(is_async), stream_mode="messages", config={"tags": ["mine"]}
    )
    tags = {"joke": [], "p": []}
    for message, metadata in outcome.chunks:
        (own,) = set(metadata["tags"]) & set(tags)
        tags[own].append(message.text)
        late = [] if is_async or own == "joke" else ["late"]
        assert sorted(metadata["tags"]) == sorted([own, "mine", *late])
        assert metadata["ls_model_name"] == {"joke": "joker", "p": "poet"}[own]
    assert {tag: [t for t in said if t] for tag, said in tags.items()} == {
        "joke": ["joker ", "speaks"],
        "p": ["poet ", "speaks"],
    }


@FACES
def test_one_of_two_models_is_silent(engine, serve, is_async):
    server = serve(by_model)
    loud, silent = chat(server, model="loud"), chat(server, model="silent", tags=["nostream"])

    def call(state):
        return {"joke": loud.invoke("a").text, "poem": silent.invoke("b").text}

    async def acall(state, config: RunnableConfig):
        said = (await loud.ainvoke("a", config)).text
        return {"joke": said, "poem": (await silent.ainvoke("b", config)).text}

    graph = engine.compile(single(engine, acall if is_async else call, Pair))
    outcome = run(graph, {"topic": "t"}, face(is_async), stream_mode=MODES)
    tokens = [chunk for mode, chunk in outcome.chunks if mode == "messages"]
    assert texts(tokens) == ["loud ", "speaks"]
    assert outcome.chunks[-1] == (
        "updates",
        {"call": {"joke": "loud speaks", "poem": "silent speaks"}},
    )


def test_two_models_at_once_in_one_node(engine, serve):
    """Their tokens mix, each message under its own id."""
    import asyncio

    server = serve(by_model, interval=0.002)
    models = [chat(server, model=name) for name in ("a", "b", "c")]

    async def call(state, config: RunnableConfig):
        answers = await asyncio.gather(*(m.ainvoke("x", config) for m in models))
        return {"joke": ", ".join(answer.text for answer in answers)}

    outcome = run(
        engine.compile(single(engine, call, Pair)), {"topic": "t"}, "async", stream_mode=MODES
    )
    said = {}
    for _, (message, metadata) in outcome.chunks[:-1]:
        key = message.id, metadata["ls_model_name"]
        said[key] = said.get(key, "") + message.text
    assert sorted((name, text) for (_, name), text in said.items()) == [
        ("a", "a speaks"),
        ("b", "b speaks"),
        ("c", "c speaks"),
    ]
    assert outcome.chunks[-1][1] == {"call": {"joke": "a speaks, b speaks, c speaks"}}
