"""Chat models and HTTP clients on their way to another process, called there over loopback."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_openai")

import httpx
import openai
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, PrivateAttr

from distgraph.errors import SerializationError
from distgraph.serde import models
from distgraph.serde.pickling import dumps_code, dumps_data, loads
from tests.support.elsewhere import Elsewhere, main_program
from tests.support.models import EchoModel
from tests.support.openai_server import OpenAIServer


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


def chat(server: OpenAIServer, **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(model="test", api_key="secret", base_url=server.base_url, **settings)


def call(model: Any) -> str:
    return str(model.invoke("hello you").text)


# --- where nodes keep their model ----------------------------------------------------------------

PLACES = {
    "global": "def node(): return model.invoke('hello you').text",
    "closure": "def outer(m):\n    return lambda: m.invoke('hello you').text\nnode = outer(model)",
    "default": "def node(m=model): return m.invoke('hello you').text",
    "keyword default": "def node(*, m=model): return m.invoke('hello you').text",
    "attribute of a callable object": (
        "class Agent:\n"
        "    def __init__(self): self.model = model\n"
        "    def __call__(self): return self.model.invoke('hello you').text\n"
        "node = Agent()"
    ),
    "bound method": (
        "class Agent:\n"
        "    def __init__(self): self.model = model\n"
        "    def run(self): return self.model.invoke('hello you').text\n"
        "node = Agent().run"
    ),
    "partial": (
        "import functools\n"
        "def call(m): return m.invoke('hello you').text\n"
        "node = functools.partial(call, model)"
    ),
    "bound with tools": (
        "bound = model.bind_tools([{'type': 'function', 'function': {'name': 'f'}}])\n"
        "def node(): return bound.invoke('hello you').text"
    ),
    "chain": (
        "chain = model | (lambda message: message.text)\n"
        "def node(): return chain.invoke('hello you')"
    ),
    "fallbacks": (
        "safe = model.with_fallbacks([model])\ndef node(): return safe.invoke('hello you').text"
    ),
    "dict": "models = {'m': [model]}\ndef node(): return models['m'][0].invoke('hello you').text",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_model_is_called_in_another_process(
    place: str, server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    script = main_program(PLACES[place], model=chat(server))
    assert elsewhere(script["node"]) == "echo: hello you"
    assert server.requests[-1]["authorization"] == "Bearer secret"


def test_an_async_call_streams_in_another_process(
    server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    def node(model: Any) -> list[str]:
        import asyncio

        async def tokens() -> list[str]:
            return [chunk.text async for chunk in model.astream("hello you")]

        return [text for text in asyncio.run(tokens()) if text]

    assert elsewhere(node, chat(server)) == ["echo: ", "hello ", "you"]


# --- what a model is afterwards ------------------------------------------------------------------


@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_a_model_keeps_its_fields_and_secrets(dump: Any) -> None:
    model = ChatOpenAI(
        model="gpt-x",
        api_key="secret",
        base_url="http://127.0.0.1:1/v1",
        temperature=0.25,
        max_retries=7,
        timeout=3.5,
        default_headers={"x-a": "b"},
        tags=["t"],
        metadata={"m": 1},
        model_kwargs={"user": "u"},
        disable_streaming="tool_calling",
    )
    back = loads(dump(model))
    clients = {"client", "async_client", "root_client", "root_async_client"}
    assert type(back) is ChatOpenAI
    assert {k: v for k, v in back.__dict__.items() if k not in clients} == {
        k: v for k, v in model.__dict__.items() if k not in clients
    }
    assert back.model_fields_set == model.model_fields_set
    assert back.openai_api_key.get_secret_value() == "secret"
    assert (back.root_client.max_retries, back.root_client.timeout) == (7, 3.5)
    assert back.root_client.default_headers["x-a"] == "b"
    assert str(back.root_async_client.base_url) == "http://127.0.0.1:1/v1/"


def test_what_came_from_the_environment_of_the_caller_travels(
    monkeypatch: pytest.MonkeyPatch, server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    assert "OPENAI_API_KEY" not in os.environ
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    model = ChatOpenAI(model="test")
    assert model.openai_api_base is None or model.openai_api_base == server.base_url
    assert elsewhere(call, model) == "echo: hello you"
    assert server.requests[-1]["authorization"] == "Bearer from-env"


def test_azure_models_and_embeddings_travel() -> None:
    azure = AzureChatOpenAI(
        api_key="k", azure_endpoint="http://127.0.0.1:1", azure_deployment="d", api_version="v"
    )
    back = loads(dumps_code(azure))
    assert str(back.root_client.base_url) == "http://127.0.0.1:1/openai/deployments/d/"
    embeddings = OpenAIEmbeddings(api_key="k", base_url="http://127.0.0.1:1/v1")
    assert str(loads(dumps_code(embeddings)).client._client.base_url) == "http://127.0.0.1:1/v1/"


def test_a_user_s_subclass_with_state_of_its_own_travels(
    server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    script = main_program(
        "class Shouting(ChatOpenAI):\n"
        "    suffix: str = '!'\n"
        "    _count: int = PrivateAttr(default=0)\n"
        "    def shout(self):\n"
        "        return self.invoke('a').text.upper() + self.suffix + str(self._count)\n",
        ChatOpenAI=ChatOpenAI,
        PrivateAttr=PrivateAttr,
    )
    model = script["Shouting"](model="test", api_key="k", base_url=server.base_url, suffix="?")
    model._count = 5
    assert elsewhere(lambda m: m.shout(), model) == "ECHO: A?5"


def test_a_model_that_makes_its_client_lazily_travels(elsewhere: Elsewhere) -> None:
    script = main_program(
        "import functools, threading\n"
        "class Client:\n"
        "    def __init__(self, key): self.key, self.lock = key, threading.Lock()\n"
        "class Lazy(EchoModel):\n"
        "    key: str = 'k'\n"
        "    _private: Any = PrivateAttr(default=None)\n"
        "    @functools.cached_property\n"
        "    def client(self): return Client(self.key)\n"
        "    def used(self):\n"
        "        self._private = self._private or Client(self.key)\n"
        "        return self.client.key + self._private.key + self.invoke('x').text\n",
        EchoModel=EchoModel,
        PrivateAttr=PrivateAttr,
        Any=Any,
    )
    model = script["Lazy"](key="a ", prefix="p ")
    assert model.used() == "a a p x"
    assert elsewhere(lambda m: m.used(), model) == "a a p x"


def test_structured_output_of_a_script_s_schema_travels(
    server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    script = main_program(
        "class Answer(BaseModel):\n"
        "    text: str\n"
        "asked = model.with_structured_output(Answer, method='json_mode')\n"
        "def node():\n"
        '    answer = asked.invoke(\'{"text": "hi"}\')\n'
        "    return type(answer) is Answer, answer.text\n",
        model=chat(server),
        BaseModel=BaseModel,
    )
    with OpenAIServer(['{"text": "hi"}']) as scripted:
        script["asked"].first.bound.root_client.base_url = scripted.base_url
        assert elsewhere(script["node"]) == (True, "hi")


def test_a_model_that_pickles_travels_by_its_own_pickle() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("a"), AIMessage("b")]))
    assert models.reduce_model(model) is NotImplemented
    model.invoke("x")
    assert loads(dumps_data(model)).invoke("x").content == "b"
    assert loads(dumps_code(EchoModel(prefix="p "))).invoke("x").content == "p x"


def test_tools_of_a_script_travel(elsewhere: Elsewhere) -> None:
    script = main_program(
        "from langchain_core.tools import tool\n"
        "factor = 2\n"
        "@tool\n"
        "def scale(x: int) -> int:\n"
        "    'Scale x.'\n"
        "    return x * factor\n"
    )
    assert elsewhere(lambda t: (t.invoke({"x": "21"}), t.args), script["scale"]) == (
        42,
        {"x": {"title": "X", "type": "integer"}},
    )


# --- what a model must not lose ------------------------------------------------------------------


def test_a_generator_of_replies_is_refused() -> None:
    model = GenericFakeChatModel(messages=(AIMessage(t) for t in "ab"))
    with pytest.raises(SerializationError, match="'messages'.*a generator exists in one process"):
        dumps_code(model)


def test_a_rate_limiter_travels_as_the_one_that_it_is(server: OpenAIServer) -> None:
    importlib.import_module("distgraph.persistence.opening")  # as compile does
    limiter = InMemoryRateLimiter()
    model = chat(server, rate_limiter=limiter)
    assert loads(dumps_code({"m": model}))["m"].rate_limiter is limiter


def test_a_plain_http_client_of_the_user_travels_inside_a_model() -> None:
    limits = httpx.Timeout(3)
    model = ChatOpenAI(api_key="k", http_client=httpx.Client(timeout=limits, headers={"x": "y"}))
    back = loads(dumps_code(model))
    assert back.http_client.headers["x"] == "y"
    assert back.root_client._client is back.http_client or type(back.http_client) is httpx.Client


def test_a_transport_of_the_user_is_not_dropped() -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(201)))
    back = loads(dumps_code(ChatOpenAI(api_key="k", http_client=client)))
    assert back.http_client.get("http://h/").status_code == 201


def test_a_field_that_the_class_does_not_make_again_is_an_error_on_arrival() -> None:
    class Handle:
        def __init__(self) -> None:
            self.lock = threading.Thread()

    class Model(EchoModel):
        handle: Any = None

    blob = dumps_code(Model(handle=Handle()))
    with pytest.raises(SerializationError, match=r"Model did not make its field 'handle' anew"):
        loads(blob)


# --- clients -------------------------------------------------------------------------------------


def test_openai_clients_are_made_from_their_settings() -> None:
    client = openai.OpenAI(
        api_key="k",
        base_url="http://127.0.0.1:1/v1",
        organization="o",
        project="p",
        timeout=None,
        max_retries=9,
        default_headers={"x-a": "b"},
        default_query={"q": "1"},
    )
    for back in (loads(dumps_code(client)), loads(dumps_data(client))):
        assert type(back) is openai.OpenAI
        assert (back.api_key, str(back.base_url)) == ("k", "http://127.0.0.1:1/v1/")
        assert (back.organization, back.project) == ("o", "p")
        assert (back.timeout, back.max_retries) == (None, 9)
        assert back.default_headers["x-a"] == "b"
        assert back.default_query == {"q": "1"}


def test_async_and_azure_clients_travel() -> None:
    asynchronous = loads(dumps_code(openai.AsyncOpenAI(api_key="k", max_retries=4)))
    assert (type(asynchronous), asynchronous.max_retries) == (openai.AsyncOpenAI, 4)
    azure = openai.AzureOpenAI(
        api_key="k", azure_endpoint="http://127.0.0.1:1", azure_deployment="d", api_version="v"
    )
    back = loads(dumps_code(azure))
    assert str(back.base_url) == str(azure.base_url)
    assert back._api_version == "v"


def test_openai_clients_are_called_in_another_process(
    server: OpenAIServer, elsewhere: Elsewhere
) -> None:
    client = openai.OpenAI(api_key="k", base_url=server.base_url)

    def ask(completions: Any) -> str:
        messages = [{"role": "user", "content": "hi"}]
        return str(completions.create(model="m", messages=messages).choices[0].message.content)

    assert elsewhere(lambda c: ask(c.chat.completions), client) == "echo: hi"
    assert elsewhere(ask, client.chat.completions) == "echo: hi"


@pytest.mark.parametrize("cls", [httpx.Client, httpx.AsyncClient])
def test_ordinary_httpx_clients_keep_their_settings(cls: Any) -> None:
    client = cls(
        base_url="http://127.0.0.1:1/",
        headers={"x": "y"},
        params={"q": "1"},
        cookies={"c": "d"},
        auth=("user", "pass"),
        timeout=httpx.Timeout(1, read=2),
        follow_redirects=True,
        max_redirects=3,
        verify=False,
        limits=httpx.Limits(max_connections=5),
    )
    back = loads(dumps_code(client))
    assert type(back) is cls
    assert back.base_url == client.base_url
    assert (back.headers["x"], back.params["q"], back.cookies["c"]) == ("y", "1", "d")
    assert back.timeout == client.timeout
    assert (back.follow_redirects, back.max_redirects) == (True, 3)
    assert back._transport._pool._max_connections == 5
    assert back._transport._pool._ssl_context.verify_mode == 0
    assert isinstance(back.auth, httpx.BasicAuth)


@pytest.mark.parametrize("cls", [httpx.Client, httpx.AsyncClient])
def test_a_transport_of_httpx_keeps_how_it_connects(cls: Any) -> None:
    kind = httpx.HTTPTransport if cls is httpx.Client else httpx.AsyncHTTPTransport
    options = [(6, 1, 1)]  # TCP_NODELAY
    transport = kind(retries=2, local_address="127.0.0.1", socket_options=options, http2=False)
    back = loads(dumps_code(cls(transport=transport, base_url="http://127.0.0.1:1/")))
    pool = back._transport._pool
    assert type(back._transport) is kind
    assert (pool._retries, pool._local_address, pool._socket_options) == (2, "127.0.0.1", options)
    assert str(back.base_url) == "http://127.0.0.1:1/"


def test_httpx_clients_keep_a_transport_of_another_kind(elsewhere: Elsewhere) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=f"{request.url.path} {request.headers['x']}")

    client = httpx.Client(
        transport=httpx.MockTransport(answer), base_url="http://h", headers={"x": "y"}
    )
    assert elsewhere(lambda c: c.get("/a").text, client) == "/a y"


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
def test_transports_travel_whatever_module_openai_gives_their_base_classes(package: str) -> None:
    module = pytest.importorskip(package, reason=f"{package} is not installed")
    transport = module.HTTPTransport(retries=2)
    client = openai.OpenAI(api_key="k", http_client=module.Client(transport=transport))
    assert loads(dumps_code(client))._client._transport._pool._retries == 2


def test_httpx_clients_keep_their_proxy_and_mounts() -> None:
    proxied = loads(dumps_code(httpx.Client(proxy="http://user:pass@127.0.0.1:1")))
    ((pattern, transport),) = proxied._mounts.items()
    assert (pattern.pattern, type(transport)) == ("all://", httpx.HTTPTransport)
    assert bytes(transport._pool._proxy_url) == b"http://127.0.0.1:1/"
    assert transport._pool._proxy_headers == [(b"Proxy-Authorization", b"Basic dXNlcjpwYXNz")]
    mounts = {"http://a": httpx.HTTPTransport(retries=3), "http://b": None}
    mounted = loads(dumps_code(httpx.Client(mounts=mounts)))
    found = {pattern.pattern: transport for pattern, transport in mounted._mounts.items()}
    assert found["http://b"] is None
    assert found["http://a"]._pool._retries == 3


class Signing(httpx.Client):
    def __init__(self, key: str) -> None:
        super().__init__(base_url="http://h", transport=Counting("t"))
        self.key = key

    def sign(self) -> str:
        return f"{self.base_url} {self.key} {self._transport.name}"


class Counting(httpx.HTTPTransport):
    def __init__(self, name: str) -> None:
        super().__init__(retries=4)
        self.name = name


def test_classes_derived_from_httpx_keep_their_own_attributes() -> None:
    back = loads(dumps_code(Signing("k")))
    assert (type(back), back.sign()) == (Signing, "http://h k t")
    assert back._transport._pool._retries == 4


def test_httpx_clients_with_certificates_of_their_own_are_refused() -> None:
    import ssl

    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for client in (
        httpx.Client(verify=trusting),
        httpx.Client(transport=httpx.HTTPTransport(verify=trusting)),
    ):
        with pytest.raises(SerializationError, match="it trusts certificates of its own"):
            dumps_code(client)
