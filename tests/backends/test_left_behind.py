"""Code that goes on in this process when its attempt has ended: as on Ray, its writer raises."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from distgraph.errors import NodeTimeoutError
from distgraph.graph import START, StateGraph
from tests.support.cluster import eventually
from tests.support.graphs import Items


def test_the_writer_of_an_async_node_that_was_left_behind_at_its_limit_raises(
    tmp_path: Path,
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

    graph = StateGraph(Items).add_node("n", node, timeout=0.05).add_edge(START, "n")
    with pytest.raises(NodeTimeoutError):
        list(graph.compile(backend="local").stream({"items": []}, stream_mode="custom"))
    eventually(lambda: told.exists() and told.read_text(), "the writer has raised", 10)
    assert told.read_text().startswith("StreamClosed: attempt 1 of node 'n' in step 1 has ended: ")
