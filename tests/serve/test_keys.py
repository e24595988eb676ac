"""Every key of ``langgraph.json`` has its effect, or is refused or reported by its name."""

from __future__ import annotations

import asyncio
import logging
import platform
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import httpx
import pytest

from distgraph.serve.app import application
from distgraph.serve.errors import ProjectError, RequestError
from distgraph.serve.headers import HeaderRules
from distgraph.serve.keys import KEYS
from distgraph.serve.project import read_project
from distgraph.serve.server import Settings
from tests.serve.test_project import GRAPH, write

PAGE = Path(__file__).parents[2] / "docs" / "deploy" / "serve-keys.md"

SHOWING = """
import distgraph
from typing import Any
from typing_extensions import TypedDict

class State(TypedDict, total=False):
    seen: Any

def node(state, config):
    found = config["configurable"]
    return {"seen": {k: v for k, v in found.items() if "-" in k or k == "thread_id"}}

graph = distgraph.StateGraph(State).add_node(node).add_edge(distgraph.START, "node").compile()
"""


@asynccontextmanager
async def served(file: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = application(read_project(file), Settings(folder=file.parent / "data"))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://served") as client:
            client.app = app  # type: ignore[attr-defined]
            yield client


def paths(known: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, effect in known.items():
        yield prefix + key
        if isinstance(effect, Mapping):
            yield from paths(effect, f"{prefix}{key}.")


def of_schema(schema: type, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a typed dict, and those of the typed dicts in it."""
    for key, kind in get_type_hints(schema).items():
        if key.startswith("_") or prefix + key in ("source", "graphs"):
            yield from () if key.startswith("_") else [prefix + key]
            continue
        yield prefix + key
        inner = [each for each in (kind, *get_args(kind)) if hasattr(each, "__total__")]
        for each in inner:
            if get_origin(each) is None and prefix + key not in ("auth.openapi", "auth.cache"):
                yield from of_schema(each, f"{prefix}{key}.")


def test_every_key_of_langgraph_cli_is_known() -> None:
    schemas = pytest.importorskip("langgraph_cli.schemas", reason="needs langgraph-cli")
    known = set(paths(KEYS))
    # of its kind, nothing is known below
    found = {
        key for key in of_schema(schemas.Config) if not key.startswith("http.logging_headers.")
    }
    found = {key for key in found if not key.startswith(("encryption.", "priority."))}
    assert found - known == set()
    assert {"http.configurable_headers.includes", "webhooks.url.allowed_ports"} <= found


def test_every_key_is_on_the_page() -> None:
    told = set(re.findall(r"`([a-z0-9$_.]+)`", PAGE.read_text(encoding="utf-8")))
    older = {"http.configurable_headers.include", "http.configurable_headers.exclude"}
    assert set(paths(KEYS)) - told - older == set()


def test_keys_without_an_effect_are_told_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "distgraph"):
        read_project(
            write(
                tmp_path,
                base_image="x",
                priority={"path": "./p.py:p"},
                auth={"openapi": {"security": []}, "cache": {"ttl": 5}},
                http={"enable_custom_route_auth": False, "disable_a2a": True},
                python_version="2.7",
                node_version=None,
            )
        )
    file = tmp_path / "langgraph.json"
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: base_image has no effect: it describes the image that langgraph-cli builds, and "
        "distgraph builds none",
        f"{file}: priority has no effect: runs start in the order in which they were made",
        f"{file}: auth.cache has no effect: authenticate is called for each request",
        f"{file}: python_version is 2.7, and this is Python {platform.python_version()}: the "
        "server runs with the Python that starts it",
        f"{file}: http.enable_custom_route_auth: false has no effect: who asks is checked on the "
        "routes of http.app, too",
    ]


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"encryption": {"path": "./e.py:e"}}, "encryption is not supported"),
        ({"store": {"index": [3]}}, "store.index must be an object, got [3]"),
        ({"http": {"cors": "*"}}, "http.cors must be an object, got '*'"),
        (
            {"http": {"configurable_headers": {"includes": "x-*"}}},
            "http.configurable_headers.includes must be a list of names of headers, got 'x-*'",
        ),
        ({"webhooks": {"headers": {"a": 1}}}, "webhooks.headers must be an object of strings"),
        (
            {"webhooks": {"url": {"allowed_ports": ["443"]}}},
            "webhooks.url.allowed_ports must be a list of numbers of ports, got ['443']",
        ),
    ],
)
def test_what_must_not_be_ignored_is_refused(
    tmp_path: Path, config: dict[str, Any], part: str
) -> None:
    with pytest.raises(ProjectError, match=re.escape(part)):
        read_project(write(tmp_path, **config))


# --- headers --------------------------------------------------------------------------------------

SENT = {"X-User-Id": "ann", "X-Secret": "s", "X-Api-Key": "k", "Other-Name": "o", "Team-A": "a"}


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, {"x-user-id", "x-secret"}),
        ({"excludes": ["*secret*"]}, {"x-user-id"}),
        ({"excludes": ["*"]}, set()),
        ({"includes": ["x-user-id", "TEAM-*"], "excludes": []}, {"x-user-id", "team-a"}),
        ({"include": ["x-*", "x-api-key"], "exclude": ["x-s*"]}, {"x-user-id", "x-api-key"}),
    ],
)
def test_which_headers_are_included(given: dict[str, Any], seen: set[str]) -> None:
    expected = {name.lower(): value for name, value in SENT.items() if name.lower() in seen}
    assert HeaderRules.of(given).chosen(SENT) == expected


@pytest.mark.parametrize("is_given", [False, True])
def test_headers_that_are_included_are_in_the_config_of_the_run(
    tmp_path: Path, is_given: bool
) -> None:
    http = {"configurable_headers": {"includes": ["x-user-id"]}} if is_given else {}

    async def check() -> None:
        async with served(write(tmp_path, module=SHOWING, http=http)) as client:
            thread_id = (await client.post("/threads", json={})).json()["thread_id"]
            configurable = {"x-user-id": "of the body", "thread_id": "of the body"}
            done = await client.post(
                f"/threads/{thread_id}/runs/wait",
                json={"assistant_id": "g", "input": {}, "config": {"configurable": configurable}},
                headers=SENT,
                timeout=60,
            )
            who = "ann" if is_given else "of the body"
            assert done.json()["seen"] == {"x-user-id": who, "thread_id": thread_id}
            runs = (await client.get(f"/threads/{thread_id}/runs")).json()
            assert "headers" not in runs[0]["kwargs"]

    asyncio.run(check())


# --- what is switched off -------------------------------------------------------------------------


PATHS = {
    "assistants": ["/assistants/search"],
    "threads": ["/threads/search"],
    "runs": ["/runs/wait", "/runs/crons/search"],
    "store": ["/store/items/search"],
    "meta": ["/info"],
}


@pytest.mark.parametrize("gone", [{"assistants", "runs"}, {"threads", "store", "meta"}])
def test_groups_of_endpoints_can_be_switched_off(tmp_path: Path, gone: set[str]) -> None:
    async def check() -> None:
        http = {f"disable_{name}": name in gone for name in PATHS}
        async with served(write(tmp_path, http=http)) as client:
            body = {"assistant_id": "g", "input": {}, "namespace_prefix": []}
            for name, paths_of in PATHS.items():
                for path in paths_of:
                    method = "GET" if name == "meta" else "POST"
                    answered = await client.request(method, path, json=body, timeout=60)
                    assert answered.status_code == (404 if name in gone else 200), path
            assert (await client.get("/ok")).json() == {"ok": True}

    asyncio.run(check())


# --- webhooks -------------------------------------------------------------------------------------


@contextmanager
def receiving() -> Iterator[tuple[str, list[Any], threading.Event]]:
    """Receive webhooks: yield the URL, the headers that came, and what says that some did."""
    came: list[Any] = []
    event = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            came.append(self.headers)
            self.send_response(200)
            self.end_headers()
            event.set()

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", came, event
        server.shutdown()


def test_webhooks_carry_the_headers_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LG_WEBHOOK_KEY", "secret")
    headers = {"authorization": "Bearer ${{ env.LG_WEBHOOK_KEY }}", "x-from": "here"}

    async def check() -> None:
        with receiving() as (url, came, event):
            file = write(tmp_path, webhooks={"headers": headers})
            async with served(file) as client:
                body = {"assistant_id": "g", "input": {}, "webhook": url}
                assert (await client.post("/runs/wait", json=body, timeout=60)).status_code == 200
                assert await asyncio.to_thread(event.wait, 30)
        assert (came[0]["authorization"], came[0]["x-from"]) == ("Bearer secret", "here")

    asyncio.run(check())


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("LG_WEBHOOK_NONE", "names the variable LG_WEBHOOK_NONE, which is not set"),
        ("PATH", "names must begin with LG_WEBHOOK_"),
    ],
)
def test_a_variable_that_cannot_be_used_ends_the_start(
    tmp_path: Path, name: str, part: str
) -> None:
    file = write(tmp_path, webhooks={"headers": {"a": f"${{{{ env.{name} }}}}"}})

    async def check() -> None:
        async with served(file):
            pass

    with pytest.raises(ProjectError, match=part):
        asyncio.run(check())


RULES = {
    "require_https": True,
    "allowed_domains": ["hooks.example.com", "*.corp.example"],
    "allowed_ports": [443, 8443],
    "max_url_length": 60,
}


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("https://hooks.example.com/x", None),
        ("https://a.corp.example:8443/x", None),
        ("http://hooks.example.com:443/x", "must be an https URL"),
        ("https://corp.example/x", "may not go to 'corp.example': webhooks.url.allowed_domains"),
        ("https://hooks.example.com@evil.example/x", "may not go to 'evil.example'"),
        ("https://hooks.example.com:9/x", "may not go to port 9: webhooks.url.allowed_ports"),
        ("https://hooks.example.com/" + "x" * 60, "more than 60 characters"),
        ("https:///x", "webhook must be a URL: it names no host"),
    ],
)
def test_where_webhooks_may_go(tmp_path: Path, url: str, detail: str | None) -> None:
    rules = read_project(write(tmp_path, webhooks={"url": RULES})).webhooks
    if detail is None:
        rules.check(url)
        return
    with pytest.raises(RequestError, match=re.escape(detail)) as caught:
        rules.check(url)
    assert caught.value.status == 422


def test_a_run_and_a_cron_with_a_webhook_that_may_not_be_are_refused(tmp_path: Path) -> None:
    async def check() -> None:
        async with served(write(tmp_path, webhooks={"url": RULES})) as client:
            body = {"assistant_id": "g", "webhook": "http://x.example", "schedule": "0 9 * * 1"}
            cron = await client.post("/runs/crons", json={**body, "webhook": None})
            for method, path in (
                ("POST", "/runs/wait"),
                ("POST", "/runs/crons"),
                ("PATCH", f"/runs/crons/{cron.json()['cron_id']}"),
            ):
                refused = await client.request(method, path, json=body)
                assert refused.status_code == 422
                assert refused.json() == {
                    "detail": "webhook must be an https URL, got 'http://x.example'"
                }

    asyncio.run(check())


def test_no_webhook_is_sent_where_they_are_switched_off(tmp_path: Path) -> None:
    async def check() -> None:
        with receiving() as (url, came, _):
            async with served(write(tmp_path, http={"disable_webhooks": True})) as client:
                body = {"assistant_id": "g", "input": {}, "webhook": url}
                done = await client.post("/runs/wait", json=body, timeout=60)
                assert done.json() == {"text": "hello"}
                runner = client.app.state.server.runner  # type: ignore[attr-defined]
                while runner._tasks:
                    await asyncio.sleep(0)
        assert came == []

    asyncio.run(check())


# --- saver and store ------------------------------------------------------------------------------


def test_the_serializer_of_the_saver_is_what_the_project_says(tmp_path: Path) -> None:
    serde = {"allowed_msgpack_modules": [["a", "B"]], "allowed_json_modules": True}

    async def check() -> None:
        async with served(write(tmp_path, checkpointer={"serde": serde})) as client:
            found = client.app.state.server.checkpoints.saver.serde  # type: ignore[attr-defined]
            assert found._allowed_msgpack_modules == {("a", "B")}
            assert (found._allowed_json_modules, found.pickle_fallback) == (True, True)

    asyncio.run(check())


def test_items_of_the_store_are_deleted_after_their_time(tmp_path: Path) -> None:
    ttl = {"default_ttl": 0.0001, "sweep_interval_minutes": 0.001, "refresh_on_read": False}

    async def check() -> None:
        async with served(write(tmp_path, store={"ttl": ttl})) as client:
            store = client.app.state.server.store  # type: ignore[attr-defined]
            await store.aput(("a",), "k", {"v": 1})
            while await store.conn.execute_fetchall("SELECT key FROM store"):
                await asyncio.sleep(0.01)

    asyncio.run(check())


# --- threads that are shortened -------------------------------------------------------------------


def test_threads_whose_time_has_passed_keep_their_newest_checkpoint(tmp_path: Path) -> None:
    ttl = {"strategy": "keep_latest", "default_ttl": 0.0001, "sweep_interval_minutes": 0.001}

    async def check() -> None:
        async with served(write(tmp_path, checkpointer={"ttl": ttl})) as client:
            made = (await client.post("/threads", json={})).json()["thread_id"]
            saver = client.app.state.server.checkpoints.saver  # type: ignore[attr-defined]
            config = {"configurable": {"thread_id": made}}
            for _ in range(2):  # it is shortened again after its next run
                body = {"assistant_id": "g", "input": {"text": "x"}}
                done = await client.post(f"/threads/{made}/runs/wait", json=body, timeout=60)
                assert done.json() == {"text": "hello"}
                while len(list(saver.list(config))) != 1:
                    await asyncio.sleep(0.01)
                found = await client.get(f"/threads/{made}", params={"include": "ttl"})
                assert found.json()["values"] == {"text": "hello"}
                assert found.json()["ttl"]["strategy"] == "keep_latest"

    asyncio.run(check())


def test_a_saver_that_cannot_delete_single_checkpoints_is_refused(tmp_path: Path) -> None:
    own = "\nfrom langgraph.checkpoint.memory import InMemorySaver as Base\n"
    own += "class Own(Base): pass\nsaver = Own()\n"
    path = "./MODULE.py:saver"
    ttl = {"strategy": "keep_latest", "default_ttl": 5}

    async def check() -> None:
        file = write(tmp_path, module=GRAPH + own, checkpointer={"path": path, "ttl": ttl})
        with pytest.raises(ProjectError, match="the saver Own of checkpointer.path cannot delete"):
            async with served(file):
                pass
        async with served(
            write(tmp_path, module=GRAPH + own, checkpointer={"path": path})
        ) as client:
            body = {"ttl": {"ttl": 5, "strategy": "keep_latest"}}
            assert (await client.post("/threads", json=body)).status_code == 422

    asyncio.run(check())
