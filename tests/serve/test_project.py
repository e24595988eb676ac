"""``langgraph.json``: what is read from it, and what its errors say."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from distgraph.cli import main
from distgraph.serve.app import application
from distgraph.serve.errors import ProjectError
from distgraph.serve.expiry import Expiry, TimeToLive
from distgraph.serve.graphs import Graphs
from distgraph.serve.project import load_object, read_project
from distgraph.serve.server import Settings

GRAPH = """
import distgraph
from typing_extensions import TypedDict

class State(TypedDict, total=False):
    text: str

def node(state):
    return {"text": "hello"}

builder = distgraph.StateGraph(State).add_node(node).add_edge(distgraph.START, "node")
graph = builder.compile()
number = 3

async def later():
    return graph
"""


def write(folder: Path, module: str = GRAPH, **config: Any) -> Path:
    """Write a project whose module has a name of its own, and return its langgraph.json."""
    name = f"graphs_of_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(module)
    given = {"dependencies": ["."], "graphs": {"g": f"./{name}.py:graph"}, **config}
    file = folder / "langgraph.json"
    file.write_text(json.dumps(given).replace("MODULE", name))
    return file


def build(file: Path) -> Graphs:
    project = read_project(file)
    project.enter()
    return Graphs(project, backend="local", checkpointer=None)


@pytest.mark.parametrize("name", ["graph", "builder", "later"])
def test_graphs_builders_and_factories_are_accepted(tmp_path: Path, name: str) -> None:
    graphs = build(write(tmp_path, graphs={"g": {"path": f"./MODULE.py:{name}"}}))

    async def result() -> Any:
        async with graphs.opened("g") as graph:
            return await graph.ainvoke({})

    assert asyncio.run(result()) == {"text": "hello"}


def test_a_file_whose_name_is_no_module_name_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "my-agent.py").write_text(GRAPH)
    graphs = build(write(tmp_path, graphs={"g": "./my-agent.py:graph"}))
    assert list(graphs) == ["g"]


def test_a_package_of_src_layout_is_imported_by_its_name(tmp_path: Path) -> None:
    package = tmp_path / "src" / f"pkg_{tmp_path.name.replace('-', '_')}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(GRAPH)
    (package / "agent.py").write_text("from .parts import graph\n")
    file = write(tmp_path, graphs={"g": f"./src/{package.name}/agent.py:graph"})
    project = read_project(file)
    project.enter()
    found = load_object(project, project.graphs[0].path, "graphs.g")
    assert found.builder is not None
    assert f"{package.name}.parts" in sys.modules


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"graphs": {}}, "graphs must name at least one graph"),
        ({"graphs": {"g": "graph"}}, "graphs.g must be 'file.py:name'"),
        ({"graphs": {"g": "./agent.ts:graph"}}, "is a JavaScript graph"),
        ({"graphs": {"g": "./nope.py:graph"}}, "there is no file"),
        ({"graphs": {"g": "./MODULE.py:grap"}}, "has no 'grap'"),
        ({"graphs": {"g": "./MODULE.py:number"}}, "is int: name a compiled graph"),
        ({"env": "nope.env"}, "there is no file"),
        ({"env": 3}, "env must be a file or an object"),
        ({"dependencies": ["./nope"]}, "dependencies names './nope'"),
        ({"dependencies": ["surely-not-installed>=1"]}, "pip install 'surely-not-installed>=1'"),
        ({"http": {"mount_prefix": "api"}}, "http.mount_prefix must begin with /"),
        ({"http": {"middleware_order": "last"}}, "must be auth_first or middleware_first"),
        ({"auth": "auth.py:auth"}, "auth must be an object"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, config: dict[str, Any], part: str) -> None:
    with pytest.raises(ProjectError, match=part.replace("(", "\\(")):
        build(write(tmp_path, **config))


def test_a_module_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="the import of .* failed: ZeroDivisionError"):
        build(write(tmp_path, module="1 / 0"))


def test_a_missing_and_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no .*langgraph\.json"):
        read_project(tmp_path)
    (tmp_path / "langgraph.json").write_text("{")
    with pytest.raises(ProjectError, match="is no JSON"):
        read_project(tmp_path)


def test_unknown_keys_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "distgraph"):
        read_project(write(tmp_path, grphs={}, http={"disable_threds": True}))
    assert "the key grphs is unknown and has no effect. Did you mean 'graphs'?" in caplog.text
    assert (
        "the key http.disable_threds is unknown and has no effect. Did you mean 'disable_threads'?"
        in caplog.text
    )


def test_settings_of_the_checkpointer_without_an_effect_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ttl = {"strategy": "delete", "default_ttl": 60, "often": True}
    with caplog.at_level(logging.WARNING, "distgraph"):
        project = read_project(write(tmp_path, checkpointer={"ttl": ttl, "sede": {}}))
    assert (
        "the key checkpointer.sede is unknown and has no effect. Did you mean 'serde'?"
        in caplog.text
    )
    assert "the key checkpointer.ttl.often is unknown and has no effect." in caplog.text
    assert project.expiry == Expiry(TimeToLive(60.0))


@pytest.mark.parametrize(
    "ttl",
    [
        {"strategy": "archive", "default_ttl": 60},
        {"default_ttl": 0},
        {"sweep_interval_minutes": "often"},
        {"sweep_limit": "all"},
    ],
)
def test_a_wrong_time_to_live_of_threads_is_refused(tmp_path: Path, ttl: Any) -> None:
    with pytest.raises(ProjectError, match="checkpointer.ttl"):
        read_project(write(tmp_path, checkpointer={"ttl": ttl}))


def test_a_thread_whose_time_to_live_has_passed_is_deleted_with_its_checkpoints(
    tmp_path: Path,
) -> None:
    ttl = {"default_ttl": 0.0001, "sweep_interval_minutes": 0.001}
    app = application(read_project(write(tmp_path, checkpointer={"ttl": ttl})))
    asyncio.run(_outlives(app))


async def _outlives(app: Any) -> None:
    """Check that a thread with a longer time to live outlives one with the default."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://served") as client,
    ):
        saver = app.state.server.checkpoints.saver
        kept = (await client.post("/threads", json={"ttl": 60})).json()["thread_id"]
        made = (await client.post("/threads", json={})).json()["thread_id"]
        for thread_id in (kept, made):
            body = {"assistant_id": "g", "input": {}, "if_not_exists": "create"}
            done = await client.post(f"/threads/{thread_id}/runs/wait", json=body, timeout=60)
            assert done.json() == {"text": "hello"}
        with app.state.server.changes.watch(made) as watch:
            while (await client.get(f"/threads/{made}")).status_code != 404:
                await watch.changed(10)
        while await saver.aget_tuple({"configurable": {"thread_id": made}}) is not None:
            await asyncio.sleep(0)
        assert (await client.get(f"/threads/{kept}")).json()["values"] == {"text": "hello"}


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text('SERVED_A="from file"\nSERVED_B=from file\n')
    monkeypatch.setenv("SERVED_B", "from process")
    monkeypatch.setenv("SERVED_A", "")
    monkeypatch.delenv("SERVED_A")
    project = read_project(write(tmp_path, env=".env"))
    project.enter()
    assert (os.environ["SERVED_A"], os.environ["SERVED_B"]) == ("from file", "from process")
    assert "from file" not in repr(project)


