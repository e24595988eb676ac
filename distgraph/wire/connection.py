"""A connection that has been greeted: frames in both directions."""

from __future__ import annotations

import errno
import select
import socket
import ssl
import struct
import threading
import time
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from distgraph.errors import RunError
from distgraph.wire.aside import PIECES, Aside
from distgraph.wire.busy_polling import BusyPoll, window
from distgraph.wire.frames import (
    CREDIT,
    FIRST_FREE,
    Bytes,
    Frame,
    FrameError,
    FrameReader,
    LineReader,
    encode,
)
from distgraph.wire.greeting import Peer
from distgraph.wire.loop import READ, WRITE, Loop
from distgraph.wire.sockets import file_of, process_behind

__all__ = (
    "AWAY",
    "LARGEST",
    "WINDOW",
    "Connection",
    "ConnectionClosed",
    "OnClosed",
    "OnFrame",
)

LARGEST = 1 << 36
"""Most bytes of one frame between processes that have greeted each other."""

LONGEST = 1 << 20
"""Most bytes of one line of text."""

WINDOW = 16 << 20
"""Bytes that may be on the way to a process that has not consumed them."""

_CHUNK = 1 << 18
"""Bytes that are read at once, unless they belong to one large frame."""

_ROUNDS = 16
"""Reads of one connection before other connections get their turn."""

AWAY = 0.01
"""Seconds between two looks at a thread that receives by itself. Where it does something else from
one look to the next, the loop's thread receives in its place."""

_PAUSE = 1.0
"""Seconds for which ``receive`` waits at once."""

_GLANCE = 0.001
"""Seconds between two looks of the main thread for room."""

_BUFFERS = 64
"""Buffers that are handed to the system at once."""

_DIRECT = 1 << 16
"""Most bytes of a frame that the main thread sends itself where a signal handler may raise."""

_LINGER = 5.0
"""Seconds for which a closed connection waits for the other side to end as well."""

_CREDITS = struct.Struct("!Q")

_WAITS = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

OnFrame = Callable[["Connection", Frame], object]
"""Takes a frame, on the loop's thread: it must hand over, and not wait."""

OnClosed = Callable[["Connection", BaseException | None], object]
"""Called once, on the loop's thread: the connection has ended, and why if not by either side."""


class ConnectionClosed(RunError):
    """The connection has ended, so that nothing can be sent any more."""


