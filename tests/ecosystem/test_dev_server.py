"""LangGraph's dev server serves a distributed graph, and its SDK drives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph_api", reason="needs langgraph-cli[inmem]")

from langgraph_sdk import get_client, get_sync_client

from tests.ecosystem.dev_server import dev_server
from tests.support.differential import assert_same
from tests.support.normalise import Item, Normaliser, per_task

GRAPHS = Path(__file__).with_name("served_graphs.py")
MODES: Any = ["values", "updates", "custom"]
OURS = [
    "local",
    pytest.param("ray", marks=pytest.mark.ray),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the three graphs."""
    folder = tmp_path_factory.mktemp("server")
    names = {name: f"{GRAPHS}:{name}" for name in ("langgraph", "local", "ray")}
    (folder / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": names}))
    with dev_server(folder) as address:
        yield address


def _items(chunks: list[Any]) -> list[Item]:
    return [Item((), chunk.event, chunk.data) for chunk in chunks if chunk.event != "metadata"]


def _state(state: Any) -> list[Any]:
    questions = [question["value"] for question in state["interrupts"]]
    return [state["values"], state["next"], questions, state["metadata"]["step"]]


def converse(address: str, graph: str) -> tuple[list[list[Item]], list[Any]]:
    client = get_sync_client(url=address)
    thread = client.threads.create()["thread_id"]
    runs = client.runs
    given = {"words": ["one", "three"]}
    streams = [list(runs.stream(thread, graph, input=given, stream_mode=MODES))]
    states = [_state(client.threads.get_state(thread))]
    answer: Any = {"resume": "fine"}
    streams.append(list(runs.stream(thread, graph, command=answer, stream_mode=MODES)))
    states.append(_state(client.threads.get_state(thread)))
    states.append([_state(state) for state in client.threads.get_history(thread)])
    client.threads.update_state(thread, {"answer": "other"}, as_node="ask")
    states.append(_state(client.threads.get_state(thread)))
    states.append(Normaliser()(runs.wait(None, graph, input={"words": ["a"]})))
    (assistant,) = client.assistants.search(graph_id=graph)
    states.append(client.assistants.get_graph(assistant["assistant_id"]))
    schemas = client.assistants.get_schemas(assistant["assistant_id"])
    states.append([schemas["input_schema"], schemas["output_schema"]])
    return [_items(stream) for stream in streams], states


async def aconverse(address: str, graph: str) -> tuple[list[list[Item]], list[Any]]:
    client = get_client(url=address)
    thread = (await client.threads.create())["thread_id"]
    given = {"words": ["one", "three"]}
    stream = client.runs.stream(thread, graph, input=given, stream_mode=MODES)
    streams = [[chunk async for chunk in stream]]
    states = [_state(await client.threads.get_state(thread))]
    answer: Any = {"resume": "fine"}
    joined = client.runs.stream(thread, graph, command=answer, stream_mode=MODES)
    streams.append([chunk async for chunk in joined])
    states.append(_state(await client.threads.get_state(thread)))
    return [_items(stream) for stream in streams], states


def _task(item: Item) -> Any:
    """Name the task of a chunk: the two that measure run in parallel."""
    if item.mode == "custom":
        return item.payload["measuring"]
    return repr(item.payload) if "measure" in item.payload else None


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("graph", OURS)
def test_the_server_serves_a_distributed_graph(server: str, graph: str, face: str) -> None:
    def conversation(name: str) -> tuple[list[list[Item]], list[Any]]:
        if face == "async":
            return asyncio.run(aconverse(server, name))
        return converse(server, name)

    (wanted, states), (got, ours) = conversation("langgraph"), conversation(graph)
    for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
        assert one, "nothing was streamed"
        assert_same(f"run {number}", per_task(other, _task), per_task(one, _task))
    assert_same("states", ours, states)
