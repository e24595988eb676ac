"""A server of the test project: in this process through ASGI, and on a socket for real clients."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from distgraph.serve.app import application
from distgraph.serve.project import read_project
from distgraph.serve.server import Settings

PROJECT = Path(__file__).parent / "project"


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the test project through ASGI: responses arrive whole."""
    app = application(read_project(PROJECT), Settings(folder=folder, **settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://served", timeout=60
        ) as client:
            client.app = app  # type: ignore[attr-defined]
            yield client


class SocketServer:
    """A server on a socket of this machine, in a thread."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.app = application(read_project(PROJECT), Settings(folder=folder, **settings))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def __enter__(self) -> SocketServer:
        self._thread.start()
        for _ in range(300):
            if self._server.started or not self._thread.is_alive():
                break
            self._thread.join(0.05)
        assert self._server.started
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketServer]:
    """One server on a socket for all tests; each test uses threads of its own."""
    with SocketServer(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def http(server: SocketServer) -> Iterator[httpx.Client]:
    """A plain HTTP client of the server."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
