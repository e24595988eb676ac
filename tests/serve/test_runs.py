"""Endpoints of runs, as clients see them on the wire."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.serve.support import background, events, new_thread, parse_sse, run
from tests.support.cluster import eventually

TICKS = {"ticks": 200, "pause": 0.02}


def test_a_stream_is_sent_as_clients_expect_it(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    with http.stream(
        "POST",
        f"/threads/{thread_id}/runs/stream",
        json={"assistant_id": "work", "input": {"done": []}, "stream_resumable": True},
    ) as response:
        text = response.read().decode()
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    path = response.headers["content-location"]
    assert response.headers["location"] == f"{path}/stream"
    run_id = path.rpartition("/")[2]
    assert path == f"/threads/{thread_id}/runs/{run_id}"
    first, *rest = text.split("\r\n\r\n")
    assert first.startswith('event: metadata\r\ndata: {"run_id":"' + run_id)
    assert all("\r\nid: " in block for block in [first, *rest] if block)
    assert "\n" not in text.replace("\r\n", "")
    assert [e.event for e in parse_sse(text)] == ["metadata", "values", "values", "values"]


def test_a_stream_that_is_not_resumable_has_no_ids(http: httpx.Client) -> None:
    found = events(http, new_thread(http), assistant_id="work", input={"done": []})
    assert [e.id for e in found] == [None] * 4


def test_ids_grow_over_the_runs_of_a_thread(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    request = {"assistant_id": "work", "input": {"done": []}, "stream_resumable": True}
    numbers = []
    for _ in range(3):
        for event in events(http, thread_id, **request):
            number, _, place = str(event.id).partition("-")
            numbers.append((int(number), int(place)))
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 12


def test_an_interrupt_shows_in_values_and_updates(http: httpx.Client) -> None:
    found = events(
        http,
        new_thread(http),
        assistant_id="ask",
        input={"question": "why?"},
        stream_mode=["values", "updates"],
    )
    interrupt = found[-1].data["__interrupt__"][0]
    assert found[-1].event == "values"
    assert interrupt["value"] == {"question": "why?"}
    assert {"__interrupt__": [interrupt]} in [e.data for e in found if e.event == "updates"]


def test_values_alone_show_an_interrupt(http: httpx.Client) -> None:
    found = events(http, new_thread(http), assistant_id="ask", input={"question": "why?"})
    assert [e.event for e in found] == ["metadata", "values", "values"]
    assert found[-1].data["__interrupt__"][0]["value"] == {"question": "why?"}


def test_mode_messages_shows_each_message_as_far_as_it_has_come(http: httpx.Client) -> None:
    found = events(
        http,
        new_thread(http),
        assistant_id="agent",
        input={"messages": [{"role": "human", "content": "1 + 2?"}]},
        stream_mode=["messages"],
    )
    names = [e.event for e in found]
    assert names[:2] == ["metadata", "messages/metadata"]
    assert set(names[2:]) == {"messages/metadata", "messages/partial", "messages/complete"}
    whole = [e.data[0] for e in found if e.event == "messages/complete"]
    assert [m["type"] for m in whole] == ["ai", "tool"]
    assert whole[1]["content"] == "3"
    partial = [e.data[0]["content"] for e in found if e.event == "messages/partial"]
    assert partial[-1] == "The sum is 3"
    assert all(later.startswith(earlier) for earlier, later in pairwise(partial))
    assert {e.data[0]["type"] for e in found if e.event == "messages/partial"} == {"ai"}
    described = [e.data for e in found if e.event == "messages/metadata"]
    assert all(next(iter(d.values()))["metadata"]["langgraph_node"] for d in described)


def test_metadata_of_messages_names_run_thread_graph_and_assistant(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    found = events(
        http,
        thread_id,
        assistant_id="agent",
        input={"messages": [{"role": "human", "content": "1 + 2?"}]},
        stream_mode=["messages-tuple"],
        metadata={"customer": "c1"},
    )
    metadata = next(e.data[1] for e in found if e.event == "messages")
    assert metadata["thread_id"] == thread_id
    assert metadata["run_id"] == found[0].data["run_id"]
    assert metadata["graph_id"] == "agent"
    assert metadata["customer"] == "c1"
    assert uuid.UUID(metadata["assistant_id"])


def test_tasks_checkpoints_and_debug_are_json(http: httpx.Client) -> None:
    found = events(
        http,
        new_thread(http),
        assistant_id="work",
        input={"done": []},
        stream_mode=["tasks", "checkpoints", "debug"],
    )
    tasks = [e.data for e in found if e.event == "tasks"]
    assert tasks[0]["name"] == "first"
    assert tasks[1]["result"] == {"done": ["first"]}
    checkpoints = [e.data for e in found if e.event == "checkpoints"]
    assert checkpoints[0]["values"] == {"done": []}
    assert checkpoints[-1]["next"] == []
    assert {e.data["type"] for e in found if e.event == "debug"} == {
        "checkpoint",
        "task",
        "task_result",
    }


def test_a_run_without_a_thread_streams_and_can_be_looked_up_after_its_end(
    http: httpx.Client,
) -> None:
    response = http.post("/runs/stream", json={"assistant_id": "work", "input": {"done": []}})
    assert parse_sse(response.text)[-1].data == {"done": ["first", "first", "child"]}
    path = response.headers["content-location"]
    assert http.get(path).json()["status"] == "success"
    thread_id = path.split("/")[2]
    found = http.post("/threads/search", json={"ids": [thread_id]})
    assert found.json() == []


def test_a_run_without_a_thread_keeps_it_as_asked(http: httpx.Client) -> None:
    response = http.post(
        "/runs/wait",
        json={"assistant_id": "work", "input": {"done": []}, "on_completion": "keep"},
    )
    thread_id = response.headers["content-location"].split("/")[2]
    assert http.post("/threads/search", json={"ids": [thread_id]}).json()[0]["status"] == "idle"


def test_an_empty_input_starts_a_run_and_none_goes_on_with_one(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    started = run(http, thread_id, assistant_id="work", input={}, interrupt_before="*")
    assert started.json() is None  # as invoke returns it
    assert http.get(f"/threads/{thread_id}").json()["values"] == {"done": []}
    resumed = run(http, thread_id, assistant_id="work", input=None)
    assert resumed.json() == {"done": ["first", "first", "child"]}


def test_batch_starts_runs_in_their_order(http: httpx.Client) -> None:
    made = http.post(
        "/runs/batch",
        json=[
            {"assistant_id": "work", "input": {"done": []}},
            {"assistant_id": "ours", "input": {"done": []}, "context": {"user": "ada"}},
        ],
    ).json()
    assert [r["status"] for r in made] == ["pending", "pending"]
    results = [http.get(f"/threads/{r['thread_id']}/runs/{r['run_id']}/join").json() for r in made]
    assert results == [{"done": ["first", "first", "child"]}, {"done": ["hello ada"]}]


def test_context_and_configurable_reach_the_graph(http: httpx.Client) -> None:
    assert run(
        http, None, assistant_id="ours", input={"done": []}, context={"user": "ada"}
    ).json() == {"done": ["hello ada"]}
    assert run(
        http,
        None,
        assistant_id="made",
        input={"done": []},
        config={"configurable": {"text": "there"}},
    ).json() == {"done": ["hello there"]}


def test_context_and_configurable_together_are_refused(http: httpx.Client) -> None:
    refused = run(
        http,
        None,
        assistant_id="ours",
        input={"done": []},
        context={"user": "ada"},
        config={"configurable": {"user": "bob"}},
    )
    assert refused.status_code == 400
    assert "prefer context" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({}, 422, "assistant_id"),
        ({"assistant_id": "nope"}, 422, "work"),
        ({"assistant_id": "work", "stream_mode": "nope"}, 422, "stream_mode 'nope'"),
        ({"assistant_id": "work", "multitask_strategy": "x"}, 422, "multitask_strategy"),
        ({"assistant_id": "work", "config": 3}, 422, "config must be an object"),
        ({"assistant_id": "work", "interrupt_before": 3}, 422, "interrupt_before"),
        ({"assistant_id": "work", "after_seconds": -1}, 422, "after_seconds"),
        ({"assistant_id": "work", "webhook": "file:///etc/passwd"}, 422, "webhook"),
        ({"assistant_id": "work", "command": {"nope": 1}}, 422, "command has no nope"),
    ],
)
def test_a_wrong_request_is_refused_by_name(
    http: httpx.Client, body: dict[str, Any], status: int, part: str
) -> None:
    refused = http.post(f"/threads/{new_thread(http)}/runs/stream", json=body)
    assert refused.status_code == status
    assert part in refused.json()["detail"]


def test_a_body_that_is_no_json_is_refused(http: httpx.Client) -> None:
    refused = http.post("/runs/stream", content=b"{nope")
    assert (refused.status_code, refused.json()) == (
        422,
        {"detail": "Invalid JSON in request body"},
    )


def test_unknown_paths_and_methods_are_json_errors(http: httpx.Client) -> None:
    assert http.get("/nope").json() == {"detail": "Not Found"}
    assert http.delete("/runs/stream").status_code == 405


def test_a_run_on_an_unknown_thread_is_refused_or_creates_it(http: httpx.Client) -> None:
    thread_id = str(uuid.uuid4())
    refused = run(http, thread_id, assistant_id="work", input={"done": []})
    assert (refused.status_code, refused.json()["detail"]) == (
        404,
        "Thread or assistant not found.",
    )
    made = run(http, thread_id, assistant_id="work", input={"done": []}, if_not_exists="create")
    assert made.status_code == 200
    assert http.get(f"/threads/{thread_id}").json()["metadata"]["graph_id"] == "work"


def test_reject_refuses_a_run_on_a_busy_thread(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    first = background(http, thread_id, assistant_id="slow", input=TICKS)
    refused = run(
        http, thread_id, assistant_id="slow", input={"ticks": 1}, multitask_strategy="reject"
    )
    assert refused.status_code == 409
    assert "already running" in refused.json()["detail"]
    path = f"/threads/{thread_id}/runs/{first['run_id']}"
    assert http.post(f"{path}/cancel?wait=1").json() == {}
    assert http.get(path).json()["status"] == "interrupted"
    assert http.get(f"/threads/{thread_id}").json()["status"] == "interrupted"


def test_enqueue_carries_out_runs_in_their_order(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    made = [
        background(http, thread_id, assistant_id="slow", input={"ticks": 3, "pause": 0.02})
        for _ in range(3)
    ]
    result = http.get(f"/threads/{thread_id}/runs/{made[2]['run_id']}/join").json()
    assert result["done"] == ["ticked"] * 3
    listed = http.get(f"/threads/{thread_id}/runs").json()
    assert [r["run_id"] for r in listed] == [r["run_id"] for r in reversed(made)]
    assert {r["status"] for r in listed} == {"success"}


def wait_until_running(http: httpx.Client, thread_id: str, run: dict[str, Any]) -> None:
    path = f"/threads/{thread_id}/runs/{run['run_id']}"
    eventually(lambda: http.get(path).json()["status"] == "running", "the run has begun")


@pytest.mark.parametrize(("strategy", "first"), [("interrupt", "interrupted"), ("rollback", None)])
def test_a_second_run_takes_the_place_of_the_first(
    http: httpx.Client, strategy: str, first: str | None
) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="slow", input={"ticks": 1, "pause": 0})
    running = background(http, thread_id, assistant_id="slow", input=TICKS)
    wait_until_running(http, thread_id, running)
    result = run(
        http,
        thread_id,
        assistant_id="slow",
        input={"ticks": 1, "pause": 0},
        multitask_strategy=strategy,
    ).json()
    assert result["done"] == ["ticked", "ticked"]
    found = http.get(f"/threads/{thread_id}/runs/{running['run_id']}")
    if first is None:
        assert found.status_code == 404
        history = http.get(f"/threads/{thread_id}/history?limit=100").json()
        assert running["run_id"] not in [s["metadata"].get("run_id") for s in history]
    else:
        assert found.json()["status"] == first


def test_cancel_with_rollback_deletes_the_run_and_its_checkpoints(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="slow", input={"ticks": 1, "pause": 0})
    before = http.get(f"/threads/{thread_id}/state").json()
    running = background(http, thread_id, assistant_id="slow", input=TICKS)
    wait_until_running(http, thread_id, running)
    path = f"/threads/{thread_id}/runs/{running['run_id']}"
    assert http.post(f"{path}/cancel?wait=1&action=rollback").status_code == 200
    assert http.get(path).status_code == 404
    assert http.get(f"/threads/{thread_id}/state").json() == before
    assert http.get(f"/threads/{thread_id}").json()["status"] == "idle"


def test_cancel_of_an_ended_or_unknown_run_is_404(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []})
    ended = http.get(f"/threads/{thread_id}/runs").json()[0]["run_id"]
    for run_id in (ended, str(uuid.uuid4())):
        refused = http.post(f"/threads/{thread_id}/runs/{run_id}/cancel")
        assert refused.status_code == 404
        assert refused.json()["detail"].startswith("No matching runs to cancel.")


def test_a_cancelled_run_s_stream_just_ends(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    with http.stream(
        "POST",
        f"/threads/{thread_id}/runs/stream",
        json={"assistant_id": "slow", "input": TICKS, "stream_mode": "custom"},
    ) as response:
        parts = response.iter_text()
        text = next(parts)
        path = response.headers["content-location"]
        assert http.post(f"{path}/cancel").status_code == 202
        text += "".join(parts)
    assert "error" not in [e.event for e in parse_sse(text)]
    assert http.get(path).json()["status"] == "interrupted"


def test_several_runs_are_cancelled_at_once(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    made = [background(http, thread_id, assistant_id="slow", input=TICKS) for _ in range(3)]
    body = {"thread_id": thread_id, "run_ids": [r["run_id"] for r in made]}
    assert http.post("/runs/cancel", json=body).status_code == 204
    for one in made:
        http.get(f"/threads/{thread_id}/runs/{one['run_id']}/join")
    listed = http.get(f"/threads/{thread_id}/runs").json()
    assert [r["status"] for r in listed] == ["interrupted"] * 3


def test_a_breakpoint_interrupts_the_thread_and_the_next_run_goes_on(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    first = run(http, thread_id, assistant_id="work", input={"done": []}, interrupt_before=["sub"])
    assert first.json()["done"] == ["first"]
    thread = http.get(f"/threads/{thread_id}").json()
    assert (thread["status"], thread["interrupts"]) == ("interrupted", {})
    second = run(http, thread_id, assistant_id="work")
    assert second.json()["done"] == ["first", "first", "child"]


def test_a_run_from_a_checkpoint_forks_and_does_not_start_anew(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []})
    history = http.get(f"/threads/{thread_id}/history").json()
    fork = next(s for s in history if s["next"] == ["sub"])
    for body in (
        {"checkpoint_id": fork["checkpoint"]["checkpoint_id"]},
        {"checkpoint": fork["checkpoint"]},
        {"config": {"configurable": {"checkpoint_id": fork["checkpoint"]["checkpoint_id"]}}},
    ):
        found = events(http, thread_id, assistant_id="work", stream_mode="updates", **body)
        assert [e.data for e in found[1:]] == [{"sub": {"done": ["first", "child"]}}]


def test_resume_on_a_thread_without_a_question_is_a_clear_error(http: httpx.Client) -> None:
    result = run(http, new_thread(http), assistant_id="ask", command={"resume": "x"}).json()
    assert result["__error__"]["error"] == "NothingToResume"
    assert "no question" in result["__error__"]["message"]


def test_a_run_that_cannot_start_says_why_in_each_of_its_streams(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    body = {"assistant_id": "work", "interrupt_before": ["frist"], "stream_resumable": True}
    for begin in (1, 3, 5):  # each has two events: its begin and its end
        found = events(http, thread_id, **body, input={"done": []})
        run_id = found[0].data["run_id"]
        assert [(e.event, e.id) for e in found] == [
            ("metadata", f"{begin}-0"),
            ("error", f"{begin + 1}-0"),
        ]
        assert found[1].data["error"] == "ValueError"
        assert "no node 'frist' in graph 'work'" in found[1].data["message"]
        path = f"/threads/{thread_id}/runs/{run_id}/stream"
        for last, rest in (("-1", found), (f"{begin}-0", found[1:]), (f"{begin + 1}-0", [])):
            again = http.get(path, headers={"Last-Event-ID": last})
            assert parse_sse(again.text) == rest


def test_command_goto_and_update(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="ask", input={"question": "why?"})
    result = run(
        http, thread_id, assistant_id="ask", command={"resume": "r", "update": {"question": "so?"}}
    ).json()
    assert result == {"question": "so?", "answer": "r", "seen": "r"}


def test_join_without_last_event_id_shows_what_comes_from_now_on(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    made = background(
        http,
        thread_id,
        assistant_id="slow",
        input={"ticks": 100, "pause": 0.03},
        stream_mode=["custom"],
        stream_resumable=True,
    )
    path = f"/threads/{thread_id}/runs/{made['run_id']}/stream"
    with http.stream("GET", path, headers={"Last-Event-ID": "-1"}) as first:
        next(text for text in first.iter_lines() if text == "data: 1")
    joined = [e.data for e in parse_sse(http.get(path).text)]
    assert joined == list(range(joined[0], 100))
    assert joined[0] > 0
    assert parse_sse(http.get(path).text) == []
    whole = parse_sse(http.get(path, headers={"Last-Event-ID": "-1"}).text)
    assert [e.data for e in whole[1:]] == list(range(100))


def test_join_filters_by_all_modes_of_the_query(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    made = background(
        http,
        thread_id,
        assistant_id="work",
        input={"done": []},
        stream_mode=["custom", "updates", "values"],
        stream_resumable=True,
    )
    found = parse_sse(
        http.get(
            f"/threads/{thread_id}/runs/{made['run_id']}/stream",
            params={"stream_mode": ["custom", "updates"]},
            headers={"Last-Event-ID": "-1"},
        ).text
    )
    assert {e.event for e in found} == {"metadata", "custom", "updates"}


def test_a_message_stream_resumes_with_messages_that_are_whole(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    whole = events(
        http,
        thread_id,
        assistant_id="agent",
        input={"messages": [{"role": "human", "content": "1 + 2?"}]},
        stream_mode=["messages"],
        stream_resumable=True,
    )
    run_id = whole[0].data["run_id"]
    path = f"/threads/{thread_id}/runs/{run_id}/stream"
    for place in range(len(whole)):
        rest = parse_sse(http.get(path, headers={"Last-Event-ID": str(whole[place].id)}).text)
        assert rest == whole[place + 1 :]


def test_the_stream_of_a_thread_shows_its_runs_one_after_the_other(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    found: list[Any] = []
    with http.stream("GET", f"/threads/{thread_id}/stream") as response:
        for _ in range(2):
            background(http, thread_id, assistant_id="work", input={"done": []})
        text = ""
        for part in response.iter_text():
            text += part
            found = parse_sse(text)
            done = [e for e in found if e.data.get("status") == "run_done"]
            if len(done) == 2:
                break
    names = [e.event for e in found]
    assert names == ["metadata", "values", "values", "values", "metadata"] * 2
    assert all(e.id for e in found)
    with http.stream(
        "GET", f"/threads/{thread_id}/stream", headers={"Last-Event-ID": str(found[4].id)}
    ) as response:
        text = ""
        for part in response.iter_text():
            text += part
            if text.count("run_done") == 1:
                break
    assert parse_sse(text) == found[5:]


def test_a_run_waits_for_its_time(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    begin = time.monotonic()
    made = background(http, thread_id, assistant_id="work", input={"done": []}, after_seconds=0.5)
    assert made["status"] == "pending"
    http.get(f"/threads/{thread_id}/runs/{made['run_id']}/join")
    assert time.monotonic() - begin >= 0.5


def test_a_pending_run_can_be_cancelled(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    made = background(http, thread_id, assistant_id="work", input={"done": []}, after_seconds=60)
    path = f"/threads/{thread_id}/runs/{made['run_id']}"
    assert http.post(f"{path}/cancel").status_code == 202
    assert http.get(path).json()["status"] == "interrupted"
    assert parse_sse(http.get(f"{path}/stream").text) == []


def test_a_run_that_has_ended_can_be_deleted(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []})
    path = f"/threads/{thread_id}/runs/{http.get(f'/threads/{thread_id}/runs').json()[0]['run_id']}"
    assert http.delete(path).status_code == 204
    assert http.delete(path).json() == {"detail": "Run not found"}


def test_a_run_has_the_metadata_of_its_thread_and_names_graph_and_assistant(
    http: httpx.Client,
) -> None:
    thread_id = new_thread(http, metadata={"team": "a", "kind": "thread"})
    run(http, thread_id, assistant_id="work", input={"done": []}, metadata={"kind": "run"})
    (made,) = http.get(f"/threads/{thread_id}/runs").json()
    expected = {
        "created_by": "system",
        "team": "a",
        "kind": "run",
        "graph_id": "work",
        "assistant_id": made["assistant_id"],
    }
    assert made["metadata"] == expected
    state = http.get(f"/threads/{thread_id}/state").json()
    assert {key: state["metadata"].get(key) for key in expected} == expected


def test_a_graph_without_a_context_finds_it_in_its_config(http: httpx.Client) -> None:
    made = run(http, None, assistant_id="made", input={"done": []}, context={"text": "given"})
    assert made.json()["done"][0].endswith(" given")


def test_a_run_that_is_cancelled_before_its_start_leaves_its_thread_as_it_was(
    http: httpx.Client,
) -> None:
    thread_id = new_thread(http)
    for status in ("idle", "interrupted"):
        waiting = background(http, thread_id, assistant_id="ask", input={}, after_seconds=600)
        http.post(f"/threads/{thread_id}/runs/{waiting['run_id']}/cancel", params={"wait": "1"})
        cancelled = http.get(f"/threads/{thread_id}/runs/{waiting['run_id']}").json()
        assert cancelled["status"] == "interrupted"
        assert http.get(f"/threads/{thread_id}").json()["status"] == status
        run(http, thread_id, assistant_id="ask", input={"question": "why?"})


def test_checkpoints_of_mode_debug_are_named_as_requests_name_them(http: httpx.Client) -> None:
    found = [
        event.data["payload"]
        for event in events(
            http, None, assistant_id="work", input={"done": []}, stream_mode="debug"
        )
        if event.event == "debug" and event.data["type"] == "checkpoint"
    ]
    for before, payload in zip([None, *found], found, strict=False):
        names = ("thread_id", "checkpoint_ns", "checkpoint_id")
        configurable = payload["config"]["configurable"]
        assert payload["checkpoint"] == {name: configurable[name] for name in names}
        assert payload["parent_checkpoint"] == (None if before is None else before["checkpoint"])
    assert len(found) == 4


def test_an_answer_that_nobody_waits_for_fails_where_that_is_asked_for(http: httpx.Client) -> None:
    assert http.get("/info").json()["flags"]["strict_resume"] is True
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="nested", input={"question": "really?"})
    before = http.get(f"/threads/{thread_id}").json()
    body = {"assistant_id": "nested", "command": {"resume": {"0" * 32: "yes"}}}
    failed = run(http, thread_id, **body, strict_resume=True).json()
    assert failed["__error__"]["error"] == "UnknownInterruptError"
    after = http.get(f"/threads/{thread_id}").json()
    for key in ("status", "values", "interrupts", "error"):
        assert after[key] == before[key]
    (interrupt,) = (each for found in after["interrupts"].values() for each in found)
    answer = {"resume": {interrupt["id"]: "yes"}}
    done = run(http, thread_id, assistant_id="nested", command=answer, strict_resume=True).json()
    assert done["answer"] == "yes"


def test_fields_without_an_effect_are_told_once(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"assistant_id": "work", "input": {"done": []}, "feedback_keys": ["a"], "webhok": "x"}
    with caplog.at_level(logging.WARNING, "distgraph"):
        for _ in range(2):
            run(http, None, **body)
    assert [record.getMessage() for record in caplog.records] == [
        "the field 'feedback_keys' of runs has no effect: the server makes no links for feedback "
        "at LangSmith",
        "the field 'webhok' of runs has no effect: it is unknown. Did you mean 'webhook'?",
    ]


def test_a_webhook_gets_the_run_and_its_values(http: httpx.Client) -> None:
    received: list[Any] = []
    came = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            came.set()

        def log_message(self, *args: Any) -> None:
            pass

    listener = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{listener.server_address[1]}/hook"
        run(http, None, assistant_id="work", input={"done": []}, webhook=url)
        assert came.wait(60)
    finally:
        listener.shutdown()
    assert received[0]["status"] == "success"
    assert received[0]["values"] == {"done": ["first", "first", "child"]}
    assert received[0]["error"] is None


def test_a_store_of_the_server_is_the_store_of_its_runs(http: httpx.Client) -> None:
    body = {"namespace": ["runs"], "key": "count"}
    http.request("DELETE", "/store/items", json=body)
    run(http, None, assistant_id="remembers", input={"done": []})
    result = run(http, None, assistant_id="remembers", input={"done": []}).json()
    assert result == {"done": ["run 2"]}
    item = http.get("/store/items", params={"namespace": "runs", "key": "count"}).json()
    assert item["value"] == {"count": 2}
