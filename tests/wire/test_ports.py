"""Every port of a session: who does not know its secret gets nothing, and keeps nobody out.

``tests/ray_backend/test_ports.py`` shows that a session has no others.
"""

from __future__ import annotations

import pickle
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import actors.worker_port
from actors.heartbeats import WorkerHeartbeats
from actors.lease_frames import WorkerTicket
from distgraph.contract.heartbeats import HEARTBEAT
from distgraph.errors import UnsupportedClusterError
from distgraph.persistence.hosting import Host
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.mirror import MirrorServer, Replica
from distgraph.streaming.transport_wire import BrokerServer
from distgraph.wire import Address, Connection, Listener, connect, dialing
from distgraph.wire import listener as listener_module
from distgraph.wire.frames import FIRST_FREE, GREETING, encode
from distgraph.wire.greeting import Peer
from tests.support.cluster import eventually

LISTEN = "0A"
"""The state of a socket that listens, as Linux writes it."""

KIND = FIRST_FREE


class Port(NamedTuple):
    """A port of a session."""

    address: Address
    secret: bytes
    role: str
    """Of connections that it takes."""
    listener: Listener
    greeted: list[str]
    """Who was let in."""
    is_local: bool
    """Whether strangers come through the Unix socket of this machine."""


@pytest.fixture(params=["TCP", "Unix"])
def is_local(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "Unix")


@pytest.fixture(params=["stream broker", "superstep driver", "mirror", "caller's process"])
def port(
    request: pytest.FixtureRequest, is_local: bool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Port]:
    """A port as a session opens it."""
    monkeypatch.setattr(actors.worker_port, "node_address", lambda: "127.0.0.1")
    if request.param == "stream broker":
        broker = BrokerServer(BrokerHost(Broker(Limits(), lambda error: b"")), "127.0.0.1")
        found = broker.address, broker.secret, "reads", broker._listener
    elif request.param == "superstep driver":
        driver = actors.worker_port.WorkerPort("session")
        WorkerHeartbeats(driver, 60.0, lambda process: None)
        ticket = WorkerTicket.read(driver.ticket)
        found = Address(*ticket.address), ticket.secret, HEARTBEAT, driver._listener
    elif request.param == "mirror":
        mirror = MirrorServer(Replica(Broker(Limits(), lambda error: b"")), "127.0.0.1")
        found = mirror.address, mirror.secret, "mirror", mirror._listener
    else:
        caller = Host().listen()
        found = caller.ticket.address, caller.ticket.secret, "host", caller._listener
    greeted: list[str] = []
    greet = Listener.greeted

    def greets(self: Listener, stranger: Any, peer: Peer, early: bytes) -> None:
        greeted.append(peer.name)
        greet(self, stranger, peer, early)

    monkeypatch.setattr(Listener, "greeted", greets)
    made = Port(*found, greeted, is_local)
    yield made
    made.listener.close()


def dial(port: Port, secret: bytes | None = None) -> Connection:
    return connect(
        port.address,
        port.secret if secret is None else secret,
        port.role,
        name="me",
        to="the other process",
        on_frame=lambda connection, frame: None,
        on_closed=lambda connection, error: None,
        lines=port.role == HEARTBEAT,
    )


def let_in(port: Port) -> int:
    """Let a process in that knows the secret. Return how many were let in until now."""
    dial(port).close()  # raises unless both sides have shown the secret
    eventually(lambda: "me" in port.greeted, "a process is let in")
    return len(port.greeted)


def stranger(port: Port) -> socket.socket:
    sock, where = unconnected(port)
    sock.settimeout(60)
    sock.connect(where)
    return sock


def unconnected(port: Port) -> tuple[socket.socket, Any]:
    """Return a socket, and where it may connect to."""
    if port.is_local:
        return socket.socket(socket.AF_UNIX), "\0" + port.address.local
    return socket.socket(), port.address[:2]


def is_ended(sock: socket.socket) -> bool:
    """Whether the other side ended the connection: all that it sent is read before."""
    sock.settimeout(60)
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 40,
        pickle.dumps(("a", 1)),
        b'{"hello":"me"}\n',
        struct.pack("!QBI", 2**63, GREETING, 1),
        struct.pack("!QBI", 1025, GREETING, 1) + bytes(1025),
        encode(GREETING, (b"x" * 100,))[0] + b"x" * 100,
        encode(KIND, (b"frame",))[0] + b"frame",
    ],
    ids=["http", "bytes", "pickle", "line", "huge length", "above limit", "no answer", "frame"],
)
def test_garbage_ends_its_connection_and_no_other(
    port: Port, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "SILENCE", 60.0)  # it is ended for what it sent
    sock = stranger(port)
    sock.sendall(data)
    assert is_ended(sock)
    assert port.listener.strangers == 0
    assert let_in(port) == 1


def test_a_wrong_secret_is_an_error_with_who_whom_and_where(port: Port) -> None:
    with pytest.raises(UnsupportedClusterError) as caught:
        dial(port, secret=b"wrong")
    assert "me has connected to the other process at" in str(caught.value)
    assert str(port.address) in str(caught.value)
    assert let_in(port) == 1


def test_a_recorded_greeting_is_not_accepted_again(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    class Recording(socket.socket):
        def sendall(self, data: Any, *flags: int) -> None:
            said.append(bytes(data))
            return super().sendall(data, *flags)

    def reach(address: Address, timeout: float) -> socket.socket:
        kind, where = unconnected(port)
        sock = Recording(kind.family)
        kind.close()
        sock.settimeout(timeout)
        sock.connect(where)
        return sock

    with monkeypatch.context() as patch:
        patch.setattr(dialing, "reach", reach)
        assert let_in(port) == 1
    sock = stranger(port)
    sock.sendall(said[0])
    assert is_ended(sock)
    assert len(port.greeted) == 1


def test_a_client_that_keeps_silent_or_is_slow_is_dropped(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "SILENCE", 0.3)
    quiet, slow = stranger(port), stranger(port)
    with pytest.raises(OSError):
        while True:
            slow.sendall(b"\0")  # of a length field that is never complete in time
            time.sleep(0.05)
    assert is_ended(quiet)
    assert let_in(port) == 1


def test_a_thousand_silent_connections_keep_nobody_out_and_take_no_thread(port: Port) -> None:
    threads = threading.active_count()
    crowd = []
    for _ in range(1000):
        sock, where = unconnected(port)
        sock.setblocking(False)
        sock.connect_ex(where)
        crowd.append(sock)
    assert let_in(port) == 1
    assert port.listener.strangers <= listener_module.STRANGERS
    assert threading.active_count() <= threads
    for sock in crowd:
        sock.close()
