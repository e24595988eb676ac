"""Tokens without LangChain: the ``openai`` client in an async node, its tokens as custom data.

With OPENAI_API_KEY or OPENAI_BASE_URL set, that endpoint (and OPENAI_MODEL) is used. Otherwise this
file serves a tiny endpoint of its own on the loopback interface, which answers with the words of
the question.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypedDict

from openai import AsyncOpenAI

from distgraph.graph import START, StateGraph
from distgraph.types import StreamWriter

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


class State(TypedDict, total=False):
    """The state of the run."""

    topic: str
    joke: str
    poem: str


class Echo(BaseHTTPRequestHandler):
    """Answers a chat completion with the words of the question, streamed as server-sent events."""

    def do_POST(self) -> None:
        """Serve ``/chat/completions``."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        words = f"[echo] {body['messages'][-1]['content']}".split(" ")
        for index, word in enumerate(words):
            delta = {"role": "assistant", "content": word if index == 0 else f" {word}"}
            self._event(delta, None)
        self._event({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, delta: dict[str, str], finish: str | None) -> None:
        chunk = {
            "id": "echo",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "echo",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def build_graph(client: AsyncOpenAI, model: str) -> Any:
    """Build a graph whose node holds the client; the client is rebuilt on the worker."""

    async def stream_tokens(question: str) -> AsyncIterator[dict[str, Any]]:
        response = await client.chat.completions.create(
            messages=[{"role": "user", "content": question}], model=model, stream=True
        )
        role = None
        async for chunk in response:
            delta = chunk.choices[0].delta
            role = delta.role or role
            if delta.content:
                yield {"role": role, "content": delta.content}

    async def call_model(state: State, config: RunnableConfig, writer: StreamWriter) -> State:
        written = {"joke": "", "poem": ""}
        for kind in written:
            async for token in stream_tokens(f"Write a {kind} about {state['topic']}"):
                written[kind] += token["content"]
                writer((token, {**config["metadata"], "tags": [kind]}))
        return {"joke": written["joke"], "poem": written["poem"]}

    return StateGraph(State).add_node(call_model).add_edge(START, "call_model").compile()


async def main() -> None:
    """Print the tokens of both answers, then those of one only."""
    server = None
    model = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        client = AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY", "unused"))
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        print(f"no endpoint is configured: {address} echoes the questions")
        client = AsyncOpenAI(base_url=address, api_key="unused")
    graph = build_graph(client, model)
    async for token, metadata in graph.astream({"topic": "cats"}, stream_mode="custom"):
        print(f"{metadata['langgraph_node']} {metadata['tags']} {token['content']!r}")

    print("\nonly the poem:")
    async for token, metadata in graph.astream({"topic": "cats"}, stream_mode="custom"):
        if "poem" in metadata["tags"]:
            print(token["content"], end="|", flush=True)
    print()
    await client.close()
    if server is not None:
        server.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
