"""Where nodes keep their model or client: wherever it is, the node's worker gets one that works."""

import importlib
import sys

import httpx
import openai
import pytest

from tests.clients.support import HI, chat, single, texts
from tests.support.differential import run
from tests.support.elsewhere import main_program

PLACES = {
    "module global": "DEF node(state): BODY(client)",
    "closure": "def outer(c):\n    DEF node(state): BODY(c)\n    return node\nnode = outer(client)",
    "default argument": "DEF node(state, c=client): BODY(c)",
    "keyword-only default": "DEF node(state, *, c=client): BODY(c)",
    "attribute of a callable object": (
        "class Agent:\n"
        "    def __init__(self): self.client = client\n"
        "    DEF __call__(self, state): BODY(self.client)\n"
        "node = Agent()"
    ),
    "bound method": (
        "class Agent:\n"
        "    def __init__(self): self.client = client\n"
        "    DEF answer(self, state): BODY(self.client)\n"
        "node = Agent().answer"
    ),
    "class attribute": (
        "class Agent:\n    client = client\n    DEF __call__(self, state): BODY(self.client)\n"
        "node = Agent()"
    ),
    "partial": (
        "import functools\nDEF answer(c, state): BODY(c)\nnode = functools.partial(answer, client)"
    ),
    "in a dict": "clients = {'c': [client]}\nDEF node(state): BODY(clients['c'][0])",
}
ASK_MODEL = {
    False: "return {{'messages': {}.invoke(state['messages'])}}",
    True: "return {{'messages': await {}.ainvoke(state['messages'])}}",
}
ASK_CLIENT = {
    False: "return answer_of({}, get_stream_writer())",
    True: "return await aanswer_of({}, get_stream_writer())",
}
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi you"}], "stream": True}


def answer_of(client, writer):
    for chunk in client.chat.completions.create(**REQUEST):
        if chunk.choices and chunk.choices[0].delta.content:
            writer(chunk.choices[0].delta.content)
    return {}


async def aanswer_of(client, writer):
    async for chunk in await client.chat.completions.create(**REQUEST):
        if chunk.choices and chunk.choices[0].delta.content:
            writer(chunk.choices[0].delta.content)
    return {}


def script(place, is_async, ask, **names):
    """The node of a user's script that keeps ``client`` in a place."""
    source = PLACES[place].replace("DEF", "async def" if is_async else "def")
    before, _, rest = source.partition("BODY(")
    argument, _, after = rest.partition(")")
    return main_program(before + ask[is_async].format(argument) + after, **names)["node"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("place", PLACES)
def test_a_chat_model_streams_from_wherever_it_is_kept(ours, serve, place, is_async):
    server = serve("one two three")
    node = script(place, is_async, ASK_MODEL, client=chat(server))
    graph = ours.compile(single(ours, node))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="messages")
    assert outcome.error is None
    assert texts(outcome.chunks) == ["one ", "two ", "three"]
    assert [request["authorization"] for request in server.requests] == ["Bearer k"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("place", PLACES)
def test_an_openai_client_streams_from_wherever_it_is_kept(ours, serve, place, is_async):
    server = serve()
    cls = openai.AsyncOpenAI if is_async else openai.OpenAI
    names = {
        "client": cls(api_key="k", base_url=server.base_url),
        "answer_of": answer_of,
        "aanswer_of": aanswer_of,
        "get_stream_writer": ours.get_stream_writer,
    }
    graph = ours.compile(single(ours, script(place, is_async, ASK_CLIENT, **names)))
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode="custom")
    assert outcome.error is None
    assert outcome.chunks == ["echo: ", "hi ", "you"]
    assert [request["authorization"] for request in server.requests] == ["Bearer k"]


@pytest.fixture
def module_of_the_users(serve, tmp_path, monkeypatch):
    """A module whose globals are a model and a client, made when it is imported."""
    server = serve("one two")
    settings = f"api_key='k', base_url={server.base_url!r}"
    source = f"""
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

model = ChatOpenAI(model="m", {settings})
client = AsyncOpenAI({settings})

def talk(state):
    return {{"messages": model.invoke(state["messages"])}}

async def write(state, writer):
    request = {{"model": "m", "messages": [{{"role": "user", "content": "hi"}}], "stream": True}}
    async for chunk in await client.chat.completions.create(**request):
        writer(chunk.choices[0].delta.content)
"""
    (tmp_path / "their_models.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("their_models")
    sys.modules.pop("their_models")


def test_globals_of_a_users_module(engine, module_of_the_users):
    builder = single(engine, module_of_the_users.talk).add_node("write", module_of_the_users.write)
    graph = engine.compile(builder.add_edge("call", "write"))
    outcome = run(graph, HI, "async", stream_mode=["messages", "custom"])
    assert outcome.error is None
    tokens = [(mode, c[0].text if mode == "messages" else c) for mode, c in outcome.chunks]
    assert [(mode, token) for mode, token in tokens if token] == [
        ("messages", "one "),
        ("messages", "two"),
        ("custom", "one "),
        ("custom", "two"),
    ]


def test_two_nodes_share_the_settings_of_one_client(engine, serve):
    server = serve()
    settings = {"default_headers": {"x-team": "t"}, "timeout": 7.0, "max_retries": 0}
    client = openai.OpenAI(api_key="k", base_url=server.base_url, **settings)

    def first(state):
        answer_of(client.with_options(timeout=3.0), lambda token: None)

    def second(state):
        answer_of(client, lambda token: None)

    builder = single(engine, first).add_node("second", second).add_edge("call", "second")
    engine.compile(builder).invoke(HI)
    wanted = ("x-team", "x-stainless-read-timeout", "user-agent")
    sent = [tuple(headers[name] for name in wanted) for headers in server.headers]
    agent = f"OpenAI/Python {openai.__version__}"
    assert sent == [("t", "3.0", agent), ("t", "7.0", agent)]


def test_a_client_of_the_users_own_connections(engine, serve):
    server = serve()
    http = httpx.Client(headers={"x-proxy-key": "p"})
    client = openai.OpenAI(api_key="k", base_url=server.base_url, http_client=http)

    def node(state):
        return answer_of(client, engine.get_stream_writer())

    graph = engine.compile(single(engine, node))
    assert list(graph.stream(HI, stream_mode="custom")) == ["echo: ", "hi ", "you"]
    assert server.headers[0]["x-proxy-key"] == "p"
