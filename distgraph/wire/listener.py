"""Accepting connections of processes that know the session's secret."""

from __future__ import annotations

import errno
import secrets
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from functools import partial

from distgraph._internal.settings import setting
from distgraph.errors import UnsupportedClusterError
from distgraph.wire import greeting
from distgraph.wire.connection import Connection, OnClosed, OnFrame
from distgraph.wire.dialing import LOCAL, Address
from distgraph.wire.frames import GREETING, Frame, FrameError, FrameReader, encode
from distgraph.wire.greeting import GreetingError, Peer
from distgraph.wire.loop import READ, WRITE, Loop, loop
from distgraph.wire.security import tls_contexts
from distgraph.wire.sockets import tune

__all__ = ("Listener", "OnOpen", "check_room", "listening_socket")

STRANGERS = 64
"""Connections at once that have not shown the secret yet."""

SILENCE = 5.0
"""Seconds in which a connection has to show the secret."""

GRACE = 0.1
"""Seconds before a connection that has not shown the secret makes room for the next, where there
are too many."""

_BACKLOG = 1024
_FULL = 0.05
"""Seconds to wait where the process has too many open files."""

OnOpen = Callable[[Connection], object]
"""Takes a connection whose other side has shown the secret, on the loop's thread."""


class Listener:
    """Listens on one port, which is chosen from ``DISTGRAPH_PORTS`` (first-last) where that is set.

    Args:
        host: Address of this machine by which the others reach it.
        secret: Of the session.
        on_open: Called with each connection whose other side has shown the secret, before any of
            its frames.
        on_frame: Takes each frame.
        on_closed: Called at the end of each connection.
        auto_credit: See ``Connection``.
        lines: Roles of connections that carry lines of text.

    Raises:
        UnsupportedClusterError: There is no free port, or TLS is not set up.
    """

    def __init__(
        self,
        host: str,
        secret: bytes,
        *,
        on_open: OnOpen,
        on_frame: OnFrame,
        on_closed: OnClosed,
        auto_credit: bool = True,
        lines: Collection[str] = (),
    ) -> None:
        self._secret = secret
        self._on_open = on_open
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._auto_credit = auto_credit
        self._lines = lines
        contexts = tls_contexts()
        self._tls = None if contexts is None else contexts[0]
        self._sock = listening_socket(host)
        self._sock.setblocking(False)
        self._local, name = (None, "") if self._tls else _local_socket()
        self.address = Address(host, self._sock.getsockname()[1], name)
        self._strangers: OrderedDict[_Stranger, None] = OrderedDict()
        self._accepting = False
        self._closed = False
        self._loop = loop()
        self._loop.soon(self._accept_more)

    @property
    def strangers(self) -> int:
        """Connections that have not shown the secret."""
        return len(self._strangers)

    def close(self) -> None:
        """Accept no more connections. Those that are open stay. Any thread."""
        self._loop.soon(self._close)

    # --- on the loop's thread -------------------------------------------------------------------

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watch(0)
        self._sock.close()
        if self._local is not None:
            self._local.close()
        for stranger in list(self._strangers):
            stranger.end()

    def _accept_more(self) -> None:
        if not self._accepting and not self._closed:
            self._accepting = True
            self._watch(READ)

    def _pause(self, seconds: float) -> None:
        self._accepting = False
        self._watch(0)
        self._loop.after(seconds, self._accept_more)

    def _watch(self, mask: int) -> None:
        self._loop.watch(self._sock, mask, partial(self._ready, self._sock))
        if self._local is not None:
            self._loop.watch(self._local, mask, partial(self._ready, self._local))

    def _ready(self, listening: socket.socket, mask: int) -> None:
        if len(self._strangers) >= STRANGERS:
            oldest = next(iter(self._strangers))
            left = oldest.since + GRACE - time.monotonic()
            if left > 0:
                self._pause(left)
                return
            oldest.end()
        try:
            sock, address = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # too many open files: those that are connected go on
            self._pause(_FULL)
            return
        try:
            tune(sock)
            sock.setblocking(False)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            sock.close()
            return
        named = str(Address(*address[:2])) if address else "this machine"
        stranger = _Stranger(self, sock, named)
        self._strangers[stranger] = None
        self._loop.after(SILENCE, stranger.end)
        stranger.begin()

    def greeted(self, stranger: _Stranger, peer: Peer, early: bytes) -> None:
        """Take over a connection whose other side has shown the secret."""
        self._strangers.pop(stranger, None)
        connection = Connection(
            stranger.sock,
            peer,
            stranger.address,
            self._loop,
            self._on_frame,
            self._on_closed,
            auto_credit=self._auto_credit,
            lines=peer.role in self._lines,
        )
        self._on_open(connection)
        connection.begin(early)

    def forget(self, stranger: _Stranger) -> None:
        """Drop a connection that has ended before the greeting was over."""
        self._strangers.pop(stranger, None)

    @property
    def loop(self) -> Loop:
        return self._loop

    @property
    def secret(self) -> bytes:
        return self._secret