class Connection:
    """Sends and receives frames.

    Args:
        sock: A connected socket, after the greeting.
        peer: The other side.
        address: Address of the other side, for messages.
        loop: Serves the connection.
        on_frame: Takes each frame.
        on_closed: Called at the end.
        auto_credit: Whether a frame counts as consumed once ``on_frame`` has returned. Otherwise
            ``consumed`` says so.
        lines: Whether lines of text follow the greeting, instead of frames.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        address: str,
        loop: Loop,
        on_frame: OnFrame,
        on_closed: OnClosed,
        *,
        auto_credit: bool = True,
        lines: bool = False,
    ) -> None:
        self.peer = peer
        self.address = address
        self.tag: Any = None
        """Free for the user of the connection."""
        self._sock = sock
        self._loop = loop
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._auto_credit = auto_credit
        self._lines = lines
        self._reader = LineReader(LONGEST) if lines else FrameReader(LARGEST, has_pieces=True)
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._outbox: deque[tuple[bytes, tuple[Bytes, ...], int]] = deque()
        """Frames, each with its size against the credit."""
        self._aside = Aside()
        """Frames that are sent in pieces, between others."""
        self._unsent: deque[memoryview] = deque()
        self._begun: tuple[bytes, deque[int]] | None = None
        """A frame of the main thread, and how many of its bytes the system has taken."""
        self._credit = WINDOW
        self._to_credit = 0
        self._mask = 0
        self._closing = False
        """Whether nothing more is to be sent than what was sent before."""
        self._finishing = False
        """Whether all of that has left the outbox."""
        self._settling = False
        """Whether the outbox is handed to the system behind what the loop handles now."""
        self._closed = False
        tls = isinstance(sock, ssl.SSLSocket)
        # OpenSSL does not allow one thread to read and another to write at the same time
        self._exclusive: Any = threading.RLock() if tls else nullcontext()
        self._gather = not tls
        self._buffer = bytearray(_CHUNK)
        self._reading = threading.Lock()
        """Held by the thread that reads."""
        self._busy_poll = BusyPoll(window())
        self._poll: select.poll | None = None
        """Of the thread that receives by itself, once there is one."""
        self._waits = False
        """Whether that thread receives just now."""
        self._times = 0
        """How often it has stopped to do so."""
        self._torn = False
        """Whether a signal handler has raised where that thread took what had come: nobody knows
        any more where the next frame begins."""
        self._looking = False
        """Whether the loop looks at it."""
        self._look_due = False
        self._file = file_of(sock.fileno())
        """What the file descriptor stands for: code of users may close any file descriptor."""
        sock.setblocking(False)
        loop.users.add(self)

    def begin(self, early: bytes = b"") -> None:
        """Start to serve. ``early``: bytes that came together with the greeting. Loop only."""
        if early:
            self._take(early)
        self._watch(READ)
        if not self._gather:
            self._receive()

    # --- sending --------------------------------------------------------------------------------

    def send(self, kind: int, *parts: Bytes, wait: bool = True, interruptible: bool = True) -> None:
        """Send a frame. Any thread may call this; frames of one thread arrive in order.

        Where the other side has not consumed what was sent before, the call waits until it has.
        On the loop's thread, and with ``wait=False``, it does not: the frame is kept. On the loop's
        thread, frames are handed to the system together, behind those that were read together, and
        behind calls of ``Loop.work`` that follow each other.

        Args:
            kind: From ``FIRST_FREE`` to 255.
            parts: Bytes. They must not change any more.
            wait: Whether the call may wait.
            interruptible: Whether a signal handler may raise within this call, where this is the
                main thread. Then a frame that was begun is completed by the loop's thread.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        assert kind >= FIRST_FREE
        head, size = encode(kind, parts)
        if wait and self._credit <= 0 and not self._loop.is_current:
            self._wait_for_room()
        if self._closed or self._closing:
            raise self._ended()
        if interruptible and threading.current_thread() is threading.main_thread():
            self._send_interruptibly(head, parts, size)
        else:
            self._outbox.append((head, parts, size))
            if size > _DIRECT and not self._loop.is_current:
                self._flush()
            else:
                self._flush_or_settle()

    def send_aside(self, kind: int, *parts: Bytes) -> int:
        """Send a large frame in pieces, between which other frames go. It never waits. Any thread.

        Frames that were sent so arrive in their order; other frames overtake them. Return the
        number of the frame among them: see ``aside_done``.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        head, size = encode(kind, parts)
        if self._closed or self._closing:
            raise self._ended()
        with self._lock:
            self._credit -= size
            number = self._aside.add(head, parts)
        if threading.current_thread() is threading.main_thread():
            self._loop.soon(self._flush)  # not interrupted by signals
        else:
            self._flush_or_settle()
        return number

    @property
    def aside_done(self) -> int:
        """How many frames of ``send_aside`` have left this process. Any thread."""
        return self._aside.done

    def flush(self) -> None:
        """Hand what was sent to the system now, as far as it takes it. Any thread."""
        self._flush()

    def _flush_or_settle(self) -> None:
        if not self._loop.collects:
            self._flush()
        elif not self._settling:
            self._settling = True
            if not self._loop.collect(self._settle):
                self._settle()

    def _settle(self) -> None:
        self._settling = False
        self._flush()

    def _send_interruptibly(self, head: bytes, parts: tuple[Bytes, ...], size: int) -> None:
        """Send a frame where a signal handler may raise after each call.

        ``_begun`` says at each moment what is to be completed: ``deque.extend`` hands the bytes to
        the system, and notes how many it took, before any handler runs.
        """
        if not self._gather or size > _DIRECT:
            self._outbox.append((head, parts, size))  # not interrupted by signals
            self._loop.soon(self._flush)
            return
        data = b"".join((head, *parts))
        taken: deque[int] = deque()
        is_done = False
        try:
            with self._lock:
                if not (self._closed or self._outbox or self._unsent or self._begun):
                    self._begun = (data, taken)
                    self._credit -= size
                    with suppress(OSError):  # the loop's thread meets it again
                        taken.extend(map(self._sock.send, (data,)))
                    if taken and taken[0] == len(data):
                        self._begun = None
                        is_done = True
                else:
                    self._outbox.append((head, parts, size))
        finally:
            if not is_done:
                self._loop.soon(self._flush)

    def send_line(self, line: bytes) -> None:
        """Send a line of text, without its end, to a side that reads lines. It never waits.

        On the main thread no signal handler may raise within this call.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        assert self._lines
        if self._closed or self._closing:
            raise self._ended()
        self._outbox.append((b"", (line + b"\n",), 0))
        self._flush()

    @property
    def descriptor(self) -> int | None:
        """The file descriptor, for lines that are written without Python.

        None with TLS, and where code of the user has closed it.
        """
        return self._sock.fileno() if self._gather and self._is_ours() else None

    @property
    def process(self) -> int | None:
        """The process on the other side, None where it is on another machine."""
        return process_behind(self._sock)

    def check(self) -> None:
        """End the connection if code of the user has closed its file descriptor. Loop only."""
        if not self._is_ours():
            self._end(OSError(errno.EBADF, "code of the user has closed the file descriptor"))

    def _is_ours(self) -> bool:
        return file_of(self._sock.fileno()) == self._file

    @property
    def has_room(self) -> bool:
        """Whether ``send`` would not wait."""
        return self._credit > 0

    def _wait_for_room(self) -> None:
        if threading.current_thread() is threading.main_thread():
            while self._credit <= 0 and not self._closed:
                time.sleep(_GLANCE)  # a lock could stay locked behind an exception of a handler
            return
        with self._room:
            while self._credit <= 0 and not self._closed:
                self._room.wait()

    def _ended(self) -> ConnectionClosed:
        return ConnectionClosed(f"the connection to {self.peer.name} ({self.address}) has ended")

    def _flush(self) -> None:
        """Send at once what the system takes, and keep the rest for the loop."""
        with self._lock:
            if self._closed:
                return
            idle = not self._unsent
            if self._begun is not None:
                data, taken = self._begun
                if sum(taken) < len(data):
                    self._unsent.append(memoryview(data)[sum(taken) :])
                self._begun = None
            while self._outbox:
                head, parts, size = self._outbox.popleft()
                self._credit -= size
                views = (memoryview(part).cast("B") for part in (head, *parts) if len(part))
                self._unsent.extend(views)
            if not idle or not (self._unsent or self._aside):
                return
            try:
                self._push()
            except OSError as error:
                failure = error
                self._loop.soon(lambda: self._end(failure))
                return
            if self._unsent or self._aside:
                self._loop.soon(self._rewatch)

    def _push(self) -> None:
        """Hand what is unsent to the system as far as it takes it, some pieces at most. Locked."""
        unsent, pieces = self._unsent, PIECES
        if self._lines and not self._is_ours():
            raise OSError(errno.EBADF, "code of the user has closed the file descriptor")
        while unsent or (pieces and self._aside):
            if not unsent:
                unsent.extend(self._aside.piece())
                pieces -= 1
            try:
                with self._exclusive:
                    if self._gather and len(unsent) > 1:
                        some = [unsent[at] for at in range(min(len(unsent), _BUFFERS))]
                        sent = self._sock.sendmsg(some)
                    else:
                        sent = self._sock.send(unsent[0])
            except _WAITS:
                return
            while unsent and sent >= len(unsent[0]):
                sent -= len(unsent.popleft())
            if sent:
                unsent[0] = unsent[0][sent:]

    def _rewatch(self) -> None:
        if not self._closed:
            self._watch(READ | WRITE if self._unsent or self._aside else READ)

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._loop.watch(self._sock, mask, self._ready)

    # --- receiving, on the loop's thread ----------------------------------------------------------

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            try:
                with self._lock:
                    self._push()
                    done = not (self._unsent or self._aside)
            except OSError as error:
                self._end(error)
                return
            if done:
                self._watch(READ)
                if self._finishing:
                    self._hang_up()
        if mask & READ:
            if not self._waits and self._reading.acquire(blocking=False):
                try:
                    if self._torn:
                        self._end(self._interrupted())
                        return
                    if not self._waits:
                        self._receive()
                        return
                finally:
                    self._reading.release()
            self._watch(self._mask & ~READ)  # another thread reads

    def _receive(self) -> None:
        rounds = _ROUNDS
        while rounds and not self._closed:
            rounds -= 1
            target = self._reader.target()
            into = target or memoryview(self._buffer)[: self._reader.at_once or _CHUNK]
            try:
                with self._exclusive:
                    count = self._sock.recv_into(into)
            except _WAITS:
                return
            except OSError as error:
                self._fail(error)
                return
            if count == 0:
                self._fail(None)
                return
            if target is None:
                self._take(into[:count])
            else:
                self._handle(self._reader.wrote(count))
            if self._gather and count < len(into) == _CHUNK:
                return
        if rounds == 0 and not self._gather and not self._closed:
            self._loop.soon(self._receive)  # what OpenSSL holds does not make the socket ready

    def _take(self, data: Bytes) -> None:
        self._handle(self._reader.feed(data))

    def _handle(self, frames: Any) -> None:
        try:
            for frame in frames:
                if self._closed:
                    return
                if frame.kind == CREDIT:
                    self._credited(frame)
                elif self._closing:
                    continue
                else:
                    self._on_frame(self, frame)
                    if self._auto_credit:
                        self.consumed(frame)
            if self._loop.is_current:
                self._loop.settle()
        except FrameError as error:
            self._fail(error)
        except Exception as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException | None) -> None:
        """End the connection. On a thread that reads."""
        if self._loop.is_current:
            self._end(error)
        else:
            self._loop.soon(lambda: self._end(error))
            if _get_running_loop() is None:  # coroutines are not to wait for that
                self.wait_closed(_LINGER)

    def _credited(self, frame: Frame) -> None:
        try:
            (count,) = _CREDITS.unpack(frame.parts[0])
        except struct.error as error:
            raise FrameError("a credit that is no number") from error
        with self._lock:
            self._credit += count
            self._room.notify_all()

    def consumed(self, frame: Frame) -> None:
        """Note that a frame was consumed, so that the other side may send more. Any thread."""
        with self._lock:
            self._to_credit += frame.size
            if self._to_credit < WINDOW // 4:
                return
            count, self._to_credit = self._to_credit, 0
        credits = (_CREDITS.pack(count),)
        self._outbox.append((*encode(CREDIT, credits)[:1], credits, 0))
        if threading.current_thread() is threading.main_thread():
            self._loop.soon(self._flush)  # not interrupted by signals
        else:
            self._flush_or_settle()

    # --- receiving, on a thread of its user -------------------------------------------------------

    def take_turn(self) -> bool:
        """Let the calling thread receive by itself, until ``leave_turn`` or ``return_turn``: no
        other has to wake it.

        One thread at a time. Frames that the loop's thread took are with ``on_frame`` when this
        returns, and it takes no others. Return False where it goes on to receive all the same.
        """
        if not self._gather or self._closed:  # what OpenSSL holds does not make the socket ready
            return False
        self._waits = True
        if self._loop.is_current:
            return True  # another thread is about to receive; this one takes nothing meanwhile
        with self._reading:
            return not self._closed

    def receive(self, seconds: float = _PAUSE) -> None:
        """Wait for frames, and take them on the calling thread. In its turn.

        Args:
            seconds: For which nothing may come, at most.
        """
        if self._poll is None:
            self._poll = select.poll()
            self.watch_by(self._poll)
        if self._busy_poll.wait(self._look_for_frames, min(seconds, _PAUSE)):
            self.take_frames()

    def watch_by(self, poll: select.poll | select.epoll) -> int:
        """Let a thread that receives by itself wait for frames. Return the file descriptor."""
        with suppress(ValueError):  # it is closed
            poll.register(self._sock, select.POLLIN)
        return self._sock.fileno()

    def take_frames(self) -> None:
        """Take frames that have come, on the calling thread. In its turn.

        A signal handler that raises meanwhile ends the connection.
        """
        with self._reading:
            if self._closed:
                pass
            elif not self._is_ours():
                self._fail(OSError(errno.EBADF, "code of the user has closed the file descriptor"))
            elif self._torn:
                self._fail(self._interrupted())
            else:
                try:
                    self._torn = True
                    self._receive()
                    self._torn = False
                finally:
                    if self._torn:
                        self.end_torn()

    def _look_for_frames(self, seconds: float | None) -> list[tuple[int, int]]:
        assert self._poll is not None
        return self._poll.poll(None if seconds is None else seconds * 1000)

    def end_torn(self) -> None:
        """End the connection: code that a signal handler runs, or has left, was taking frames."""
        self._torn = True
        self._loop.soon(lambda: self._end(self._interrupted()))

    @property
    def is_read(self) -> bool:
        """Whether a thread takes frames just now."""
        return self._reading.locked()

    def _interrupted(self) -> ConnectionClosed:
        return ConnectionClosed(f"a signal handler has raised while {self.peer.name} was read")

    def return_turn(self) -> None:
        """Do something else. Nobody receives until ``watch_again``."""
        self._waits = False

    def watch_less(self) -> None:
        """Do not receive on the loop's thread. Loop only."""
        self._watch(self._mask & ~READ)

    def watch_again(self) -> None:
        """Let the loop's thread receive. Loop only."""
        self._waits = False
        self._rewatch()

    def leave_turn(self) -> None:
        """Do something else. Where that takes long, the loop's thread receives meanwhile."""
        self._waits = False
        self._times += 1
        if not self._looking:
            self._looking = True
            self._loop.soon(self._look_soon)

    def _look_soon(self) -> None:
        if not self._look_due:
            self._look_due = True
            self._loop.after(AWAY, partial(self._look, self._times))

    def _look(self, seen: int) -> None:
        """Receive in place of a thread that does something else for long. Loop only."""
        self._look_due = False
        if self._closed:
            return
        if self._is_away():
            if self._times != seen:
                self._look_soon()
                return
            self._rewatch()
        self._looking = False
        if self._is_away() and self._times != seen:  # it has stopped just now, and did not say so
            self._looking = True
            self._look_soon()

    def _is_away(self) -> bool:
        """Whether a thread that receives by itself does something else just now."""
        return not self._waits

    # --- the end ----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._closed or self._closing

    def close(self) -> None:
        """End the connection, once what was sent before is with the system. Any thread."""
        if not self._closing:
            self._closing = True
            self._loop.soon(self._finish)

    def wait_closed(self, seconds: float) -> None:
        """Wait until a closed connection has sent everything, and the other side has ended."""
        until = time.monotonic() + seconds
        while not self._closed and time.monotonic() < until:
            time.sleep(_GLANCE)

    def leave(self) -> None:
        """Send nothing from this process, which was forked from that of the connection."""
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._reading = threading.Lock()
        self._closed = True

    def _finish(self) -> None:
        self._flush()
        self._finishing = True
        if self._unsent or self._aside:
            self._rewatch()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Send nothing more, and read until the other side has ended as well.

        What is closed with unread bytes takes away from the other side what is on its way there.
        """
        if self._closed:
            return
        self._watch(READ)
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)  # that of TLS would stop reading
        self._loop.after(_LINGER, lambda: self._end(None))

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._begun = None
            self._outbox.clear()
            self._unsent.clear()
            self._aside.clear()
            self._room.notify_all()
        self._watch(0)
        try:
            self._on_closed(self, error)  # first: its descriptor can become that of another file
        finally:
            if self._is_ours():
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
                self._sock.close()
            else:
                self._sock.detach()
