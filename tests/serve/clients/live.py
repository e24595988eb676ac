"""Servers that real clients talk to."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from distgraph.serve.app import application
from distgraph.serve.project import read_project
from distgraph.serve.server import Settings

PROJECT = Path(__file__).parent / "project"


@contextmanager
def serving(folder: Path, *, heartbeat: float = 5.0) -> Iterator[str]:
    """Serve a project with the local backend. Yield the server's URL.

    Args:
        folder: Has ``langgraph.json``; the server's files lie in ``folder/data``.
        heartbeat: Seconds of silence before a heartbeat.
    """
    settings = Settings(folder=folder / "data", heartbeat=heartbeat)
    app = application(read_project(folder / "langgraph.json"), settings)
    config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the server does not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)


def copied(folder: Path) -> Path:
    """Copy the tests' project into a folder, and return it."""
    for file in PROJECT.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return folder
