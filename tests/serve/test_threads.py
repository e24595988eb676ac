"""Endpoints of threads and their states."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.serve.support import background, new_thread, run


def test_a_thread_that_never_ran(http: httpx.Client) -> None:
    thread_id = new_thread(http, metadata={"user": "ada"})
    thread = http.get(f"/threads/{thread_id}").json()
    assert thread["metadata"] == {"user": "ada"}
    assert (thread["status"], thread["values"], thread["error"]) == ("idle", None, None)
    assert thread["created_at"].endswith("+00:00")
    assert http.get(f"/threads/{thread_id}/state").json() == {
        "values": {},
        "next": [],
        "tasks": [],
        "metadata": None,
        "created_at": None,
        "checkpoint": None,
        "parent_checkpoint": None,
        "interrupts": [],
        "checkpoint_id": None,
        "parent_checkpoint_id": None,
    }
    assert http.get(f"/threads/{thread_id}/history").json() == []


def test_a_thread_with_a_known_id(http: httpx.Client) -> None:
    thread_id = str(uuid.uuid4())
    assert new_thread(http, thread_id=thread_id, metadata={"n": 1}) == thread_id
    again = http.post("/threads", json={"thread_id": thread_id})
    assert (again.status_code, again.json()["detail"]) == (
        409,
        f"Thread with ID {thread_id} already exists",
    )
    kept = http.post("/threads", json={"thread_id": thread_id, "if_exists": "do_nothing"})
    assert kept.json()["metadata"] == {"n": 1}


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/threads/search", {"ids": [1]}, "ids must be a list of strings, got [1]"),
        ("/threads/search", {"limit": 1 << 40}, "limit must be a whole number from 0, got"),
        ("/assistants/search", {"metadata": "mine"}, "metadata must be an object, got 'mine'"),
        ("/assistants/count", {"name": {"like": "a"}}, "name must be a string, got {'like': 'a'}"),
        ("/runs/crons/search", {"enabled": {}}, "enabled must be true or false, got {}"),
        ("/runs/crons/count", {"thread_id": ["a"]}, "thread_id must be a string, got ['a']"),
        ("/store/namespaces", {"limit": {}}, "limit must be a whole number from 0, got {}"),
        ("/store/items/search", {"offset": "1"}, "offset must be a whole number from 0, got '1'"),
        ("/runs/cancel", {"run_ids": "all"}, "run_ids must be a list of strings, got 'all'"),
    ],
)
def test_a_field_of_a_wrong_type_is_refused_by_name(
    http: httpx.Client, path: str, body: dict[str, Any], detail: str
) -> None:
    answered = http.post(path, json=body)
    assert answered.status_code == 422
    assert answered.json()["detail"].startswith(detail)


@pytest.mark.parametrize("path", ["", "/state", "/history", "/runs"])
def test_an_unknown_thread_is_404_and_a_wrong_id_422(http: httpx.Client, path: str) -> None:
    thread_id = str(uuid.uuid4())
    missing = http.get(f"/threads/{thread_id}{path}")
    assert (missing.status_code, missing.json()["detail"]) == (
        404,
        f"Thread with ID {thread_id} not found",
    )
    assert http.get(f"/threads/nope{path}").status_code == 422


def test_metadata_is_merged(http: httpx.Client) -> None:
    thread_id = new_thread(http, metadata={"a": 1, "b": 2})
    changed = http.patch(f"/threads/{thread_id}", json={"metadata": {"b": 3, "c": 4}})
    assert changed.json()["metadata"] == {"a": 1, "b": 3, "c": 4}
    minimal = http.patch(
        f"/threads/{thread_id}",
        json={"metadata": {"d": 5}},
        headers={"Prefer": "return=minimal"},
    )
    assert (minimal.status_code, minimal.content) == (204, b"")


def test_a_deleted_thread_is_gone_with_its_state(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []})
    background(http, thread_id, assistant_id="slow", input={"ticks": 500})
    assert http.delete(f"/threads/{thread_id}").status_code == 204
    assert http.get(f"/threads/{thread_id}").status_code == 404
    new_thread(http, thread_id=thread_id, metadata={"graph_id": "work"})
    assert http.get(f"/threads/{thread_id}/state").json()["values"] == {}


def test_search_by_metadata_status_values_and_ids(http: httpx.Client) -> None:
    mark = str(uuid.uuid4())
    made = [
        new_thread(http, metadata={"mark": mark, "n": n, "deep": {"even": n % 2 == 0}})
        for n in range(4)
    ]
    run(http, made[0], assistant_id="ask", input={"question": f"why {mark}?"})

    def search(**body: Any) -> list[str]:
        found = http.post("/threads/search", json=body)
        assert found.status_code == 200, found.text
        return [thread["thread_id"] for thread in found.json()]

    assert search(metadata={"mark": mark}) == made[::-1]
    assert search(metadata={"mark": mark, "n": 2}) == [made[2]]
    assert search(metadata={"mark": mark, "deep": {"even": True}}) == [made[2], made[0]]
    assert search(metadata={"mark": mark}, status="interrupted") == [made[0]]
    assert search(values={"question": f"why {mark}?"}) == [made[0]]
    assert search(metadata={"mark": mark, "graph_id": "ask"}) == [made[0]]
    assert search(ids=made[1:3], sort_by="created_at", sort_order="asc") == made[1:3]
    assert search(metadata={"mark": mark}, limit=2, offset=1) == [made[2], made[1]]
    assert http.post("/threads/count", json={"metadata": {"mark": mark}}).json() == 4
    page = http.post("/threads/search", json={"metadata": {"mark": mark}, "limit": 3})
    assert page.headers["x-pagination-total"] == "4"
    assert page.headers["x-pagination-next"] == "3"


def test_search_selects_and_extracts(http: httpx.Client) -> None:
    mark = str(uuid.uuid4())
    thread_id = new_thread(http, metadata={"mark": mark})
    run(
        http,
        thread_id,
        assistant_id="agent",
        input={"messages": [{"role": "human", "content": "1 + 2?"}]},
    )
    found = http.post(
        "/threads/search",
        json={
            "metadata": {"mark": mark},
            "select": ["thread_id", "status"],
            "extract": {"last": "values.messages[-1].content", "none": "values.nope[3]"},
        },
    ).json()
    assert found == [
        {
            "thread_id": thread_id,
            "status": "idle",
            "extracted": {"last": "The sum is 3", "none": None},
        }
    ]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"status": "nope"}, "status must be one of"),
        ({"limit": 0}, "limit must be from 1"),
        ({"sort_by": "nope"}, "sort_by must be one of"),
        ({"metadata": 3}, "metadata must be an object"),
        ({"select": ["nope"]}, "no field 'nope'"),
    ],
)
def test_a_wrong_search_is_refused(http: httpx.Client, body: dict[str, Any], part: str) -> None:
    new_thread(http)
    refused = http.post("/threads/search", json=body)
    assert refused.status_code == 422
    assert part in refused.json()["detail"]


def test_the_state_after_an_interrupt(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="ask", input={"question": "why?"})
    state = http.get(f"/threads/{thread_id}/state").json()
    assert state["next"] == ["ask"]
    (task,) = state["tasks"]
    assert (task["name"], task["error"], task["state"], task["checkpoint"]) == (
        "ask",
        None,
        None,
        None,
    )
    assert task["path"] == ["__pregel_pull", "ask"]
    assert task["interrupts"] == state["interrupts"]
    assert state["interrupts"][0]["value"] == {"question": "why?"}
    assert state["checkpoint"]["thread_id"] == thread_id
    assert state["checkpoint"]["checkpoint_id"] == state["checkpoint_id"]
    assert state["metadata"]["graph_id"] == "ask"
    assert state["metadata"]["thread_id"] == thread_id
    assert uuid.UUID(state["metadata"]["run_id"])


def test_the_state_of_a_subgraph_that_waits(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="nested", input={"question": "why?"})
    (task,) = http.get(f"/threads/{thread_id}/state").json()["tasks"]
    assert task["state"] is None
    assert task["checkpoint"]["checkpoint_ns"].startswith("inside:")
    (deep,) = http.get(f"/threads/{thread_id}/state", params={"subgraphs": "true"}).json()["tasks"]
    assert deep["state"]["values"] == {"question": "why?"}
    assert deep["state"]["next"] == ["ask"]
    inner = http.post(
        f"/threads/{thread_id}/state/checkpoint", json={"checkpoint": task["checkpoint"]}
    ).json()
    assert inner["next"] == ["ask"]
    answered = run(http, thread_id, assistant_id="nested", command={"resume": "so"}).json()
    assert answered["seen"] == "so"


def test_history_pages_backwards(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []})
    path = f"/threads/{thread_id}/history"
    states = http.post(path, json={"limit": 10}).json()
    assert [s["metadata"]["step"] for s in states] == [2, 1, 0, -1]
    assert states[0]["next"] == []
    assert [s["parent_checkpoint"] for s in states[:-1]] == [s["checkpoint"] for s in states[1:]]
    assert states[-1]["parent_checkpoint"] is None
    newest = states[0]["checkpoint"]
    for before in (newest, {"configurable": newest}, {"checkpoint_id": newest["checkpoint_id"]}):
        older = http.post(path, json={"limit": 2, "before": before}).json()
        assert older == states[1:3]
    assert http.get(path, params={"limit": 1}).json() == states[:1]
    assert http.post(path, json={"metadata": {"step": 1}}).json() == states[1:2]
    checkpoint_id = states[1]["checkpoint_id"]
    assert http.get(f"/threads/{thread_id}/state/{checkpoint_id}").json() == states[1]


def test_the_state_is_written_as_a_node(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []}, interrupt_before=["sub"])
    written = http.post(
        f"/threads/{thread_id}/state", json={"values": {"done": ["by hand"]}, "as_node": "first"}
    ).json()
    assert written["checkpoint"] == written["configurable"]
    assert written["checkpoint"]["checkpoint_id"] == written["checkpoint_id"]
    assert http.get(f"/threads/{thread_id}").json()["values"] == {"done": ["first", "by hand"]}
    after = run(http, thread_id, assistant_id="work").json()
    assert after["done"] == ["first", "by hand", "first", "by hand", "child"]


def test_the_state_is_written_at_a_checkpoint_which_forks(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="work", input={"done": []})
    states = http.get(f"/threads/{thread_id}/history").json()
    fork = next(s for s in states if s["next"] == ["sub"])
    http.post(
        f"/threads/{thread_id}/state",
        json={"values": {"done": ["other"]}, "as_node": "first", "checkpoint": fork["checkpoint"]},
    )
    state = http.get(f"/threads/{thread_id}/state").json()
    assert state["values"] == {"done": ["first", "other"]}
    assert state["parent_checkpoint"] == fork["checkpoint"]
    assert state["next"] == ["sub"]


def test_a_state_without_a_graph_cannot_be_written(http: httpx.Client) -> None:
    refused = http.post(f"/threads/{new_thread(http)}/state", json={"values": {}})
    assert refused.status_code == 400
    assert "set metadata.graph_id" in refused.json()["detail"]


def test_an_update_as_an_unknown_node_is_refused(http: httpx.Client) -> None:
    thread_id = new_thread(http, metadata={"graph_id": "work"})
    refused = http.post(
        f"/threads/{thread_id}/state", json={"values": {"done": []}, "as_node": "nope"}
    )
    assert refused.status_code == 422
    assert "nope" in refused.json()["detail"]


def test_a_thread_is_created_with_its_states(http: httpx.Client) -> None:
    thread_id = new_thread(
        http,
        metadata={"graph_id": "work"},
        supersteps=[
            {"updates": [{"values": {"done": ["a"]}, "as_node": "first"}]},
            {"updates": [{"values": {"done": ["b"]}, "as_node": "first"}]},
        ],
    )
    state = http.get(f"/threads/{thread_id}/state").json()
    assert (state["values"], state["next"]) == ({"done": ["a", "b"]}, ["sub"])
    refused = http.post("/threads", json={"supersteps": [{"updates": []}]})
    assert refused.status_code == 422


def test_a_copy_goes_its_own_way(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    run(http, thread_id, assistant_id="nested", input={"question": "why?"})
    copied = http.post(f"/threads/{thread_id}/copy").json()
    assert copied["thread_id"] != thread_id
    assert copied["status"] == "interrupted"
    answered = run(http, copied["thread_id"], assistant_id="nested", command={"resume": "so"})
    assert answered.json()["seen"] == "so"
    assert http.get(f"/threads/{thread_id}/state").json()["next"] == ["inside"]
    assert len(http.get(f"/threads/{copied['thread_id']}/history").json()) == 3


def test_a_copy_of_a_busy_thread_shows_its_newest_checkpoint(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    body = {
        "assistant_id": "slow",
        "input": {"ticks": 1000},
        "durability": "sync",
        "stream_mode": "custom",
        "on_disconnect": "cancel",
    }
    with http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as response:
        assert "data: 0" in response.iter_lines()
        copied = http.post(f"/threads/{thread_id}/copy").json()
    assert http.get(f"/threads/{copied['thread_id']}").json() == copied
    state = http.get(f"/threads/{copied['thread_id']}/state").json()
    assert state["next"] == ["tick"]
    assert (copied["status"], copied["values"]) == ("interrupted", state["values"])
    assert state["values"]["ticks"] == 1000


def test_prune_keeps_the_newest_checkpoint_of_each_namespace(http: httpx.Client) -> None:
    thread_id = new_thread(http)
    for _ in range(2):
        run(http, thread_id, assistant_id="nested", input={"question": "really?"})
    before = http.get(f"/threads/{thread_id}/state", params={"subgraphs": "true"}).json()
    assert before["tasks"][0]["interrupts"]
    body = {"thread_ids": [thread_id], "strategy": "keep_latest"}
    assert http.post("/threads/prune", json=body).json() == {"pruned_count": 1}
    assert len(http.get(f"/threads/{thread_id}/history").json()) == 1
    after = http.get(f"/threads/{thread_id}/state", params={"subgraphs": "true"}).json()
    assert {**after, "parent_checkpoint": None} == {**before, "parent_checkpoint": None}
    answered = run(http, thread_id, assistant_id="nested", command={"resume": "yes"}).json()
    assert answered["answer"] == "yes"


def test_the_time_to_live_of_a_thread_is_shown_where_it_is_asked_for(http: httpx.Client) -> None:
    thread_id = new_thread(http, ttl={"ttl": 5, "strategy": "delete"})
    assert "ttl" not in http.get(f"/threads/{thread_id}").json()
    shown = http.get(f"/threads/{thread_id}", params={"include": "ttl"}).json()
    expires = datetime.fromisoformat(shown["updated_at"]) + timedelta(minutes=5)
    assert shown["ttl"] == {
        "strategy": "delete",
        "ttl_minutes": 5.0,
        "expires_at": expires.isoformat(),
    }
    http.patch(f"/threads/{thread_id}", json={"ttl": 7})
    changed = http.get(f"/threads/{thread_id}", params={"include": "ttl"}).json()
    assert changed["ttl"]["ttl_minutes"] == 7.0
    http.patch(f"/threads/{thread_id}", json={"ttl": {"ttl": 7, "strategy": "keep_latest"}})
    changed = http.get(f"/threads/{thread_id}", params={"include": "ttl"}).json()
    assert (changed["ttl"]["strategy"], changed["ttl"]["ttl_minutes"]) == ("keep_latest", 7.0)
    kept = http.get(f"/threads/{new_thread(http)}", params={"include": "ttl"}).json()
    assert kept["ttl"] is None


@pytest.mark.parametrize(
    ("ttl", "detail"),
    [
        ({"ttl": 5, "strategy": "archive"}, "ttl.strategy must be delete or keep_latest"),
        ({"ttl": -1}, "ttl must be a positive number of minutes, got -1"),
        ("soon", "ttl must be a positive number of minutes, got 'soon'"),
    ],
)
def test_a_wrong_time_to_live_is_refused(http: httpx.Client, ttl: Any, detail: str) -> None:
    changed = http.patch(f"/threads/{new_thread(http)}", json={"ttl": ttl})
    for answered in (http.post("/threads", json={"ttl": ttl}), changed):
        assert answered.status_code == 422
        assert detail in answered.json()["detail"]


def test_prune_refuses_other_strategies(http: httpx.Client) -> None:
    answered = http.post("/threads/prune", json={"thread_ids": [], "strategy": "oldest"})
    assert answered.status_code == 422
    assert answered.json() == {"detail": "strategy must be delete or keep_latest, got 'oldest'"}


def test_prune_deletes_threads(http: httpx.Client) -> None:
    made = [new_thread(http) for _ in range(2)]
    assert http.post("/threads/prune", json={"thread_ids": made}).json() == {"pruned_count": 2}
    assert http.get(f"/threads/{made[0]}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [
        ("PUT", "", {"namespace": [], "key": "k", "value": {}}, "Namespace cannot be empty."),
        ("PUT", "", {"namespace": ["langgraph"], "key": "k", "value": {}}, "Root label"),
        ("POST", "/search", {"namespace_prefix": [], "filter": {"a": {"$no": 1}}}, "$no"),
    ],
)
def test_what_a_store_does_not_take_is_refused(
    http: httpx.Client, method: str, path: str, body: Any, detail: str
) -> None:
    http.put("/store/items", json={"namespace": ["refused"], "key": "k", "value": {"a": 1}})
    answered = http.request(method, "/store/items" + path, json=body)
    assert answered.status_code == 422
    assert detail in answered.json()["detail"]
