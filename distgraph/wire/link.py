"""Requests to a listener, repeated on another connection where the first one was lost."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

from distgraph._internal.tracebacks import error_for_one
from distgraph.concurrency.threads import daemon
from distgraph.wire.aside import PIECE_SIZE
from distgraph.wire.connection import Connection, ConnectionClosed
from distgraph.wire.dialing import PATIENCE, Address, connect
from distgraph.wire.frames import FIRST_FREE, Bytes, Frame
from distgraph.wire.loop import loop

__all__ = ("ANSWER", "Link", "answer")

ANSWER = FIRST_FREE
"""Kind of the frames that answer a request: the request's number, and the answer."""

_NUMBER = struct.Struct("!Q")

_AGAIN = 0.05
"""Seconds after which a connection that has ended is followed by another."""

_GLANCE = 0.0005
"""Seconds between two looks whether a request was sent."""

_LOOK = 1.0
"""Seconds between two looks at a connection from which an answer is to come."""

_HAND_OVER = PATIENCE
"""Most seconds that ``request`` waits for that: a connection is made meanwhile."""

_SHARED = 1.0
"""The same in a thread that others may wait for: any but the main thread, or with an event loop."""

Locate = Callable[[], tuple[Address, bytes]]
"""Returns the listener's address and secret; may wait. Raises where there is no listener any
more."""


@dataclass(eq=False, slots=True)
class _Request:
    kind: int
    parts: tuple[Bytes, ...]
    answer: Future[Bytes]
    is_aside: bool = False
    sent: bool = False


