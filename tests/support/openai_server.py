"""An OpenAI-compatible chat endpoint on loopback, for tests with real clients.

One thread with one event loop serves any number of connections. Replies are scripted; each is sent
whole or streamed word by word at a set pace, in the wire format of ``/v1/chat/completions``.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Reply = str | Callable[[dict[str, Any]], str]
"""A text, or what makes one of the request's body. Without any, the last message is echoed."""


def words(text: str) -> list[str]:
    """Split into the pieces that are streamed: each word with the space after it."""
    return re.findall(r"\S+\s*", text)


def echo(body: dict[str, Any]) -> str:
    """Return ``echo: `` and the text of the last message."""
    return f"echo: {body['messages'][-1]['content']}"


class OpenAIServer:
    """Serves while it is entered. ``base_url`` is what a client is given.

    Args:
        replies: Served in turn, the last one again and again; empty: an echo.
        interval: Seconds before each streamed word.
        status: HTTP status of every answer; above 399 the reply is an error's message.

    Attributes:
        requests: The bodies received so far, each with its ``authorization`` header.
    """

    def __init__(
        self, replies: Sequence[Reply] = (), *, interval: float = 0.0, status: int = 200
    ) -> None:
        self.replies = list(replies)
        self.interval = interval
        self.status = status
        self.requests: list[dict[str, Any]] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._serve, name="openai-server", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader)) is not None:
                await self._answer(*request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or the server closes
        finally:
            writer.close()

    async def _answer(
        self, path: str, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        number = len(self.requests)
        self.requests.append({**body, "authorization": headers.get("authorization")})
        if not path.endswith("/chat/completions"):
            await _send_json(writer, 404, {"error": {"message": f"no such path: {path}"}})
            return
        script: Reply = self.replies[min(number, len(self.replies) - 1)] if self.replies else echo
        text = script(body) if callable(script) else script
        if self.status >= 400:
            await _send_json(writer, self.status, {"error": {"message": text, "type": "test"}})
        elif body.get("stream"):
            await self._stream(writer, number, body, text)
        else:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = _usage(text)
            whole = {**_head(number, body, "chat.completion"), "choices": [choice], "usage": usage}
            await _send_json(writer, 200, whole)

    async def _stream(
        self, writer: asyncio.StreamWriter, number: int, body: dict[str, Any], text: str
    ) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        head = _head(number, body, "chat.completion.chunk")
        for choice in _choices(text):
            if choice["delta"].get("content") and self.interval:
                await asyncio.sleep(self.interval)
            await _send_event(writer, json.dumps({**head, "choices": [choice]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            await _send_event(writer, json.dumps({**head, "choices": [], "usage": _usage(text)}))
        await _send_event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _choices(text: str) -> Iterator[dict[str, Any]]:
    def choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "finish_reason": reason}

    yield choice({"role": "assistant", "content": ""})
    for word in words(text):
        yield choice({"content": word})
    yield choice({}, "stop")


def _head(number: int, body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number}",
        "object": kind,
        "created": 0,
        "model": body.get("model", "test"),
    }


def _usage(text: str) -> dict[str, int]:
    count = len(words(text))
    return {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}


async def _read_request(
    reader: asyncio.StreamReader,
) -> tuple[str, dict[str, str], dict[str, Any]] | None:
    line = await reader.readline()
    if not line:
        return None
    path = line.split()[1].decode()
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return path, headers, json.loads(raw) if raw else {}


async def _send_json(writer: asyncio.StreamWriter, status: int, value: Any) -> None:
    raw = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
    writer.write(head.encode() + b"\r\n\r\n" + raw)
    await writer.drain()


async def _send_event(writer: asyncio.StreamWriter, data: str) -> None:
    raw = f"data: {data}\n\n".encode()
    writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
    await writer.drain()
