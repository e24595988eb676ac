"""What the tests with real clients share: models of a test server, and graphs of one node."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models import _client_utils

from tests.support.openai_server import OpenAIServer

HI = {"messages": [HumanMessage("hi", id="in")]}


def chat(server: OpenAIServer, **settings: Any) -> ChatOpenAI:
    """Return a model of the server's. It asks for usage, and gives up at the first failure."""
    # connections are shared between models, whatever event loop they were made on
    _client_utils._cached_async_httpx_client.cache_clear()
    _client_utils._cached_sync_httpx_client.cache_clear()
    usual: dict[str, Any] = {
        "model": "test",
        "api_key": "k",
        "base_url": server.base_url,
        "stream_usage": True,
        "max_retries": 0,
    }
    return ChatOpenAI(**{**usual, **settings})


def single(ns: Any, node: Any, schema: Any = None) -> Any:
    """Return the builder of a graph with one node, ``call``."""
    builder = ns.StateGraph(schema or ns.MessagesState)
    return builder.add_node("call", node).add_edge(ns.START, "call")


def talks(ns: Any, model: Any, is_async: bool = False) -> Any:
    """Return the builder of a graph whose node ``call`` answers with what the model says."""

    def call(state: Any) -> Any:
        return {"messages": model.invoke(state["messages"])}

    async def acall(state: Any) -> Any:
        return {"messages": await model.ainvoke(state["messages"])}

    return single(ns, acall if is_async else call)


def texts(chunks: list[Any]) -> list[str]:
    """Return the texts of ``messages`` chunks, less the empty ones."""
    return [message.text for message, _ in chunks if message.text]


def failure_of(model: Any) -> Exception:
    """Return what the model itself raises when it streams, outside of any graph."""
    try:
        for _ in model.stream("hi"):
            pass
    except Exception as error:
        return error
    raise AssertionError("the model did not fail")