class _Stranger:
    """A connection whose other side has not shown the secret."""

    def __init__(self, listener: Listener, sock: socket.socket, address: str) -> None:
        self.sock = sock
        self.address = address
        self.since = time.monotonic()
        self._listener = listener
        self._reader = FrameReader(greeting.LIMIT)
        self._over = False
        self._message, self._nonce = greeting.challenge()
        self._shaking = isinstance(sock, ssl.SSLSocket)

    def begin(self) -> None:
        if self._shaking:
            self._ready(0)
        else:
            self._say(self._message)
            self._listener.loop.watch(self.sock, READ, self._ready)

    def end(self) -> None:
        """End the connection, unless the greeting is over."""
        if not self._over:
            self._over = True
            self._listener.loop.watch(self.sock, 0, self._ready)
            self._listener.forget(self)
            self.sock.close()

    def _ready(self, mask: int) -> None:
        if self._over:
            return
        try:
            if self._shaking:
                self._shake()
            else:
                self._read()
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return
        except OSError:
            self.end()

    def _shake(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        watch = self._listener.loop.watch
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            watch(self.sock, READ, self._ready)
            return
        except ssl.SSLWantWriteError:
            watch(self.sock, WRITE, self._ready)
            return
        self._shaking = False
        watch(self.sock, READ, self._ready)
        self._say(self._message)
        self._read()

    def _read(self) -> None:
        data = self.sock.recv(greeting.LIMIT)
        if not data:
            self.end()
            return
        try:
            frames = list(self._reader.feed(data))
        except FrameError:
            self.end()
            return
        if len(frames) == 1:
            self._check(frames[0])
        elif frames:  # the greeting has one message, and nothing comes before it is answered
            self.end()

    def _check(self, frame: Frame) -> None:
        try:
            if frame.kind != GREETING:
                raise GreetingError("it does not speak the protocol of distgraph")
            said = bytes(frame.parts[0])
            welcome, peer = greeting.check(said, self._listener.secret, self._nonce)
        except GreetingError as error:
            with suppress(OSError):
                self._say(greeting.refusal(str(error)))
            self.end()
            return
        self._over = True
        self._listener.loop.watch(self.sock, 0, self._ready)
        try:
            self._say(welcome)
        except OSError:
            self._listener.forget(self)
            self.sock.close()
            return
        self._listener.greeted(self, peer, self._reader.left())

    def _say(self, message: bytes) -> None:
        # a few hundred bytes, which a new connection has room for
        self.sock.send(encode(GREETING, (message,))[0] + message)


def listening_socket(host: str) -> socket.socket:
    """Return a socket that listens on a port of ``DISTGRAPH_PORTS``, or on any free port.

    Args:
        host: Address of this machine by which the others reach it.

    Raises:
        UnsupportedClusterError: There is no free port, or the address cannot be resolved.
    """
    return _listening(host, *_ports())


def check_room(host: str, ports: int) -> None:
    """Refuse a range of ports in which so many processes of this machine have no room.

    A process that finds no port when it starts says so in its log only, and in many lines.

    Raises:
        UnsupportedClusterError: There are fewer free ports in ``DISTGRAPH_PORTS``.
    """
    first, last = _ports()
    with ExitStack() as stack:
        for number in range(ports if last else 0):
            try:
                sock = _listening(host, first, last)
            except UnsupportedClusterError as error:
                raise UnsupportedClusterError(
                    f"the session needs {ports} ports on {host}, and DISTGRAPH_PORTS={first}-"
                    f"{last} has {number} free ones: name a larger range, or end other programs"
                ) from error
            first = stack.enter_context(sock).getsockname()[1] + 1


def _listening(host: str, first: int, last: int) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UnsupportedClusterError(
            f"the address {host!r} of this machine, as Ray has it, cannot be resolved ({error}): "
            "start Ray with an address of this machine (`ray start --node-ip-address`)"
        ) from error
    anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"
    failure: OSError | None = None
    for port in range(first, last + 1):
        for own in (where[0], anywhere):  # behind NAT the address is not one of this machine
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((own, port, *where[2:]))
                sock.listen(_BACKLOG)
                return sock
            except OSError as error:
                sock.close()
                failure = error
                if error.errno == errno.EADDRINUSE:  # in use: so it is at any address
                    break
    raise UnsupportedClusterError(
        f"no port of DISTGRAPH_PORTS={first}-{last} is free on {host} ({failure}): name a larger "
        "range above 1023, such as 20000-20100. Each session takes three ports"
        if last
        else f"this process cannot listen on {host}: {failure}"
    )


def _local_socket() -> tuple[socket.socket | None, str]:
    """Return a Unix socket that listens, and its name. None where the system has no such names.

    The name stands in no file system: it ends with the process, and containers do not share it.
    """
    name = LOCAL + secrets.token_hex(16)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except (AttributeError, OSError):
        return None, ""
    try:
        sock.bind("\0" + name)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        return None, ""
    return sock, name


def _ports() -> tuple[int, int]:
    try:
        return setting("DISTGRAPH_PORTS", (0, 0))
    except ValueError as error:
        raise UnsupportedClusterError(str(error)) from None
