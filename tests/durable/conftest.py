"""Savers of every kind, fresh for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.differential import Differ
from tests.support.engines import DISTRIBUTED, REFERENCE, Engine, selected


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A checkpoint saver: in memory, on a SQLite file, and on a PostgreSQL on loopback."""
    if request.param == "memory":
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver()
        return
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            from langgraph.checkpoint.sqlite import SqliteSaver

            path = str(tmp_path / "threads.sqlite")
            yield stack.enter_context(SqliteSaver.from_conn_string(path))
        else:
            from langgraph.checkpoint.postgres import PostgresSaver

            uri = request.getfixturevalue("postgres").new_database()
            made = stack.enter_context(PostgresSaver.from_conn_string(uri))
            made.setup()
            yield made


@pytest.fixture(params=[name for name in ("local", DISTRIBUTED) if name in selected()])
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Differ:
    """Compares the reference with what runs in this process, Ray left out."""
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")
    return Differ(Engine(REFERENCE), Engine(request.param))
