"""The description of the endpoints, its page, and the numbers for Prometheus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from distgraph.serve.app import application
from distgraph.serve.openapi import BODIES, description, page
from distgraph.serve.project import read_project
from distgraph.serve.server import Settings
from tests.serve.conftest import SocketServer
from tests.serve.described import Described
from tests.serve.support import new_thread, run
from tests.serve.test_project import GRAPH, write


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    answered = http.get("/openapi.json")
    assert answered.headers["content-type"] == "application/json"
    made: dict[str, Any] = answered.json()
    return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_each_endpoint_is_described(document: dict[str, Any], server: SocketServer) -> None:
    served = {
        f"{method} {route.path}"
        for route in server.app.router.routes
        if isinstance(route, Route) and route.include_in_schema
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = dict(operations(document))
    assert set(described) == served
    assert [key for key, operation in described.items() if not operation["summary"]] == []
    names = [operation["operationId"] for operation in described.values()]
    assert sorted(set(names)) == sorted(names)
    takes = {k for k in served if k.split()[0] in ("POST", "PUT", "PATCH") or k in BODIES}
    assert set(BODIES) == takes


def test_each_schema_is_valid_and_each_reference_leads_somewhere(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for _, operation in operations(document):
        for part in (operation.get("requestBody"), *operation["responses"].values()):
            for content in ((part or {}).get("content") or {}).values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])
    found = json.dumps(document).split('"#/components/schemas/')[1:]
    assert {each.split('"')[0] for each in found} == set(schemas)


def test_what_breaks_the_description_is_noticed(document: dict[str, Any]) -> None:
    described = Described(document)
    described.check("POST", "/threads/search", {"limit": 5}, 200, [])
    with pytest.raises(jsonschema.ValidationError, match="'limits' was unexpected"):
        described.check("POST", "/threads/search", {"limits": 5}, 200, [])
    with pytest.raises(jsonschema.ValidationError, match="is not of type 'array'"):
        described.check("POST", "/threads/search", {}, 200, {})


def test_the_page_shows_each_endpoint_and_loads_nothing(
    document: dict[str, Any], http: httpx.Client
) -> None:
    answered = http.get("/docs")
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    for key, _ in operations(document):
        method, path = key.split()
        assert f"<b>{method}</b> <code>{path}</code>" in answered.text
    assert answered.text.count("<details>") == len(list(operations(document)))
    assert "src=" not in answered.text and "<link" not in answered.text
    assert "<tr><td><code>graph_id</code></td><td>string, required</td></tr>" in answered.text


def test_the_page_escapes_what_a_description_has() -> None:
    given = {"paths": {"/x": {"get": {"summary": "<script>", "tags": ["<b>"]}}}}
    made = page(description([], version="1", more=given), "/openapi.json")
    assert "<script>" not in made and "&lt;script&gt;" in made and "<h2>&lt;b&gt;</h2>" in made


def test_prometheus_reads_the_numbers(http: httpx.Client) -> None:
    run(http, new_thread(http), assistant_id="work", input={"done": []})
    answered = http.get("/metrics")
    assert answered.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {family.name: family for family in text_string_to_metric_families(answered.text)}
    assert set(found) == {
        "distgraph_serve_runs",
        "distgraph_serve_threads",
        "distgraph_serve_crons",
        "distgraph_serve_longest_wait_seconds",
    }
    runs = {s.labels["status"]: s.value for s in found["distgraph_serve_runs"].samples}
    assert runs["success"] >= 1
    assert {family.type for family in found.values()} == {"gauge"}


@asynccontextmanager
async def serving(folder: Path, module: str = GRAPH, **config: Any) -> AsyncIterator[Any]:
    """Serve a project of a test."""
    project = read_project(write(folder, module, **config))
    app = application(project, Settings(folder=folder / "data"))
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://served") as client,
    ):
        yield client


def test_they_need_the_key_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_API_KEY", "secret")

    async def work() -> None:
        async with serving(tmp_path) as client:
            for path in ("/docs", "/openapi.json", "/metrics"):
                assert (await client.get(path)).status_code == 401
            given = (await client.get("/openapi.json", headers={"x-api-key": "secret"})).json()
            assert given["security"] == [{"apiKey": []}]
            assert given["components"]["securitySchemes"]["apiKey"]["name"] == "x-api-key"

    asyncio.run(work())


FASTAPI = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/hello", summary="Greet.")
def hello() -> str:
    return "hello"

@app.get("/metrics")
def metrics() -> str:
    return "mine"
"""


def test_the_application_of_the_user_is_described_too_and_its_paths_win(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="needs fastapi")
    scheme = {"securitySchemes": {"x": {"type": "http"}}, "security": [{"x": []}]}
    config: Any = {"http": {"app": "./MODULE.py:app"}, "auth": {"openapi": scheme}}

    async def work() -> None:
        async with serving(tmp_path, GRAPH + FASTAPI, **config) as client:
            given = (await client.get("/openapi.json")).json()
            assert given["paths"]["/hello"]["get"]["summary"] == "Greet."
            assert given["paths"]["/threads"]["post"]["summary"].startswith("Create a thread")
            assert given["security"] == [{"x": []}]
            assert (await client.get("/metrics")).json() == "mine"
            assert "Greet." in (await client.get("/docs")).text

    asyncio.run(work())


PLAIN = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

app = Starlette(routes=[Route("/docs", lambda request: PlainTextResponse("mine"))])
"""


def test_a_plain_application_keeps_its_own_page(tmp_path: Path) -> None:
    async def work() -> None:
        config: Any = {"http": {"app": "./MODULE.py:app"}}
        async with serving(tmp_path, GRAPH + PLAIN, **config) as client:
            assert (await client.get("/docs")).text == "mine"
            assert (await client.get("/openapi.json")).status_code == 200

    asyncio.run(work())


def test_below_a_prefix_they_describe_the_paths_with_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, http={"mount_prefix": "/api"}) as client:
            given = (await client.get("/api/openapi.json")).json()
            assert "/api/threads" in given["paths"] and "/threads" not in given["paths"]
            assert "href='/api/openapi.json'" in (await client.get("/api/docs")).text

    asyncio.run(work())


def test_without_meta_they_are_not_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, http={"disable_meta": True}) as client:
            for path in ("/docs", "/openapi.json", "/metrics", "/info"):
                assert (await client.get(path)).status_code == 404
            assert (await client.get("/ok")).status_code == 200

    asyncio.run(work())
