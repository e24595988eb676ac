"""Code that goes on in its process when its attempt has ended: its writer raises."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from distgraph.errors import NodeTimeoutError
from distgraph.graph import START, StateGraph
from distgraph.worker.deadline import left_behind
from tests.support.cluster import eventually
from tests.support.engines import Engine
from tests.support.graphs import Items


def test_the_writer_of_an_async_node_that_was_left_behind_at_its_limit_raises(
    ours: Engine, tmp_path: Path
) -> None:
    told = tmp_path / "told"

    async def node(state: Items, writer: Any) -> None:
        while True:
            try:
                await asyncio.sleep(0.01)
                writer("more")
            except asyncio.CancelledError:
                continue
            except Exception as error:
                told.write_text(f"{type(error).__name__}: {error}")
                return

    graph = ours.StateGraph(Items).add_node("n", node, timeout=0.05).add_edge(ours.START, "n")
    with pytest.raises(NodeTimeoutError):
        list(ours.compile(graph).stream({"items": []}, stream_mode="custom"))
    eventually(lambda: told.exists() and told.read_text(), "the writer has raised")
    assert told.read_text().startswith("StreamClosed: attempt 1 of node 'n' in step 1 has ended: ")


def test_an_async_node_that_was_left_behind_at_its_limit_counts_as_such_until_it_ends() -> None:
    gate = threading.Event()

    async def node(state: Items) -> None:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    graph = StateGraph(Items).add_node("n", node, timeout=0.05).add_edge(START, "n")
    others = set(left_behind._since)  # code of tests before, which ends when it likes to
    try:
        with pytest.raises(NodeTimeoutError):
            graph.compile(backend="local").invoke({"items": []})
        assert len(set(left_behind._since) - others) == 1
    finally:
        gate.set()
    eventually(lambda: set(left_behind._since) <= others, "the code has ended")


def test_an_async_node_that_goes_on_behind_its_cancel_is_told_that_its_events_are_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = threading.Event()

    async def node(state: Items, writer: Any) -> None:
        while not gate.is_set():
            try:
                writer("more")
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    graph = StateGraph(Items).add_node("n", node).add_edge(START, "n").compile(backend="local")
    caplog.set_level(logging.WARNING, "distgraph")
    told = (
        "node 'n', step 1, attempt 1 was cancelled, goes on and emits events: they are lost, for "
        "its run has ended. Let CancelledError pass, or end soon behind it"
    )
    try:
        stream = graph.stream({"items": []}, stream_mode="custom")
        assert next(stream) == "more"
        stream.close()
        eventually(lambda: told in caplog.messages, "the loss is told")
    finally:
        gate.set()
    assert caplog.messages.count(told) == 1
