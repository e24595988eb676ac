"""Endpoints of assistants, of the store, and of the server itself."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.serve.support import run


def _made(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post("/assistants", json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def test_each_graph_has_an_assistant(http: httpx.Client) -> None:
    found = http.post("/assistants/search", json={"graph_id": "work"})
    own = next(a for a in found.json() if a["metadata"] == {"created_by": "system"})
    assert own["name"] == own["graph_id"] == "work"
    assert own["description"] == "A subgraph, custom events, two steps"
    assert (own["version"], own["config"], own["context"]) == (1, {}, {})
    assert http.get(f"/assistants/{own['assistant_id']}").json() == own
    assert http.get("/assistants/work").json() == own
    assert uuid.UUID(own["assistant_id"]).version == 5
    assert int(found.headers["x-pagination-total"]) >= 1


def test_an_assistant_configures_its_graph(http: httpx.Client) -> None:
    made = _made(http, graph_id="ours", name="greeter", context={"user": "grace"})
    assert made["config"]["configurable"] == {"user": "grace"}
    result = run(http, None, assistant_id=made["assistant_id"], input={"done": []})
    assert result.json() == {"done": ["hello grace"]}
    by_run = run(
        http, None, assistant_id=made["assistant_id"], input={"done": []}, context={"user": "ada"}
    )
    assert by_run.json() == {"done": ["hello ada"]}
    built = _made(http, graph_id="made", config={"configurable": {"text": "you"}})
    assert run(http, None, assistant_id=built["assistant_id"], input={"done": []}).json() == {
        "done": ["hello you"]
    }


def test_versions_of_an_assistant(http: httpx.Client) -> None:
    made = _made(http, graph_id="ours", name="one", metadata={"a": 1})
    path = f"/assistants/{made['assistant_id']}"
    changed = http.patch(path, json={"name": "two", "metadata": {"b": 2}}).json()
    assert (changed["version"], changed["name"]) == (2, "two")
    assert changed["metadata"] == {"a": 1, "b": 2}
    versions = http.post(f"{path}/versions", json={}).json()
    assert [(v["version"], v["name"]) for v in versions] == [(2, "two"), (1, "one")]
    assert http.post(f"{path}/latest", json={"version": 1}).json()["name"] == "one"
    assert http.get(path).json()["version"] == 1
    assert http.patch(path, json={"name": "three"}).json()["version"] == 3
    assert http.post(f"{path}/latest", json={"version": 9}).status_code == 404
    assert http.delete(path).status_code == 204
    assert http.get(path).status_code == 404


def test_assistants_are_searched_and_counted(http: httpx.Client) -> None:
    mark = str(uuid.uuid4())
    for n in range(3):
        _made(http, graph_id="ours", name=f"Finder {n} {mark}", metadata={"mark": mark, "n": n})
    found = http.post(
        "/assistants/search",
        json={"metadata": {"mark": mark}, "sort_by": "name", "sort_order": "asc", "limit": 2},
    )
    assert [a["metadata"]["n"] for a in found.json()] == [0, 1]
    assert found.headers["x-pagination-total"] == "3"
    assert http.post("/assistants/count", json={"metadata": {"mark": mark}}).json() == 3
    by_name = http.post("/assistants/search", json={"name": f"finder 1 {mark}"})
    assert [a["metadata"]["n"] for a in by_name.json()] == [1]


def test_unknown_assistants_and_graphs_are_refused(http: httpx.Client) -> None:
    assert http.get(f"/assistants/{uuid.uuid4()}").status_code == 404
    assert http.get("/assistants/nope").status_code == 422
    refused = http.post("/assistants", json={"graph_id": "nope"})
    assert (refused.status_code, "work" in refused.json()["detail"]) == (404, True)
    own = http.get("/assistants/work").json()["assistant_id"]
    assert http.delete(f"/assistants/{own}").status_code == 409
    known = _made(http, graph_id="ours")["assistant_id"]
    again = http.post("/assistants", json={"graph_id": "ours", "assistant_id": known})
    assert again.status_code == 409
    kept = {"graph_id": "ours", "assistant_id": known, "if_exists": "do_nothing"}
    assert http.post("/assistants", json=kept).json()["assistant_id"] == known


def test_the_graph_of_an_assistant_is_langgraph_s_drawing(http: httpx.Client) -> None:
    from tests.serve.project import served_graphs

    drawn = http.get("/assistants/work/graph").json()
    expected = served_graphs.work.get_graph().to_json()
    assert [n["id"] for n in drawn["nodes"]] == [n["id"] for n in expected["nodes"]]
    assert drawn["edges"] == expected["edges"]
    deep = http.get("/assistants/work/graph", params={"xray": "true"}).json()
    assert "sub:child" in [n["id"] for n in deep["nodes"]]


def test_schemas_of_an_assistant(http: httpx.Client) -> None:
    schemas = http.get("/assistants/ours/schemas").json()
    assert schemas["graph_id"] == "ours"
    assert schemas["input_schema"]["properties"]["done"]["items"] == {"type": "string"}
    assert "user" in schemas["context_schema"]["properties"]
    assert set(schemas) == {
        "graph_id",
        "input_schema",
        "output_schema",
        "state_schema",
        "config_schema",
        "context_schema",
    }
    assert http.get("/assistants/work/schemas").json()["context_schema"] is None
    assert http.get("/assistants/work/schemas").json()["input_schema"]["properties"]["done"]
    inner = http.get("/assistants/work/subgraphs").json()
    assert list(inner) == ["sub"]
    assert inner["sub"]["input_schema"]["properties"]["done"]
    assert http.get("/assistants/work/subgraphs/sub").json() == inner


def test_items_of_the_store(http: httpx.Client) -> None:
    top = str(uuid.uuid4())
    for key, color in (("a", "red"), ("b", "blue")):
        put = http.put(
            "/store/items",
            json={"namespace": [top, "things"], "key": key, "value": {"color": color}},
        )
        assert put.status_code == 204
    item = http.get("/store/items", params={"namespace": f"{top}.things", "key": "a"}).json()
    assert (item["namespace"], item["key"], item["value"]) == (
        [top, "things"],
        "a",
        {"color": "red"},
    )
    assert item["created_at"].endswith("+00:00")
    found = http.post(
        "/store/items/search", json={"namespace_prefix": [top], "filter": {"color": "blue"}}
    ).json()
    assert [(i["key"], i["score"]) for i in found["items"]] == [("b", None)]
    spaces = http.post("/store/namespaces", json={"prefix": [top]}).json()
    assert spaces == {"namespaces": [[top, "things"]]}
    body = {"namespace": [top, "things"], "key": "a"}
    assert http.request("DELETE", "/store/items", json=body).status_code == 204
    assert (
        http.get("/store/items", params={"namespace": f"{top}.things", "key": "a"}).json() is None
    )


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"namespace": ["a.b"], "key": "k", "value": {}}, "periods"),
        ({"namespace": ["a"], "key": "k", "value": 3}, "value must be an object"),
        ({"namespace": "a", "key": "k", "value": {}}, "list of strings"),
        ({"namespace": ["a"], "value": {}}, "key is required"),
    ],
)
def test_a_wrong_item_is_refused(http: httpx.Client, body: dict[str, Any], part: str) -> None:
    refused = http.put("/store/items", json=body)
    assert refused.status_code == 422
    assert part in refused.json()["detail"]


def test_the_server_says_what_it_is(http: httpx.Client) -> None:
    assert http.get("/ok").json() == http.get("/").json() == {"ok": True}
    info = http.get("/info").json()
    flags = {"assistants": True, "crons": True, "langsmith": False, "strict_resume": True}
    assert info["flags"] == flags
