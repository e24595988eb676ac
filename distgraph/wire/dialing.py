"""Connecting to a listener."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import NamedTuple

from distgraph.errors import UnsupportedClusterError
from distgraph.wire import greeting
from distgraph.wire.connection import Connection, OnClosed, OnFrame
from distgraph.wire.frames import GREETING, FrameError, FrameReader, encode
from distgraph.wire.greeting import GreetingError, Peer
from distgraph.wire.loop import loop
from distgraph.wire.security import tls_contexts
from distgraph.wire.sockets import tune

__all__ = ("Address", "connect")

LOCAL = "distgraph-"
"""Begin of the names of Unix sockets."""

PATIENCE = 20.0
"""Seconds for which a connection is tried."""

_ONE_TRY = 10.0
"""Seconds for one try."""

_AGAIN = 0.05
"""Seconds before the next try, twice as many after each."""


class Address(NamedTuple):
    """Where a listener is reached."""

    host: str
    port: int
    local: str = ""
    """Name of the listener's Unix socket, for processes of the same machine. Empty for none."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def connect(
    address: Address,
    secret: bytes,
    role: str,
    *,
    on_frame: OnFrame,
    on_closed: OnClosed,
    name: str = "",
    to: str = "the other process",
    patience: float = PATIENCE,
    auto_credit: bool = True,
    lines: bool = False,
) -> Connection:
    """Connect to a listener, and exchange proofs of the secret with it.

    Args:
        address: Of the listener.
        secret: Of the session.
        role: What the connection is for: the listener's ``accept`` reads it.
        on_frame: Takes each frame.
        on_closed: Called at the end.
        name: Names this process to the listener.
        to: Names the listener in messages.
        patience: Seconds for which a connection is tried.
        auto_credit: See ``Connection``.
        lines: See ``Connection``. The listener must expect lines of this role. They go through
            TCP: a Unix socket is full after some hundred small writes, as of a stack in C.

    Raises:
        UnsupportedClusterError: It cannot be reached, or is not what it should be. The message has
            who, whom, the address, and a remedy.
    """
    address = Address(*address)
    if lines:
        address = address._replace(local="")
    me = Peer(role, name or f"{socket.gethostname()} ({role})")
    until, pause = time.monotonic() + patience, _AGAIN
    while True:
        try:
            sock = _greeted(address, secret, me, min(_ONE_TRY, patience))
            break
        except GreetingError as error:
            raise UnsupportedClusterError(
                f"{me.name} has connected to {to} at {address}, and what answers there is not it: "
                f"{error}"
            ) from error
        except OSError as error:
            if time.monotonic() + pause >= until:
                raise _unreachable(me, to, address, error) from error
            time.sleep(pause)
            pause = min(1.0, pause * 2)
    made = Connection(
        sock,
        Peer("listener", to),
        str(address),
        loop(),
        on_frame,
        on_closed,
        auto_credit=auto_credit,
        lines=lines,
    )
    loop().soon(made.begin)
    return made


def _unreachable(me: Peer, to: str, address: Address, error: OSError) -> UnsupportedClusterError:
    return UnsupportedClusterError(
        f"{me.name} cannot reach {to} at {address} ({error}). The machines of a cluster must reach "
        "each other on this port: open it in the firewall, with DISTGRAPH_PORTS=first-last in the "
        "environment of the program to choose which ports are used, and check that Ray's address "
        f"of that machine ({address.host}) is one that the others reach (`ray start "
        "--node-ip-address`). RAY_USE_TLS must be the same for both"
    )


def _greeted(address: Address, secret: bytes, me: Peer, patience: float) -> socket.socket:
    sock = reach(address, patience)
    try:
        tune(sock)
        contexts = tls_contexts()
        if contexts is not None:
            sock = contexts[1].wrap_socket(sock)
        until = time.monotonic() + patience
        said, told = greeting.answer(_message(sock, until), secret, me)
        sock.sendall(encode(GREETING, (said,))[0] + said)
        greeting.accepted(_message(sock, until), secret, told)
        return sock
    except BaseException:
        with suppress(OSError):
            sock.close()
        raise


def reach(address: Address, patience: float) -> socket.socket:
    """Return a socket that is connected to a listener: on this machine, a Unix socket, where a send
    to a process that waits takes half as long as through TCP.
    """
    if address.local:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(patience)
            sock.connect("\0" + address.local)
            return sock
        except OSError:  # the listener is on another machine, or in another container
            sock.close()
    return socket.create_connection((address.host, address.port), patience)


def is_local_name(name: object) -> bool:
    """Whether the name of a socket is that of a listener on this machine."""
    return isinstance(name, bytes) and name.startswith(b"\0" + LOCAL.encode())


def _message(sock: socket.socket, until: float) -> bytes:
    """Read one message of the greeting, and nothing of what follows."""
    reader = FrameReader(greeting.LIMIT)
    try:
        while time.monotonic() < until:
            data = sock.recv(reader.missing)
            if not data:
                raise ConnectionResetError("the connection was ended during the greeting")
            for frame in reader.feed(data):
                if frame.kind != GREETING:
                    raise FrameError("not a greeting")
                return bytes(frame.parts[0])
    except FrameError as error:
        raise GreetingError("it does not speak the protocol of distgraph") from error
    raise TimeoutError("the greeting takes too long")
