"""Python's clients of the event protocol: threads.stream over SSE and WebSocket, RemoteGraph."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client, get_sync_client

WORDS = ["You", " said:", " sunny", " in", " sf"]
QUESTION = {"messages": [{"role": "user", "content": "weather"}]}

Transport = Literal["sse", "websocket"]
both = pytest.mark.parametrize("transport", ["sse", "websocket"])


@both
def test_a_thread_asks_and_is_answered(url: str, transport: Transport) -> None:
    async def talk() -> tuple[Any, Any, list[Any]]:
        client = get_client(url=url, api_key=None)
        async with client.threads.stream(assistant_id="work", transport=transport) as thread:
            await thread.run.start(input={"question": "ok?"})
            async for _ in thread.values:  # `output` waits for the end of the last run
                if thread.interrupted:
                    break
            [question] = thread.interrupts
            await thread.run.respond("yes", interrupt_id=question["interrupt_id"])
            return question, await thread.output, list(thread.interrupts)

    question, output, left = asyncio.run(asyncio.wait_for(talk(), 60))
    assert question["value"] == {"question": "ok?"}
    assert output["answer"] == "yes"
    assert left == []


@both
def test_messages_arrive_as_they_grow(url: str, transport: Transport) -> None:
    async def talk() -> list[list[str]]:
        client = get_client(url=url, api_key=None)
        async with client.threads.stream(assistant_id="agent", transport=transport) as thread:
            await thread.run.start(input=QUESTION)
            messages = [message async for message in thread.messages]
            texts = []
            for message in messages:
                texts.append([text async for text in message.text])
            return texts

    assert asyncio.run(asyncio.wait_for(talk(), 60)) == [[], WORDS]


def test_tool_calls_are_found(url: str) -> None:
    client = get_sync_client(url=url, api_key=None)
    with client.threads.stream(assistant_id="agent") as thread:
        thread.run.start(input=QUESTION)
        calls = [(call.name, call.input, call.output["content"]) for call in thread.tool_calls]
    assert calls == [("get_weather", {"city": "sf"}, "sunny in sf")]


def test_a_failure_is_an_error_to_the_client(url: str) -> None:
    client = get_sync_client(url=url, api_key=None)
    with client.threads.stream(assistant_id="failing") as thread:
        thread.run.start(input={"question": "x"})
        with pytest.raises(Exception, match="boom"):
            thread.output


def test_remote_graph_streams_events(url: str) -> None:
    agent = RemoteGraph("agent", url=url, api_key=None)
    with agent.stream_events(QUESTION, version="v3") as run:
        texts = [list(message.text) for message in run.messages]
        output = run.output
    assert texts == [[], WORDS]
    assert output["messages"][-1]["content"] == "You said: sunny in sf"
