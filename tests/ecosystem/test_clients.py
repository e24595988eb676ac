"""Sessions, clients and engines of libraries, captured by a node of another process."""

from __future__ import annotations

import asyncio
import importlib
import operator
import socketserver
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from distgraph import distribute
from distgraph.errors import SerializationError
from tests.support.elsewhere import main_program


class Found(TypedDict):
    found: Annotated[list[Any], operator.add]


def graph_of(node: Any) -> Any:
    return StateGraph(Found).add_node("node", node).add_edge(START, "node").compile()


@asynccontextmanager
async def _server(web: Any) -> AsyncIterator[str]:
    async def shown(request: Any) -> Any:
        return web.Response(text=request.headers.get("x-tag", "none"))

    app = web.Application()
    app.router.add_get("/", shown)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


def test_an_aiohttp_session_is_opened_where_it_is_used(backend: str) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="needs aiohttp")
    web = pytest.importorskip("aiohttp.web")

    async def run() -> list[Any]:
        async with _server(web) as url, aiohttp.ClientSession() as session:
            session.headers["x-tag"] = "mine"

            async def node(state: Found) -> Any:
                async with session.get(url) as response:
                    return {"found": [await response.text(), type(session).__name__]}

            graph = distribute(graph_of(node), backend=backend)
            return [(await graph.ainvoke({"found": []}))["found"] for _ in range(2)]

    assert asyncio.run(run()) == [["mine", "ClientSession"]] * 2


def test_a_requests_session_keeps_its_settings(backend: str) -> None:
    requests = pytest.importorskip("requests", reason="needs requests")
    session = requests.Session()
    session.headers["x-tag"] = "mine"
    session.cookies.set("a", "b")
    graph = graph_of(lambda state: {"found": [session.headers["x-tag"], session.cookies["a"]]})
    found = distribute(graph, backend=backend).invoke({"found": []})["found"]
    assert found == ["mine", "b"]


def test_an_engine_of_sqlalchemy_connects_anew(backend: str, tmp_path: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'db'}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table t as select 7 as x"))

    def node(state: Found) -> Any:
        with engine.connect() as connection:
            return {"found": [connection.execute(sqlalchemy.text("select x from t")).scalar()]}

    assert distribute(graph_of(node), backend=backend).invoke({"found": []})["found"] == [7]


class _Answers(socketserver.StreamRequestHandler):
    """Answers each command of redis: GET with the key itself, others with OK."""

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            if words[0].upper() == b"GET":
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(words[1]), words[1]))
            else:
                self.wfile.write(b"+OK\r\n")


def test_clients_of_redis_connect_anew_with_their_settings(backend: str) -> None:
    redis = pytest.importorskip("redis", reason="needs redis")
    importlib.import_module("redis.asyncio")

    async def run(port: int) -> Any:
        there = {"host": "127.0.0.1", "port": port, "protocol": 2}
        pool = redis.BlockingConnectionPool(timeout=7, **there)
        blocking = redis.Redis(connection_pool=pool)
        waiting = redis.asyncio.Redis(decode_responses=True, **there)
        assert (blocking.get("home"), await waiting.get("home")) == (b"home", "home")

        async def node(state: Found) -> Any:
            got = [blocking.get("there"), await waiting.get("there")]
            return {"found": [*got, blocking.connection_pool.timeout]}

        graph = distribute(graph_of(node), backend=backend)
        try:
            return (await graph.ainvoke({"found": []}))["found"]
        finally:
            await waiting.aclose()
            blocking.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert asyncio.run(run(server.server_address[1])) == [b"there", "there", 7]
        server.shutdown()


@pytest.mark.ray
def test_an_engine_of_a_database_in_memory_is_refused(ray_session: Any) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")
    script = main_program(
        "def node(state): return {'found': [engine.url]}\n",
        engine=sqlalchemy.create_engine("sqlite://"),
    )
    with pytest.raises(SerializationError, match=r"'engine'.*a SQLite database in memory"):
        distribute(graph_of(script["node"]), backend="ray")
