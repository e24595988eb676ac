"""The graphs as tools of the Model Context Protocol."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.test_openapi import serving
from tests.serve.test_project import GRAPH


def call(http: httpx.Client, method: str, params: Any = None, id: Any = 1) -> Any:
    """Return the result of a request, or its error."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    answered = http.post("/mcp", json=message)
    assert answered.status_code == 200, answered.text
    found = answered.json()
    assert (found["jsonrpc"], found["id"]) == ("2.0", id)
    return found.get("result", found.get("error"))


def test_a_client_learns_what_the_server_is(http: httpx.Client) -> None:
    for asked, given in (("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-06-18")):
        found = call(http, "initialize", {"protocolVersion": asked, "capabilities": {}})
        assert found["protocolVersion"] == given
        assert found["capabilities"] == {"tools": {}}
        assert found["serverInfo"]["name"] == "distgraph"
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert http.post("/mcp", json=told).status_code == 202
    assert call(http, "ping", id="text") == {}
    assert http.get("/mcp").status_code == 405


def test_each_assistant_is_a_tool(http: httpx.Client) -> None:
    body = {"graph_id": "made", "name": "mine", "config": {"configurable": {"text": "you"}}}
    made = http.post("/assistants", json=body).json()
    tools = {tool["name"]: tool for tool in call(http, "tools/list")["tools"]}
    assert tools["work"]["title"] == "work"
    assert tools["work"]["inputSchema"]["properties"]["done"]["type"] == "array"
    assert tools[made["assistant_id"]]["title"] == "mine"
    asked = {"name": made["assistant_id"], "arguments": {"done": []}}
    assert call(http, "tools/call", asked)["structuredContent"] == {"done": ["hello you"]}


def test_a_call_runs_the_graph(http: httpx.Client) -> None:
    found = call(http, "tools/call", {"name": "work", "arguments": {"done": []}})
    result = {"done": ["first", "first", "child"]}
    assert found["structuredContent"] == result and found["isError"] is False
    assert [json.loads(part["text"]) for part in found["content"]] == [result]


def test_a_run_that_fails_is_a_result_that_the_model_reads(http: httpx.Client) -> None:
    found = call(http, "tools/call", {"name": "fail", "arguments": {"done": []}})
    assert found == {"content": [{"type": "text", "text": "ValueError: boom"}], "isError": True}


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("tools/call", {"name": "nope"}, -32602, "tool 'nope': Invalid assistant: 'nope'"),
        ("tools/call", {"name": 3}, -32602, "name is a text"),
        ("tools/call", {"name": "work", "arguments": []}, None, ""),
        ("tools/call", {"name": "work", "arguments": [1]}, -32602, "arguments is a JSON object"),
        ("tools/call", [1], -32602, "params is a JSON object"),
        ("tools/list", {"cursor": "x"}, -32602, "cursor is that of the last answer"),
        ("resources/list", {}, -32601, "resources/list is not supported"),
    ],
)
def test_what_is_refused(
    http: httpx.Client, method: str, params: Any, code: int | None, message: str
) -> None:
    found = call(http, method, params)
    assert found.get("code") == code and message in found.get("message", "")


@pytest.mark.parametrize("body", ["[]", "3", "{}", '{"method": 3, "id": 1}'])
def test_what_is_no_message_is_refused(http: httpx.Client, body: str) -> None:
    answered = http.post("/mcp", content=body)
    assert (answered.status_code, answered.json()["error"]["code"]) == (400, -32600)


OWN = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

async def mine(scope, receive, send):
    await PlainTextResponse("mine")(scope, receive, send)

app = Starlette(routes=[Mount("/mcp", app=mine)])
"""


def test_a_server_of_the_user_s_own_stays_and_it_can_be_switched_off(tmp_path: Path) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    async def work() -> None:
        config: Any = {"http": {"app": "./MODULE.py:app"}}
        async with serving(tmp_path, GRAPH + OWN, **config) as client:
            assert (await client.post("/mcp/", json=message)).text == "mine"
        async with serving(tmp_path, http={"disable_mcp": True}) as client:
            assert (await client.post("/mcp", json=message)).status_code == 404

    asyncio.run(work())