OWN = """
from contextlib import asynccontextmanager
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

made = []

@asynccontextmanager
async def saver():
    made.append("saver")
    yield InMemorySaver()
    made.append("saver closed")

def store():
    made.append("store")
    return InMemoryStore()

@asynccontextmanager
async def lifespan(app):
    made.append("app")
    yield
    made.append("app closed")

app = Starlette(routes=[Route("/mine", lambda r: PlainTextResponse("mine"))], lifespan=lifespan)
"""


def test_the_users_own_saver_store_and_application(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        module=GRAPH + OWN,
        checkpointer={"path": "./MODULE.py:saver"},
        store={"path": "./MODULE.py:store"},
        http={"app": "./MODULE.py:app", "mount_prefix": "/api", "disable_store": True},
    )

    async def check() -> None:
        app = application(read_project(file), Settings(folder=tmp_path / "data"))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://served") as client:
                assert (await client.get("/mine")).text == "mine"
                result = await client.post(
                    "/api/runs/wait", json={"assistant_id": "g", "input": {"text": "x"}}
                )
                assert result.json() == {"text": "hello"}
                assert result.headers["location"].startswith("/api/threads/")
                assert (await client.post("/api/store/namespaces", json={})).status_code == 404
            assert not list((tmp_path / "data").glob("checkpoints*"))

    asyncio.run(check())
    module = sys.modules[f"graphs_of_{tmp_path.name.replace('-', '_')}"]
    assert module.made == ["app", "saver", "store", "saver closed", "app closed"]


COUNTING = """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

class Counting(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers.append("x-passed", request.url.path)
        return response

mine = Route("/mine", lambda request: PlainTextResponse("mine"))
app = Starlette(routes=[mine], middleware=[Middleware(Counting)])
"""


@pytest.mark.parametrize("order", ["middleware_first", "auth_first"])
def test_middleware_of_the_users_application_is_for_all_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setenv("DISTGRAPH_API_KEY", "secret")
    http = {"app": "./MODULE.py:app", "middleware_order": order}
    file = write(tmp_path, module=GRAPH + COUNTING, http=http)

    async def check() -> None:
        app = application(read_project(file), Settings(folder=tmp_path / "data"))
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://served") as client,
        ):
            for path in ("/mine", "/assistants/g"):
                found = await client.get(path, headers={"x-api-key": "secret"})
                assert (found.status_code, found.headers["x-passed"]) == (200, path)
                refused = await client.get(path)
                assert refused.status_code == 401
                assert ("x-passed" in refused.headers) == (order == "middleware_first")
            body = {"assistant_id": "g", "input": {}, "stream_mode": "updates"}
            streamed = await client.post(
                "/runs/stream", json=body, headers={"x-api-key": "secret"}, timeout=30
            )
            assert streamed.headers["x-passed"] == "/runs/stream"
            assert "event: updates" in streamed.text

    asyncio.run(check())


def test_the_command_refuses_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTGRAPH_API_KEY", raising=False)
    assert main(["serve", str(tmp_path), "--local"]) == 1
    assert "there is no" in capsys.readouterr().err
    file = str(write(tmp_path))
    assert main(["serve", file, "--local", "--host", "0.0.0.0"]) == 1
    assert "set DISTGRAPH_API_KEY or give --api-key" in capsys.readouterr().err
    assert main(["serve", file, "--local", "--database", "mysql://x"]) == 1
    assert "PostgreSQL" in capsys.readouterr().err
