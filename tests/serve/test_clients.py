"""Real clients, over a socket: Python's SDK (sync and async) and ``RemoteGraph``."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client, get_sync_client

from tests.serve.conftest import SocketServer
from tests.serve.support import without_ids


@pytest.fixture
def client(server: SocketServer) -> Any:
    return get_sync_client(url=server.url, api_key=None)


def test_a_stream_has_metadata_and_the_modes_in_langgraph_s_order(client: Any) -> None:
    thread = client.threads.create()
    parts = list(
        client.runs.stream(
            thread["thread_id"],
            "work",
            input={"done": []},
            stream_mode=["values", "updates", "custom"],
            stream_subgraphs=True,
        )
    )
    assert parts[0].event == "metadata"
    from tests.serve.project import served_graphs

    expected = [
        ("|".join((mode, *ns)), chunk)
        for ns, mode, chunk in served_graphs.work.stream(
            {"done": []}, stream_mode=["values", "updates", "custom"], subgraphs=True
        )
    ]
    assert [(without_ids(p.event), p.data) for p in parts[1:]] == [
        (without_ids(event), data) for event, data in expected
    ]


def test_wait_returns_the_last_values(client: Any) -> None:
    thread = client.threads.create()
    assert client.runs.wait(thread["thread_id"], "work", input={"done": []}) == {
        "done": ["first", "first", "child"]
    }
    assert client.threads.get(thread["thread_id"])["status"] == "idle"
    assert client.threads.get_state(thread["thread_id"])["values"] == {
        "done": ["first", "first", "child"]
    }


def test_a_failed_run_is_an_error_to_the_client(client: Any) -> None:
    thread = client.threads.create()
    with pytest.raises(Exception, match="ValueError: boom"):
        client.runs.wait(thread["thread_id"], "fail", input={"done": []})
    parts = list(client.runs.stream(thread["thread_id"], "fail", input={"done": []}))
    assert parts[-1].event == "error"
    assert parts[-1].data == {"error": "ValueError", "message": "boom"}
    found = client.threads.get(thread["thread_id"])
    assert found["status"] == "error"
    assert found["error"] == {"error": "ValueError", "message": "boom"}


def test_an_interrupt_is_answered_by_a_command(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    first = client.runs.wait(thread_id, "ask", input={"question": "why?"})
    assert first["__interrupt__"][0]["value"] == {"question": "why?"}
    thread = client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    (interrupts,) = thread["interrupts"].values()
    assert interrupts[0]["value"] == {"question": "why?"}
    assert client.runs.list(thread_id)[0]["status"] == "success"
    assert client.runs.wait(thread_id, "ask", command={"resume": "because"}) == {
        "question": "why?",
        "answer": "because",
        "seen": "because",
    }
    assert client.threads.get(thread_id)["status"] == "idle"


def test_on_run_created_gets_the_ids(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    created: list[Any] = []
    list(
        client.runs.stream(
            thread_id, "work", input={"done": []}, on_run_created=lambda run: created.append(run)
        )
    )
    assert created[0]["thread_id"] == thread_id
    assert client.runs.get(thread_id, created[0]["run_id"])["status"] == "success"


async def _async_clients(url: str) -> None:
    client = get_client(url=url, api_key=None)
    thread_id = (await client.threads.create())["thread_id"]
    tokens = [
        part.data[0]["content"]
        async for part in client.runs.stream(
            thread_id,
            "agent",
            input={"messages": [{"role": "user", "content": "1 + 2?", "id": "mine"}]},
            stream_mode="messages-tuple",
        )
        if part.event == "messages" and part.data[0]["type"] == "AIMessageChunk"
    ]
    assert "".join(tokens) == "The sum is 3"
    assert len(tokens) > 1
    state = await client.threads.get_state(thread_id)
    messages = state["values"]["messages"]
    assert [m["type"] for m in messages] == ["human", "ai", "tool", "ai"]
    assert messages[0]["id"] == "mine"
    assert messages[1]["tool_calls"][0]["name"] == "add"


def test_tokens_reach_the_async_client(server: SocketServer) -> None:
    asyncio.run(_async_clients(server.url))


def test_remote_graph_streams_invokes_and_reads_state(server: SocketServer) -> None:
    remote = RemoteGraph("work", url=server.url)
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    assert list(remote.stream({"done": []}, config, stream_mode="updates")) == [
        {"first": {"done": ["first"]}},
        {"sub": {"done": ["first", "child"]}},
    ]
    assert remote.invoke({"done": []}, config)["done"][-1] == "child"
    state = remote.get_state(config)
    assert state.next == ()
    assert state.values["done"][0] == "first"
    history = list(remote.get_state_history(config))
    assert history[0].config == state.config
    assert history[0].parent_config == history[1].config
    updated = remote.update_state(config, {"done": ["by hand"]}, as_node="first")
    assert remote.get_state(updated).values["done"][-1] == "by hand"
    assert set(remote.get_graph().nodes) == {"__start__", "first", "sub", "__end__"}


def test_remote_graph_streams_subgraphs(server: SocketServer) -> None:
    remote = RemoteGraph("work", url=server.url)
    from tests.serve.project import served_graphs

    def shown(chunks: Any) -> list[Any]:
        return [(tuple(n.split(":")[0] for n in ns), mode, data) for ns, mode, data in chunks]

    modes = ["updates", "custom"]
    assert shown(remote.stream({"done": []}, stream_mode=modes, subgraphs=True)) == shown(
        served_graphs.work.stream({"done": []}, stream_mode=modes, subgraphs=True)
    )


def test_remote_graph_raises_at_an_interrupt_s_place_what_langgraph_raises(
    server: SocketServer,
) -> None:
    remote = RemoteGraph("ask", url=server.url)
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    result = remote.invoke({"question": "why?"}, config)
    assert result["__interrupt__"][0]["value"] == {"question": "why?"}
    from langgraph.types import Command

    assert remote.invoke(Command(resume="x"), config)["seen"] == "x"


def test_a_stream_is_joined_again_where_it_was_left(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    run = client.runs.create(
        thread_id,
        "slow",
        input={"ticks": 10, "pause": 0.02},
        stream_mode=["custom"],
        stream_resumable=True,
    )
    seen = []
    last = None
    for part in client.runs.join_stream(thread_id, run["run_id"], last_event_id="-1"):
        if part.event == "custom":
            seen.append(part.data)
            last = part.id
        if len(seen) == 4:
            break
    rest = [
        part.data
        for part in client.runs.join_stream(thread_id, run["run_id"], last_event_id=last)
        if part.event == "custom"
    ]
    assert seen + rest == list(range(10))
    again = list(client.runs.join_stream(thread_id, run["run_id"], last_event_id="-1"))
    assert again[0].event == "metadata"
    assert [part.data for part in again[1:]] == list(range(10))


def test_leaving_a_stream_cancels_or_continues_as_asked(client: Any) -> None:
    for mode, status, ticks in (("cancel", "interrupted", 3000), ("continue", "success", 30)):
        thread_id = client.threads.create()["thread_id"]
        for part in client.runs.stream(
            thread_id,
            "slow",
            input={"ticks": ticks, "pause": 0.02},
            stream_mode="custom",
            on_disconnect=mode,
        ):
            if part.event == "custom":
                break
        run = client.runs.list(thread_id)[0]
        client.runs.join(thread_id, run["run_id"])
        assert client.runs.get(thread_id, run["run_id"])["status"] == status
