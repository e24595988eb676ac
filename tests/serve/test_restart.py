"""A server that stops and starts again, with its own savers and with PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.conftest import served
from tests.serve.support import parse_sse
from tests.support.postgres import Postgres


async def _start(client: httpx.AsyncClient, assistant: str, input: Any) -> tuple[str, str]:
    thread_id = (await client.post("/threads", json={})).json()["thread_id"]
    body = {"assistant_id": assistant, "input": input}
    made = (await client.post(f"/threads/{thread_id}/runs", json=body)).json()
    return thread_id, f"/threads/{thread_id}/runs/{made['run_id']}"


def test_threads_survive_a_restart_and_runs_that_were_cut_off_say_so(tmp_path: Path) -> None:
    async def check() -> None:
        async with served(tmp_path) as client:
            asked, run = await _start(client, "ask", {"question": "why?"})
            await client.get(f"{run}/join")
            cut_thread, cut = await _start(client, "slow", {"ticks": 1000})
            waiting = {"assistant_id": "slow", "input": {"ticks": 1}}
            second = await client.post(f"/threads/{cut_thread}/runs", json=waiting)
        async with served(tmp_path) as client:
            result = (await client.get(f"{cut}/join")).json()
            assert result["__error__"] == {
                "error": "ServerStopped",
                "message": "the server stopped while the run was going on",
            }
            path = f"/threads/{cut_thread}/runs/{second.json()['run_id']}"
            assert (await client.get(f"{path}/join")).json()["done"] == ["ticked"]
            answer = {"assistant_id": "ask", "command": {"resume": "so"}}
            answered = await client.post(f"/threads/{asked}/runs/wait", json=answer)
            assert answered.json()["seen"] == "so"

    asyncio.run(check())


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_rollback_leaves_the_checkpoints_of_other_runs(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    settings = {}
    if database == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        settings["database"] = server.new_database()

    async def check() -> None:
        async with served(tmp_path, **settings) as client:
            thread_id, first = await _start(client, "slow", {"ticks": 1, "pause": 0})
            await client.get(f"{first}/join")
            before = (await client.get(f"/threads/{thread_id}/history")).json()
            body = {"assistant_id": "slow", "input": {"ticks": 1000, "pause": 0.05}}
            made = (await client.post(f"/threads/{thread_id}/runs", json=body)).json()
            while len((await client.get(f"/threads/{thread_id}/history")).json()) <= len(before):
                await asyncio.sleep(0.02)
            path = f"/threads/{thread_id}/runs/{made['run_id']}"
            ended = await client.post(f"{path}/cancel?wait=1&action=rollback")
            assert ended.status_code == 200, ended.text
            assert (await client.get(path)).status_code == 404
            assert (await client.get(f"/threads/{thread_id}/history")).json() == before
            item = {"namespace": ["a"], "key": "k", "value": {"n": 1}}
            assert (await client.put("/store/items", json=item)).status_code == 204
            copied = (await client.post(f"/threads/{thread_id}/copy")).json()["thread_id"]
            assert (await client.get(f"/threads/{copied}/state")).json()["values"] == before[0][
                "values"
            ]

    asyncio.run(check())


def test_a_long_wait_is_padded_and_silence_has_heartbeats(tmp_path: Path) -> None:
    async def check() -> None:
        async with served(tmp_path, heartbeat=0.05) as client:
            body = {"assistant_id": "slow", "input": {"ticks": 1, "pause": 0.3}}
            waited = await client.post("/runs/wait", json=body)
            assert waited.text.startswith("\n\n")
            assert waited.json()["done"] == ["ticked"]
            streamed = await client.post("/runs/stream", json=body)
            assert streamed.text.count(": heartbeat\r\n\r\n") >= 2

    asyncio.run(check())


def test_an_id_that_is_too_old_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_STREAM_KEPT_EVENTS", "5")

    async def check() -> None:
        async with served(tmp_path) as client:
            body = {
                "assistant_id": "slow",
                "input": {"ticks": 40, "pause": 0},
                "stream_mode": "custom",
                "stream_resumable": True,
            }
            thread_id = (await client.post("/threads", json={})).json()["thread_id"]
            made = (await client.post(f"/threads/{thread_id}/runs", json=body)).json()
            path = f"/threads/{thread_id}/runs/{made['run_id']}"
            await client.get(f"{path}/join")
            late = await client.get(f"{path}/stream", headers={"Last-Event-ID": "3-0"})
            (error,) = parse_sse(late.text)
            assert (error.event, error.data["error"]) == ("error", "LogTruncated")
            assert "is no longer kept" in error.data["message"]
            kept = await client.get(f"{path}/stream", headers={"Last-Event-ID": "-1"})
            events = parse_sse(kept.text)
            assert [e.data for e in events if e.event == "custom"][-1] == 39
            assert events[0].event == "metadata"

    asyncio.run(check())
