"""A ``RemoteGraph`` as a node: another server runs it, and its node waits for it on a worker."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from typing_extensions import TypedDict

from distgraph import distribute
from distgraph.graph import StateGraph as OwnStateGraph


class State(TypedDict, total=False):
    question: str
    answer: str


class _Server(BaseHTTPRequestHandler):
    """Answers runs as a LangGraph server does, with server-sent events."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = asked["input"]
        answered = {**given, "answer": given["question"].upper()}
        mode = asked["stream_mode"]
        modes = [mode] if isinstance(mode, str) else mode
        events: list[tuple[str, Any]] = [("metadata", {"run_id": "r", "attempt": 1})]
        if "updates" in modes:
            events.append(("updates", {"far": {"answer": answered["answer"]}}))
        if "values" in modes:
            events += [("values", given), ("values", answered)]
        inner = "|inner:1" if asked.get("stream_subgraphs") else ""
        if "custom" in modes:
            events += [("custom", {"progress": 1}), (f"custom{inner}", {"progress": 2})]
        if "messages-tuple" in modes:
            token = {"type": "AIMessageChunk", "content": "WHY", "id": "m1"}
            events.append((f"messages{inner}", [token, {"langgraph_node": "far"}]))
        body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def built(builder: Any, url: str, **options: Any) -> Any:
    graph = builder(State).add_node("far", RemoteGraph("assistant", url=url))
    graph.add_node("last", lambda state: {"answer": state["answer"] + "!"})
    return graph.add_edge(START, "far").add_edge("far", "last").compile(**options)


MODES = ["updates", "values"]


def test_a_remote_graph_is_a_node(url: str, backend: str) -> None:
    expected = list(built(StateGraph, url).stream({"question": "why"}, stream_mode=MODES))
    assert ("values", {"question": "why", "answer": "WHY!"}) in expected
    graph = distribute(built(StateGraph, url), backend=backend)
    assert list(graph.stream({"question": "why"}, stream_mode=MODES)) == expected
    own = built(OwnStateGraph, url, backend=backend)
    assert list(own.stream({"question": "why"}, stream_mode=MODES)) == expected


def test_a_remote_graph_is_a_node_of_an_async_run(url: str, backend: str) -> None:
    async def main(graph: Any) -> list[Any]:
        return [chunk async for chunk in graph.astream({"question": "why"}, stream_mode=MODES)]

    expected = asyncio.run(main(built(StateGraph, url)))
    assert asyncio.run(main(distribute(built(StateGraph, url), backend=backend))) == expected


def test_what_a_remote_graph_streams_is_seen_under_its_namespace(url: str, backend: str) -> None:
    def chunks(graph: Any) -> list[Any]:
        told = graph.stream({"question": "why"}, stream_mode="updates", subgraphs=True)
        return [([part.split(":")[0] for part in ns], chunk) for ns, chunk in told]

    expected = chunks(built(StateGraph, url))
    assert (["far"], {"far": {"answer": "WHY"}}) in expected
    assert chunks(distribute(built(StateGraph, url), backend=backend)) == expected


ALL_MODES = ["updates", "values", "custom", "messages"]


def without_ids(chunk: Any, subgraphs: bool) -> Any:
    if not subgraphs:
        return chunk
    ns, *rest = chunk
    return ([part.split(":")[0] for part in ns], *rest)


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize(
    "mode", ["custom", "messages", ["custom", "values"], ["messages", "updates"], ALL_MODES]
)
def test_every_mode_of_a_remote_graph_is_streamed_as_in_langgraph(
    url: str, backend: str, mode: Any, subgraphs: bool
) -> None:
    def chunks(graph: Any) -> list[Any]:
        told = graph.stream({"question": "why"}, stream_mode=mode, subgraphs=subgraphs)
        return [without_ids(chunk, subgraphs) for chunk in told]

    expected = chunks(built(StateGraph, url))
    if "custom" in mode and subgraphs:
        named = [chunk for chunk in expected if {"progress": 2} in chunk]
        assert [chunk[0] for chunk in named] == [["far", "inner"]]
    assert chunks(distribute(built(StateGraph, url), backend=backend)) == expected
    assert chunks(built(OwnStateGraph, url, backend=backend)) == expected