class Link:
    """The way of this process to one listener.

    Requests of one thread arrive in their order. A request whose connection ended before its answer
    came is sent again, so that it may be carried out twice. A thread sends its requests itself
    where a connection is open; all else is done on the thread of the connections, and connecting on
    one of its own.

    Args:
        locate: Finds the listener, for each connection anew.
        role: What connections are for.
        to: Names the listener in messages.
        on_open: Called with each connection, before any request is sent on it. A link with this
            function stays connected; a link without it connects for requests only.
        on_frame: Takes frames that answer nothing.
        on_lost: Called once, with the error of ``locate`` or of connecting. All requests fail with
            it then.
        patience: Seconds for which a connection is tried.
    """

    def __init__(
        self,
        locate: Locate,
        role: str,
        to: str,
        *,
        on_open: Callable[[Connection], object] | None = None,
        on_frame: Callable[[Frame], object] = lambda frame: None,
        on_lost: Callable[[BaseException], object] = lambda error: None,
        patience: float = PATIENCE,
    ) -> None:
        self._locate = locate
        self._role = role
        self._to = to
        self._on_open = on_open
        self._on_push = on_frame
        self._on_lost = on_lost
        self._patience = patience
        self._loop = loop()
        self._numbers = count(1)
        self._order = threading.RLock()  # reentrant: a signal handler may make a request too
        self._waiting: dict[int, _Request] = {}
        """Requests by number, changed by single operations only."""
        # written on the loop's thread only
        self._connection: Connection | None = None
        """Open, and all requests that waited for it are on their way."""
        self._dialing = False
        self._failure: BaseException | None = None
        self._closed = False
        self._looking = False
        if on_open is not None:
            self._loop.soon(self._connect)

    def request(
        self, kind: int, *parts: Bytes, give_way: bool = False, aside: bool = False
    ) -> Future[Bytes]:
        """Send a request. Any thread may call this.

        Args:
            kind: Kind of the frame.
            parts: Its contents.
            give_way: Whether to wait until the request is on its way, or will not be: what the
                calling code does next may keep the interpreter lock for ever.
            aside: Whether other requests may overtake this one, if it is large.
        """
        is_large = aside and sum(map(len, parts)) > PIECE_SIZE
        request = _Request(kind, parts, Future(), is_large)
        number = next(self._numbers)
        try:
            with self._order:
                self._waiting[number] = request
                connection = self._connection
            if connection is None or not self._looking:
                self._loop.soon(partial(self._attend, number, request))
            if connection is not None:
                _send(connection, number, request)
        except BaseException:  # of a signal handler: the caller sends it anew
            self._waiting.pop(number, None)
            raise
        if give_way and not self._loop.is_current:
            begun = time.monotonic()
            while not (request.sent or request.answer.done()):
                waited = time.monotonic() - begun
                if waited > _SHARED and (waited > _HAND_OVER or _is_shared()):
                    break
                time.sleep(0 if waited < _GLANCE else _GLANCE)
        return request.answer

    def tell(self, kind: int, *parts: Bytes) -> None:
        """Send a frame that has no answer, and is not repeated. Any thread may call this."""
        self._loop.soon(partial(self._tell, kind, parts))

    @property
    def connection(self) -> Connection | None:
        """The open connection. Any thread."""
        return self._connection

    def close(self) -> None:
        """End the connection, and open no other. Requests without an answer never get one."""
        self._loop.soon(self._close)

    # --- on the loop's thread -------------------------------------------------------------------

    def _attend(self, number: int, request: _Request) -> None:
        """Look after a request: that there is a connection, and that it does not end unnoticed."""
        if self._closed:
            self._waiting.pop(number, None)
            return
        if self._failure is not None:
            if self._waiting.pop(number, None) is not None:
                request.answer.set_exception(error_for_one(self._failure))
            return
        if not self._looking:
            self._looking = True
            self._loop.after(_LOOK, self._look)
        self._connect()

    def _tell(self, kind: int, parts: tuple[Bytes, ...]) -> None:
        if self._connection is not None:
            with suppress(ConnectionClosed):
                self._connection.send(kind, *parts, wait=False)

    def _look(self) -> None:
        """Look whether code of the user has closed the connection: nothing else shows that."""
        self._looking = False  # before the look: other threads add requests first
        if self._waiting:
            self._looking = True
            self._loop.after(_LOOK, self._look)
            if self._connection is not None:
                self._connection.check()

    def _close(self) -> None:
        self._closed = True
        self._waiting.clear()  # nobody looks after them any more, and no timer holds this link
        if self._connection is not None:
            self._connection.close()

    def _connect(self) -> None:
        if not (self._dialing or self._connection or self._failure or self._closed):
            self._dialing = True
            daemon(self._dial, "distgraph-dial").start()

    def _dial(self) -> None:
        """Body of the thread that connects."""
        try:
            address, secret = self._locate()
            made = connect(
                address,
                secret,
                self._role,
                on_frame=self._on_frame,
                on_closed=self._ended,
                to=self._to,
                patience=self._patience,
            )
        except BaseException as error:
            self._loop.soon(partial(self._fail, error))
            return
        self._loop.soon(partial(self._connected, made))

    def _connected(self, made: Connection) -> None:
        self._dialing = False
        if self._closed:
            made.close()
            return
        if self._on_open is not None and not made.closed:
            self._on_open(made)
        with self._order:
            for number, request in list(self._waiting.items()):
                _send(made, number, request)
            self._connection = made
        if made.closed:
            self._ended(made, None)

    def _on_frame(self, connection: Connection, frame: Frame) -> None:
        if frame.kind != ANSWER:
            self._on_push(frame)
            return
        (number,) = _NUMBER.unpack(frame.parts[0])
        request = self._waiting.pop(number, None)
        if request is not None:
            request.answer.set_result(frame.parts[1])

    def _ended(self, connection: Connection, error: BaseException | None) -> None:
        if connection is self._connection:
            self._connection = None
            if self._waiting or self._on_open is not None:
                self._loop.after(_AGAIN, self._connect)

    def _fail(self, error: BaseException) -> None:
        self._dialing = False
        if self._closed:
            return
        self._failure = error
        for number in list(self._waiting):
            request = self._waiting.pop(number, None)
            if request is not None:
                request.answer.set_exception(error_for_one(error))
        self._on_lost(error)


def _send(connection: Connection, number: int, request: _Request) -> None:
    with suppress(ConnectionClosed):  # what is not answered is sent again
        if request.is_aside:
            connection.send_aside(request.kind, _NUMBER.pack(number), *request.parts)
        else:
            connection.send(request.kind, _NUMBER.pack(number), *request.parts, wait=False)
        if loop().is_current:
            connection.flush()  # a thread that waits for this may keep the interpreter lock then
    request.sent = True


def _is_shared() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return threading.current_thread() is not threading.main_thread()
    return True


def answer(connection: Connection, frame: Frame, said: Bytes) -> None:
    """Answer the request that a frame holds. The request is in the parts behind the first."""
    with suppress(ConnectionClosed):  # what has no answer is asked again
        connection.send(ANSWER, frame.parts[0], said, wait=False)
