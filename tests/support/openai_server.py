"""An OpenAI-compatible chat endpoint on loopback, for tests with real clients.

One thread with one event loop serves any number of connections, from any process of this machine.
Answers are scripted; each is sent whole or streamed piece by piece at a set pace, in the wire
format of ``/v1/chat/completions``, and may break off, hold, fail or be a recording.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.openai_replies import Answer, Call, Reply, echo, events, whole, words

__all__ = ("Answer", "Call", "OpenAIServer", "Reply", "echo", "words")


class OpenAIServer:
    """Serves while it is entered. ``base_url`` is what a client is given.

    Args:
        replies: Served in turn, the last one again and again; empty: an echo.
        interval: Seconds before each streamed piece.
        status: HTTP status of every answer; above 399 the reply is an error's message.

    Attributes:
        requests: The bodies received so far, each with its ``authorization`` header.
        headers: The headers of each of them, names in lower case.
        hung_up: Streams that their client closed before the end.
    """

    def __init__(
        self, replies: Sequence[Reply] = (), *, interval: float = 0.0, status: int = 200
    ) -> None:
        self.replies = list(replies)
        self.interval = interval
        self.status = status
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = 0
        self.port = 0
        self._rewound = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._held: asyncio.Semaphore | None = None
        self._thread = threading.Thread(target=self._serve, name="openai-server", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def rewind(self) -> None:
        """Serve the replies from the first one on again, under the ids that they had."""
        self._rewound = len(self.requests)

    def proceed(self) -> None:
        """Let one stream go on that holds, or the next one that would."""
        assert self._held is not None
        self._loop.call_soon_threadsafe(self._held.release)

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._stop, self._held = asyncio.Event(), asyncio.Semaphore(0)
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
                if not await self._answer(*request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or the server closes
        finally:
            writer.close()

    async def _answer(
        self,
        path: str,
        headers: dict[str, str],
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; tell whether the connection is kept."""
        number = len(self.requests) - self._rewound
        self.headers.append(headers)
        self.requests.append({**body, "authorization": headers.get("authorization")})
        if not path.endswith("/chat/completions"):
            await _send_json(writer, 404, {"error": {"message": f"no such path: {path}"}})
            return True
        script: Reply = self.replies[min(number, len(self.replies) - 1)] if self.replies else echo
        said = script(body) if callable(script) else script
        answer = Answer(said, status=self.status) if isinstance(said, str) else said
        if answer.status >= 400 or not (body.get("stream") or answer.recording is not None):
            await _send_json(writer, answer.status, whole(answer, number, body), answer.headers)
            return True
        try:
            return await self._stream(reader, writer, answer, number, body)
        except ConnectionError:
            self.hung_up += 1
            raise

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Answer,
        number: int,
        body: dict[str, Any],
    ) -> bool:
        more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n" + more.encode() + b"\r\n"
        )
        if answer.recording is not None:
            size = answer.packet or len(answer.recording)
            for start in range(0, len(answer.recording), size):
                await _send_chunk(writer, answer.recording[start : start + size])
        pieces = 0
        for event in () if answer.recording is not None else events(answer, number, body):
            if event.piece:
                await asyncio.sleep(self.interval)
                if pieces == answer.hold_after:
                    await self._hold(reader)
            raw = f"data: {event.data}\n\n".encode()
            if pieces == answer.cut_after and (event.piece or event.data == "[DONE]"):
                writer.write(f"{len(raw):x}\r\n".encode() + raw[: len(raw) // 2])
                await writer.drain()
                return False
            await _send_chunk(writer, raw)
            pieces += event.piece
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _hold(self, reader: asyncio.StreamReader) -> None:
        """Wait for ``proceed``, or for the client to hang up."""
        assert self._held is not None
        held = asyncio.ensure_future(self._held.acquire())
        while not held.done():
            await asyncio.wait({held}, timeout=0.02)
            if reader.at_eof() or reader.exception() is not None:
                held.cancel()
                raise ConnectionResetError("the client hung up")


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


async def _send_json(
    writer: asyncio.StreamWriter, status: int, value: Any, headers: Mapping[str, str] | None = None
) -> None:
    raw = json.dumps(value).encode()
    lines = [
        f"HTTP/1.1 {status} -",
        "content-type: application/json",
        f"content-length: {len(raw)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
    await writer.drain()


async def _send_chunk(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
    await writer.drain()
