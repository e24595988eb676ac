"""Tools of a server of the Model Context Protocol, by ``langchain-mcp-adapters``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_mcp_adapters", reason="needs langchain-mcp-adapters")

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.memory import InMemorySaver

from distgraph import distribute
from distgraph.errors import SerializationError
from tests.ecosystem.models import Steps
from tests.ecosystem.support import conversation_is_the_same
from tests.langgraph_graphs.support import newest

SERVER = Path(__file__).with_name("mcp_server.py")


def client(**options: Any) -> Any:
    server = {"command": sys.executable, "args": [str(SERVER)], "transport": "stdio"}
    return MultiServerMCPClient({"sums": server}, **options)


@newest
def test_an_agent_calls_tools_of_a_server(backend: str) -> None:
    tools = asyncio.run(client().get_tools())

    def build() -> Any:
        model = Steps(steps=[[("add", {"a": 1, "b": 2})]])
        return create_agent(model, tools, checkpointer=InMemorySaver())

    go = {"messages": [HumanMessage("go", id="h")]}
    (run,) = conversation_is_the_same(backend, build, go, faces=["async"])
    last = [item.payload for item in run if item.mode == "values"][-1]
    assert last["messages"][-1].text == "root: 3"


async def by_the_state(request: Any, handler: Any) -> Any:
    """An interceptor of calls that reads the state of the agent."""
    count = len(request.runtime.state["messages"])
    return await handler(request.override(args={**request.args, "b": count}))


@newest
def test_an_interceptor_of_calls_reads_the_state(backend: str) -> None:
    tools = asyncio.run(client(tool_interceptors=[by_the_state]).get_tools())

    def build() -> Any:
        model = Steps(steps=[[("add", {"a": 1, "b": 0})]] * 2)
        return create_agent(model, tools, checkpointer=InMemorySaver())

    go = {"messages": [HumanMessage("go", id="h")]}
    (run,) = conversation_is_the_same(backend, build, go, faces=["async"])
    last = [item.payload for item in run if item.mode == "values"][-1]
    assert [m.text for m in last["messages"] if m.type == "tool"] == ["3", "5"]


@pytest.mark.ray
def test_tools_of_an_open_session_are_refused_by_name(ray_session: Any) -> None:
    async def build() -> str:
        async with client().session("sums") as session:

            @tool
            async def names() -> str:
                """Name the tools of the server."""
                return str(await session.list_tools())

            with pytest.raises(SerializationError) as caught:
                distribute(create_agent(Steps(), [names]), backend="ray")
            return str(caught.value)

    told = asyncio.run(build())
    assert "captured variable 'session' of tool 'names' (mcp.client.session.ClientSession)" in told
    assert "an open MCP session (ClientSession) exists in one process only" in told
