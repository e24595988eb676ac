"""Crons: kept, shown, and in time; Python's SDK over a socket."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from langgraph_sdk import get_sync_client
from starlette.testclient import TestClient

from distgraph.serve.app import application
from distgraph.serve.project import read_project
from distgraph.serve.records import Cron
from distgraph.serve.scheduling import following_run
from distgraph.serve.server import Settings
from tests.serve.conftest import SocketServer

NEVER = "0 0 1 1 *"
EACH_SECOND = "* * * * * *"
EIGHT_O_CLOCK = "2026-03-08T08:00:00+00:00"


def cron(schedule: str, **fields: Any) -> Cron:
    return Cron(str(uuid.uuid4()), "a", schedule, "2026-01-01", "2026-01-01", **fields)


@pytest.mark.parametrize(
    ("made", "after", "expected"),
    [
        (cron("0 9 * * *"), "2026-03-07T09:00:00+00:00", "2026-03-08T09:00:00+00:00"),
        (cron("*/5 * * * *"), "2026-03-07T09:01:00+00:00", "2026-03-07T09:05:00+00:00"),
        (cron(EACH_SECOND), "2026-03-07T09:00:00.5+00:00", "2026-03-07T09:00:01+00:00"),
        # the clocks of New York are put forward on 8 March
        (
            cron("0 9 * * *", timezone="America/New_York"),
            "2026-03-07T20:00:00+00:00",
            "2026-03-08T13:00:00+00:00",
        ),
        (
            cron("0 9 * * *", end_time="2026-03-08T08:00:00+00:00"),
            "2026-03-07T09:00:00+00:00",
            None,
        ),
        (cron("0 9 * * *", enabled=False), "2026-03-07T09:00:00+00:00", None),
        (cron("0 9 31 2 *"), "2026-03-07T09:00:00+00:00", None),
    ],
)
def test_the_next_run_is_the_first_of_the_schedule(
    made: Cron, after: str, expected: str | None
) -> None:
    assert following_run(made, datetime.fromisoformat(after)) == expected


@pytest.fixture
def client(server: SocketServer) -> Any:
    made = get_sync_client(url=server.url, api_key=None)
    yield made
    for each in made.crons.search(limit=100):
        made.crons.delete(each["cron_id"])


def eventually(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)
    return value


def test_a_cron_of_a_thread_starts_runs_until_it_is_deleted(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    made = client.crons.create_for_thread(
        thread_id, "work", schedule=EACH_SECOND, input={"done": ["tick"]}, metadata={"by": "cron"}
    )
    ended = {"status": "success", "limit": 100}
    eventually(lambda: len(client.runs.list(thread_id, **ended)) >= 2)
    client.crons.delete(made["cron_id"])
    assert client.crons.count() == 0
    runs = client.runs.list(thread_id, limit=100)
    assert {r["metadata"]["cron_id"] for r in runs} == {made["cron_id"]}
    assert {r["metadata"]["by"] for r in runs} == {"cron"}
    assert client.threads.get_state(thread_id)["values"]["done"][0] == "tick"


def test_a_cron_without_a_thread_gives_each_run_one(client: Any) -> None:
    made = client.crons.create(
        "work", schedule=EACH_SECOND, input={"done": []}, on_run_completed="keep"
    )
    mine = {"metadata": {"cron_id": made["cron_id"]}}
    threads = eventually(lambda: client.threads.search(**mine, status="idle"))
    client.crons.update(made["cron_id"], enabled=False)
    assert len(client.runs.list(threads[0]["thread_id"])) == 1
    (shown,) = client.crons.search(enabled=False)
    assert (shown["cron_id"], shown["next_run_date"]) == (made["cron_id"], None)


def test_crons_are_shown_found_and_changed(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    end = datetime(2040, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    first = client.crons.create_for_thread(
        thread_id,
        "work",
        schedule=NEVER,
        timezone="Europe/Berlin",
        end_time=end,
        input={"done": []},
        metadata={"team": "a"},
    )
    second = client.crons.create("agent", schedule="0 9 * * 1", input={"messages": []})
    assert client.crons.count() == 2
    assert client.crons.count(metadata={"team": "a"}) == 1
    (found,) = client.crons.search(thread_id=thread_id)
    assert found == first
    assert found["end_time"] == "2039-12-31T23:00:00+00:00"
    assert found["next_run_date"].endswith("-12-31T23:00:00+00:00")
    assert found["payload"] == {"assistant_id": "work", "input": {"done": []}}
    assert "origin" not in found
    by_schedule = client.crons.search(
        assistant_id="agent", sort_by="next_run_date", select=["cron_id"]
    )
    assert by_schedule == [{"cron_id": second["cron_id"]}]
    changed = client.crons.update(
        first["cron_id"], schedule="30 8 * * *", input={"done": ["x"]}, metadata={"more": 1}
    )
    assert (changed["schedule"], changed["payload"]["input"]) == ("30 8 * * *", {"done": ["x"]})
    assert changed["metadata"] == {"team": "a", "more": 1}
    assert changed["timezone"] == "Europe/Berlin"
    due = datetime.fromisoformat(changed["next_run_date"])
    assert due.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "08:30"
    assert client.crons.search(thread_id=thread_id) == [changed]
    client.threads.delete(thread_id)
    assert client.crons.search(thread_id=thread_id) == []


@pytest.mark.parametrize(
    ("more", "status", "part"),
    [
        ({"schedule": "every day"}, 422, "schedule must be a cron expression"),
        ({"schedule": NEVER, "timezone": "Mars/Base"}, 422, "timezone must be an IANA name"),
        ({"schedule": NEVER, "end_time": "soon"}, 422, "end_time must be ISO 8601"),
        ({"schedule": NEVER, "enabled": "yes"}, 422, "enabled must be true or false"),
        ({"schedule": NEVER, "on_run_completed": "burn"}, 422, "delete, keep"),
        ({"schedule": NEVER, "assistant_id": "nobody"}, 422, "Invalid assistant"),
        ({}, 422, "schedule must be a cron expression"),
    ],
)
def test_a_wrong_cron_is_refused(client: Any, more: Any, status: int, part: str) -> None:
    body = {"assistant_id": "work", "input": {"done": []}, **more}
    answer = client.http.client.post("/runs/crons", json=body)
    assert answer.status_code == status
    assert part in answer.json()["detail"]
    missing = client.http.client.post(f"/threads/{uuid.uuid4()}/runs/crons", json=body)
    assert missing.status_code in (404, 422)
    assert client.crons.count() == 0


def test_a_cron_whose_run_is_refused_is_disabled(client: Any) -> None:
    assistant = client.assistants.create("work")
    made = client.crons.create(
        assistant["assistant_id"], schedule=EACH_SECOND, input={"done": []}, enabled=False
    )
    client.assistants.delete(assistant["assistant_id"])
    client.crons.update(made["cron_id"], enabled=True)
    eventually(lambda: client.crons.search(enabled=False))


AUTH = """
from langgraph_sdk import Auth

