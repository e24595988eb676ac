"""Server-sent events: their text, and a response that notices at once when its client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from distgraph.serve.encoding import as_json

logger = logging.getLogger("distgraph")

__all__ = ("HEARTBEAT", "PADDING", "StreamedResponse", "sse_event", "sse_headers")

HEARTBEAT = b": heartbeat\r\n\r\n"
"""What a stream sends in silence, so that clients and proxies keep the connection."""

PADDING = b"\n"
"""What a long wait sends before its JSON, which may begin with white space."""

SILENCE = 5.0
"""Seconds of silence before a heartbeat."""

_BUFFER = 1 << 20
"""Bytes that wait for a slow client; beyond, its stream is read no further."""


def sse_headers() -> dict[str, str]:
    """Return the headers of an event stream."""
    return {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }


def sse_event(event: str, data: object, id: str | None = None) -> bytes:
    """Return one event: its name, one line of JSON, and an id by which a client resumes."""
    tail = b"" if id is None else b"id: " + id.encode() + b"\r\n"
    return b"event: " + event.encode() + b"\r\ndata: " + as_json(data) + b"\r\n" + tail + b"\r\n"


class StreamedResponse:
    """An ASGI response whose parts are sent as they come; those that are ready, together.

    The first part is never held. When the client leaves, the parts are no longer read and
    ``on_leave`` is awaited.

    Args:
        parts: What is sent.
        headers: Response headers.
        filler: Sent after each ``silence`` seconds without a part.
        on_leave: Called when the client has left before the last part.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        filler: bytes = HEARTBEAT,
        silence: float = SILENCE,
        on_leave: Callable[[], Awaitable[None]] | None = None,
        status: int = 200,
    ) -> None:
        self._parts = parts
        self._headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
        self._filler = filler
        self._silence = silence
        self._on_leave = on_leave
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.ensure_future(_left(receive))
        sending = asyncio.ensure_future(self._send(send))
        gone = False
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            gone = not sending.done()
        except asyncio.CancelledError:
            gone = True
            raise
        finally:
            for task in (leaving, sending):
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, OSError):
                        await task
            if sending.done() and not sending.cancelled() and not gone:
                gone = isinstance(sending.exception(), OSError)
            if gone and self._on_leave is not None:
                await asyncio.shield(asyncio.ensure_future(self._on_leave()))
        if not sending.cancelled() and not gone:
            sending.result()

    async def _send(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self._status, "headers": self._headers}
        )
        ready = _Ready(self._silence)
        reading = asyncio.ensure_future(ready.fill(self._parts))
        try:
            while True:
                body = await ready.take()
                if body is None:
                    break
                await send(
                    {
                        "type": "http.response.body",
                        "body": body or self._filler,
                        "more_body": True,
                    }
                )
        finally:
            ready.close()
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    """Wait until the client has left."""
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception:  # Ray Serve cancels the task that would tell
        logger.debug("the connection has ended", exc_info=True)


class _Ready:
    """The parts that a client has not been sent yet.

    Args:
        silence: Seconds without a part after which ``take`` returns.
    """

    def __init__(self, silence: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._is_silent = False
        self._taken = self._loop.time()
        # one timer for each silence, not for each part
        self._timer = self._loop.call_later(silence, self._look)
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def fill(self, parts: AsyncIterator[bytes]) -> None:
        try:
            async for part in parts:
                self._parts.append(part)
                self._size += len(part)
                self._news.set()
                if self._size > _BUFFER:
                    self._room.clear()
                    await self._room.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failure = error
        finally:
            self._ended = True
            self._news.set()
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()

    def close(self) -> None:
        """Look no longer at how long nothing came."""
        self._timer.cancel()

    def _look(self) -> None:
        due = self._taken + self._silence
        if self._loop.time() >= due:
            self._is_silent = True
            self._news.set()
            due = self._loop.time() + self._silence
        self._timer = self._loop.call_at(due, self._look)

    async def take(self) -> bytes | None:
        """Return the parts that are ready; b"" after the silence; None at the end."""
        if not self._parts and not self._ended:
            await self._news.wait()
        self._news.clear()
        self._taken = self._loop.time()
        is_silent, self._is_silent = self._is_silent, False
        if is_silent and not self._parts and not self._ended:
            return b""
        if self._parts:
            body = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._room.set()
            if self._ended:
                self._news.set()
            return body
        if self._failure is not None:
            raise self._failure
        return None
