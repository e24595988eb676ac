"""Stream mode ``events``: the items of ``astream_events``, for every reader of a run."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client

from tests.serve.conftest import SocketServer
from tests.serve.project import served_graphs
from tests.serve.support import Event, background, events, new_thread, parse_sse

QUESTION = {"messages": [{"role": "user", "content": "1 + 2?", "id": "asked"}]}


def shown(found: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    """Return what does not differ between two runs: event, name and depth."""
    return [(e["event"], e["name"], len(e["parent_ids"])) for e in found]


def langgraph_s(graph: Any, value: Any) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        return [e async for e in graph.astream_events(value, version="v2")]

    return asyncio.run(read())


@pytest.mark.parametrize(("name", "value"), [("agent", QUESTION), ("work", {"done": []})])
def test_the_events_are_those_of_astream_events(
    http: httpx.Client, name: str, value: dict[str, Any]
) -> None:
    found = events(http, None, assistant_id=name, input=value, stream_mode="events")
    assert [e.event for e in found] == ["metadata"] + ["events"] * (len(found) - 1)
    expected = langgraph_s(getattr(served_graphs, name), value)
    served = [e.data for e in found[1:]]
    root = [{**e, "name": name} if not e["parent_ids"] else e for e in expected]
    assert shown(served) == shown(root)
    assert served[0]["data"] == {"input": value}
    assert {e["run_id"] for e in served if not e["parent_ids"]} == {found[0].data["run_id"]}


def test_tokens_outputs_and_metadata_are_in_the_events(server: SocketServer) -> None:
    client = get_sync_client(url=server.url, api_key=None)
    parts = list(client.runs.stream(None, "agent", input=QUESTION, stream_mode=["events"]))
    made = [part.data for part in parts[1:]]
    tokens = [e["data"]["chunk"]["content"] for e in made if e["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == "The sum is 3"
    (tool,) = [e for e in made if e["event"] == "on_tool_end"]
    assert (tool["name"], tool["data"]["output"]["content"]) == ("add", "3")
    assert tool["metadata"]["langgraph_node"] == "tools"
    assert made[-1]["event"] == "on_chain_end"
    assert made[-1]["data"]["output"]["messages"][-1]["content"] == "The sum is 3"


def test_events_beside_other_modes_and_for_a_reader_who_comes_later(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    body = {"stream_mode": ["events", "custom"], "stream_resumable": True}
    made = background(http, thread_id, assistant_id="work", input={"done": []}, **body)
    path = f"/threads/{thread_id}/runs/{made['run_id']}"
    http.get(f"{path}/join")

    def read(after: str) -> list[Event]:
        return parse_sse(http.get(f"{path}/stream", headers={"Last-Event-ID": after}).text)

    whole = read("-1")
    assert [e.data for e in whole if e.event == "custom"] == [{"from": "first"}]
    assert read("-1") == whole
    middle = len(whole) // 2
    assert read(str(whole[middle].id)) == whole[middle + 1 :]


def test_a_failed_run_ends_its_events_with_the_error(http: httpx.Client) -> None:
    found = events(http, None, assistant_id="fail", input={"done": []}, stream_mode="events")
    assert [e.event for e in found[-2:]] == ["events", "error"]
    assert found[-2].data["event"] == "on_chain_start"
    assert found[-1].data == {"error": "ValueError", "message": "boom"}