auth = Auth()

@auth.authenticate
async def authenticate(authorization: str | None):
    return {"identity": str(authorization)}
"""


def test_without_a_handler_for_crons_users_see_their_own(tmp_path: Path) -> None:
    (tmp_path / "own_auth.py").write_text(AUTH)
    (tmp_path / "own_graph.py").write_text(
        "from langgraph.graph import START, StateGraph\n"
        "graph = StateGraph(dict).add_node('n', lambda s: s).add_edge(START, 'n').compile()\n"
    )
    (tmp_path / "langgraph.json").write_text(
        '{"dependencies": ["."], "graphs": {"g": "./own_graph.py:graph"},'
        ' "auth": {"path": "./own_auth.py:auth"}}'
    )
    app = application(read_project(tmp_path), Settings(folder=tmp_path / "data"))
    ann, bob = {"Authorization": "ann"}, {"Authorization": "bob"}
    with TestClient(app) as client:
        body = {"assistant_id": "g", "schedule": NEVER}
        made = client.post("/runs/crons", json=body, headers=ann).json()
        assert made["user_id"] == "ann"
        path = f"/runs/crons/{made['cron_id']}"
        assert client.post("/runs/crons/count", json={}, headers=bob).json() == 0
        tried = [
            client.request(method, path, headers=bob, json=given).status_code
            for method, given in (("GET", None), ("PATCH", {"enabled": False}), ("DELETE", None))
        ]
        assert tried == [404, 404, 404]
        assert client.get(path, headers=ann).json() == made
