"""Handlers of langgraph_sdk.Auth around a whole server: nobody gets at what is another's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from distgraph.serve.app import application
from distgraph.serve.project import read_project
from distgraph.serve.server import Settings

ANN, BOB = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
SECRET = "the note of ann"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("owned")
    for file in (Path(__file__).parent / "project").glob("*.*"):
        shutil.copy(file, folder)
    app = application(read_project(folder), Settings(folder=folder / "data"))
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def anns(client: TestClient) -> dict[str, str]:
    """Ids of what ann has: a thread with a run, an assistant."""
    made = client.post("/threads", json={"metadata": {"topic": SECRET}}, headers=ANN).json()
    ids = {"thread_id": made["thread_id"]}
    runs = f"/threads/{ids['thread_id']}/runs"
    body = {"assistant_id": "notes", "input": {"note": SECRET}}
    ended = client.post(f"{runs}/wait", json=body, headers=ANN)
    assert ended.json()["seen"] == [SECRET]
    ids["run_id"] = client.get(runs, headers=ANN).json()[0]["run_id"]
    state = client.get(f"/threads/{ids['thread_id']}/state", headers=ANN).json()
    ids["checkpoint_id"] = state["checkpoint"]["checkpoint_id"]
    assistant = {"graph_id": "notes", "name": SECRET, "config": {"tags": [SECRET]}}
    answer = client.post("/assistants", json=assistant, headers=ANN)
    ids["assistant_id"] = answer.json()["assistant_id"]
    cron = {**body, "schedule": "0 0 1 1 *", "metadata": {"topic": SECRET}}
    ids["cron_id"] = client.post("/runs/crons", json=cron, headers=ANN).json()["cron_id"]
    return ids


def flat(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        if isinstance(route, Mount):
            yield from flat(list(route.routes))
        else:
            yield route


def test_on_no_path_does_somebody_else_get_at_a_thread_a_run_or_an_assistant(
    client: TestClient, anns: dict[str, str]
) -> None:
    def state() -> list[Any]:
        thread = f"/threads/{anns['thread_id']}"
        paths = (
            thread,
            f"{thread}/state",
            f"{thread}/history",
            f"{thread}/runs",
            f"/assistants/{anns['assistant_id']}",
            f"/runs/crons/{anns['cron_id']}",
        )
        return [client.get(path, headers=ANN).json() for path in paths]

    before = state()
    body = {
        "assistant_id": "notes",
        "graph_id": "notes",
        "input": {"note": "of bob"},
        "values": {"note": "of bob"},
        "metadata": {"topic": "of bob"},
        "channels": ["values"],
        "checkpoint": {"checkpoint_id": anns["checkpoint_id"], "checkpoint_ns": ""},
        "version": 1,
        "if_not_exists": "create",
        "schedule": "0 0 1 1 *",
    }
    command = {
        "id": 1,
        "method": "run.start",
        "params": {"assistant_id": "notes", "input": {"note": "of bob"}},
    }
    tried = []
    for route in flat(list(client.app.router.routes)):  # type: ignore[attr-defined]
        if not isinstance(route, Route) or "{" not in route.path:
            continue
        path = route.path.format(**anns, namespace="x")
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"}):
            given = None if method in ("GET", "DELETE") else body
            if path.endswith("/commands"):
                given = command
            answer = client.request(method, path, json=given, headers=BOB)
            if path.endswith("/commands"):
                assert answer.json()["error"] == "permission_denied", answer.text
            else:
                assert answer.status_code in (403, 404), (method, path, answer.text)
            assert SECRET not in answer.text
            tried.append((method, route.path))
    assert len(tried) > 30
    assert ("POST", "/threads/{thread_id}/stream/events") in tried
    assert ("GET", "/threads/{thread_id}/runs/{run_id}/stream") in tried
    assert state() == before


def test_every_list_shows_everybody_their_own(client: TestClient, anns: dict[str, str]) -> None:
    for path in ("/threads/search", "/assistants/search", "/runs/crons/search"):
        mine, others = (client.post(path, json={}, headers=who) for who in (ANN, BOB))
        assert SECRET in mine.text
        assert SECRET not in others.text
    for path in ("/threads/count", "/assistants/count", "/runs/crons/count"):
        counts = [client.post(path, json={}, headers=who).json() for who in (ANN, BOB)]
        assert counts[0] > counts[1]


def test_nobody_joins_a_thread_by_making_it_again(client: TestClient, anns: dict[str, str]) -> None:
    body = {"thread_id": anns["thread_id"], "if_exists": "do_nothing"}
    answer = client.post("/threads", json=body, headers=BOB)
    assert answer.status_code in (403, 404, 409)
    assert SECRET not in answer.text


@pytest.mark.parametrize("path", ["/runs/wait", "/runs/stream", "/runs"])
def test_nobody_runs_the_assistant_of_somebody_else(
    client: TestClient, anns: dict[str, str], path: str
) -> None:
    body = {"assistant_id": anns["assistant_id"], "input": {"note": "of bob"}}
    answer = client.post(path, json=body, headers=BOB)
    assert answer.status_code in (403, 404, 422)
    assert client.post(path, json=body, headers=ANN).status_code == 200


def test_nobody_cancels_the_runs_of_somebody_else(client: TestClient, anns: dict[str, str]) -> None:
    runs = f"/threads/{anns['thread_id']}/runs"
    ask = {"assistant_id": "notes", "input": {"note": "later"}, "after_seconds": 60}
    run = client.post(runs, json=ask, headers=ANN).json()
    for body in (
        {"thread_id": anns["thread_id"], "run_ids": [run["run_id"]]},
        {"status": "all"},
        {"status": "pending"},
    ):
        assert client.post("/runs/cancel", json=body, headers=BOB).status_code == 404
    assert client.get(f"{runs}/{run['run_id']}", headers=ANN).json()["status"] == "pending"
    cancelled = client.post("/runs/cancel", json={"status": "all"}, headers=ANN)
    assert cancelled.status_code == 204


def test_a_websocket_of_somebody_else_closes(client: TestClient, anns: dict[str, str]) -> None:
    paths = [
        route.path
        for route in flat(list(client.app.router.routes))  # type: ignore[attr-defined]
        if isinstance(route, WebSocketRoute)
    ]
    assert paths == ["/threads/{thread_id}/stream/events"]
    path = paths[0].format(**anns)
    socket: Any = client.websocket_connect(path, headers=BOB)
    with socket, pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_json()
    assert closed.value.code == 4404


def test_everybody_has_their_own_part_of_the_store(client: TestClient) -> None:
    item = {"namespace": ["notes"], "key": "k", "value": {"note": SECRET}}
    assert client.put("/store/items", json=item, headers=ANN).status_code == 204
    query = "/store/items?namespace=notes&key=k"
    assert client.get(query, headers=ANN).json()["value"] == {"note": SECRET}
    assert client.get(query, headers=BOB).json() is None
    assert client.get("/store/items?namespace=ann.notes&key=k", headers=BOB).json() is None
    found = client.post("/store/items/search", json={"namespace_prefix": []}, headers=BOB)
    assert found.json() == {"items": []}
    listed = client.post("/store/namespaces", json={}, headers=BOB)
    assert listed.json() == {"namespaces": []}
    gone = {"namespace": ["notes"], "key": "k"}
    client.request("DELETE", "/store/items", json=gone, headers=BOB)
    assert client.get(query, headers=ANN).json()["value"] == {"note": SECRET}


def test_who_is_nobody_gets_nothing(client: TestClient) -> None:
    for path in ("/threads/search", "/runs/wait", "/assistants/search"):
        answer = client.post(path, json={})
        assert (answer.status_code, answer.json()) == (401, {"detail": "say who you are"})


@pytest.mark.parametrize("way", ["threads", "runs", "commands"])
def test_what_a_handler_stamps_is_the_metadata_of_the_thread(client: TestClient, way: str) -> None:
    thread = "7f1f7e1c-0000-4000-8000-00000000000" + str(["threads", "runs", "commands"].index(way))
    run = {"assistant_id": "notes", "input": {"note": "x"}}
    if way == "threads":
        client.post("/threads", json={"thread_id": thread}, headers=ANN)
    elif way == "runs":
        body = {**run, "if_not_exists": "create"}
        client.post(f"/threads/{thread}/runs/wait", json=body, headers=ANN)
    else:
        body = {"id": 1, "method": "run.start", "params": run}
        client.post(f"/threads/{thread}/commands", json=body, headers=ANN)
    found = client.get(f"/threads/{thread}", headers=ANN)
    assert found.json()["metadata"]["owner"] == "ann"
    assert client.get(f"/threads/{thread}", headers=BOB).status_code == 404


def test_a_graph_knows_its_user_and_nobody_says_to_be_another(client: TestClient) -> None:
    false = {"langgraph_auth_user": {"identity": "bob"}, "langgraph_auth_user_id": "bob"}
    body = {
        "assistant_id": "notes",
        "input": {"note": "x"},
        "config": {"configurable": false},
    }
    answer = client.post("/runs/wait", json=body, headers=ANN).json()
    assert answer["user"] == {
        "identity": "ann",
        "org": "ann's",
        "id": "ann",
        "permissions": ["notes"],
    }


def test_tools_of_mcp_are_the_user_s_own_assistants(
    client: TestClient, anns: dict[str, str]
) -> None:
    def call(user: dict[str, str], method: str, **params: Any) -> Any:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        found = client.post("/mcp", json=message, headers=user).json()
        return found.get("result", found.get("error"))

    tool = anns["assistant_id"]
    assert tool in [each["name"] for each in call(ANN, "tools/list")["tools"]]
    assert tool not in [each["name"] for each in call(BOB, "tools/list")["tools"]]
    arguments = {"note": SECRET}
    assert call(ANN, "tools/call", name=tool, arguments=arguments)["isError"] is False
    assert call(BOB, "tools/call", name=tool, arguments=arguments)["code"] == -32602
