"""A server that gives other processes of the machine access to objects of this process.

What exists in one process only stays there: the host calls it for clients with its address and key.
It is a thread that no exit waits for, and starts when the first object is held.
"""

from __future__ import annotations

import os
import platform
import secrets
import socket
import struct
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from distgraph.concurrency.threads import daemon
from distgraph.errors import RunError, SerializationError
from distgraph.persistence import faces
from distgraph.persistence.allowlists import allowing
from distgraph.persistence.reach import Reach, pack_arguments
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import ReferringBlob

if TYPE_CHECKING:
    from distgraph.persistence.placing import Placed

__all__ = ("Carrier", "Host", "HostClient", "Ticket", "answer", "host", "read_answer")

PATIENCE = 120.0
"""Seconds that a call may take in the process that holds the object."""

_GREETING = 10.0
"""Seconds that a host may take to accept a connection."""

_GREETING_TRIES = 20
"""Number of connection attempts after the host dropped a connection because of many clients."""

STRANGERS = 32
"""Connections that a host has at once with clients that have not shown the key yet. The next one
takes the place of the oldest."""

SILENCE = 5.0
"""Seconds for which a client that has not shown the key yet may keep silent."""

CONNECTIONS = 16
"""Calls of one client that are on their way at once."""


class Carrier(Protocol):
    """Takes references to objects of a cluster between a host and its clients, beside the bytes."""

    def give(self, to: str | None, references: Sequence[Any]) -> Any:
        """Hand references over to a client or host, and return the name under which they lie."""

    def take(self, name: Any) -> Sequence[Any]:
        """Return the references under a name that the other side gave, once."""


class NoCarrier:
    """Refuses references: there is no cluster between host and client."""

    def give(self, to: str | None, references: Sequence[Any]) -> Any:
        """Refuse the references."""
        raise SerializationError(
            "a reference to an object of a cluster cannot leave the process that knows it: store "
            "the value itself, or the path of a file"
        )

    def take(self, name: Any) -> Sequence[Any]:
        """Return nothing."""
        return ()


_REFERRING = b"R"
"""Begins a message whose references travel beside it. A pickle begins otherwise."""


def _written(blob: bytes, carrier: Carrier, to: str | None) -> bytes:
    if not isinstance(blob, ReferringBlob):
        return blob
    return _REFERRING + dumps_data((carrier.give(to, blob.references), bytes(blob)))


def _read(message: bytes, carrier: Carrier) -> bytes:
    if message[:1] != _REFERRING:
        return message
    name, blob = loads(message[1:])
    return ReferringBlob(blob, carrier.take(name))


class Ticket(NamedTuple):
    """Address and key of a host."""

    address: Any
    key: bytes


def answer(call: Callable[[], Any]) -> bytes:
    """Return the result or the exception of a call, as bytes for ``read_answer``."""
    try:
        return dumps_data((True, call()))
    except BaseException as error:
        return dumps_data((False, capture_error(error)))


def read_answer(blob: bytes, label: str) -> Any:
    """Return the result in ``answer``'s bytes, or raise the exception."""
    fine, value = loads(blob)
    if not fine:
        raise rebuild_error(
            value, notes=(f"While {label} was called in the process where it lives",)
        )
    return value


def _raise(error: BaseException) -> None:
    raise error


class Host:
    """The objects of this process that others may call."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.pid = os.getpid()
        self._lock = threading.RLock()
        self._listener: Listener | None = None
        self._serving = False
        self._count = 0
        self._held: dict[str, Callable[[], Any]] = {}
        self._keys: dict[int, str] = {}
        self._known: dict[str, Callable[[], Any]] = {}
        self._key = secrets.token_bytes(32)
        self._strangers: OrderedDict[Connection, None] = OrderedDict()
        self._strangers_lock = threading.Lock()
        self.carrier: Carrier = NoCarrier()
        """Takes references to clients and from them; the backend sets it."""

    @property
    def ticket(self) -> Ticket:
        """Address and key of this host; the host responds once an object is held."""
        with self._lock:
            if self._listener is None:
                self._listener = _listener()
            return Ticket(self._listener.address, self._key)

    def hold(self, resource: Any) -> str:
        """Return the key under which ``resource`` can be called, as long as it is used here."""
        with self._lock:
            place = id(resource)
            known = self._keys.get(place)
            if known is not None and self.own(known) is resource:
                return known
            self._count += 1
            key = f"{self.id}:{self._count}"

            def forget(_: Any) -> None:
                self._held.pop(key, None)
                if self._keys.get(place) == key:
                    del self._keys[place]

            self._held[key] = _reference(resource, forget)
            self._keys[place] = key
            self._serve()
            return key

    def know(self, key: str, resource: Any) -> None:
        """Register this process's own object for a resource that other processes open
        themselves."""
        with self._lock:
            self._known[key] = _reference(resource, lambda _: self._known.pop(key, None))

    def own(self, key: str) -> Any:
        """Return this process's own object with that key, None where it has none."""
        found = self._held.get(key) or self._known.get(key)
        return None if found is None else found()

    def call(
        self,
        key: str,
        allowlist: frozenset[tuple[str, ...]],
        label: str,
        method: str,
        packed: bytes,
    ) -> bytes:
        """Call a method of a held object; return the bytes of ``answer``."""

        def carry_out() -> Any:
            resource = self.own(key)
            if resource is None:
                raise RunError(
                    f"{label} is gone: the process that made the graph no longer holds it, or the "
                    "run was started by another process. Keep the graph or the object referenced"
                )
            args, kwargs = loads(packed)
            resource = allowing(resource, allowlist)
            return faces.call(resource, method, args, kwargs, seconds=PATIENCE / 2)

        return answer(carry_out)

    def _answer(self, message: bytes) -> bytes:
        try:
            client, *request = loads(_read(message, self.carrier))
            return _written(self.call(*request), self.carrier, client)
        except Exception as error:  # the client is to hear of it, and may have more to ask
            return answer(partial(_raise, error))

    # --- serving --------------------------------------------------------------------------------

    def _serve(self) -> None:
        if not self._serving:
            self._serving = bool(self.ticket)
            daemon(self._accept, "distgraph-host").start()

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection = self._listener.accept()
            except OSError:  # too many open files: those that are connected go on
                time.sleep(0.05)
                continue
            if _is_another_user(connection):
                connection.close()
                continue
            self._meet(connection)
            daemon(partial(self._converse, connection), "distgraph-host").start()

    def _meet(self, connection: Connection) -> None:
        """Note a client that has not shown the key, in place of the oldest of too many."""
        _set_patience(connection, SILENCE)
        with self._strangers_lock:
            self._strangers[connection] = None
            while len(self._strangers) > STRANGERS:
                oldest, _ = self._strangers.popitem(last=False)
                _hang_up(oldest)  # its thread closes it

    def _greets(self, connection: Connection) -> bool:
        """Exchange proofs of the key. Return whether the client has it, and is still wanted."""
        try:
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            _set_patience(connection, 0)
        except Exception:  # silence, a wrong key, or something else than a client
            return False
        finally:
            with self._strangers_lock:
                wanted = connection in self._strangers
                self._strangers.pop(connection, None)
        return wanted

    def _converse(self, connection: Connection) -> None:
        with connection:
            if not self._greets(connection):
                return
            try:
                while True:
                    connection.send_bytes(self._answer(connection.recv_bytes()))
            except (EOFError, OSError):  # the other side is done, or has died
                return


@contextmanager
def _socket_of(connection: Connection) -> Iterator[socket.socket]:
    own = socket.socket(fileno=os.dup(connection.fileno()))
    try:
        yield own
    finally:
        own.close()


def _set_patience(connection: Connection, seconds: float) -> None:
    """Limit the seconds that a read or a write of a connection may block; 0 for no limit."""
    if os.name == "nt":
        return
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with suppress(OSError), _socket_of(connection) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _hang_up(connection: Connection) -> None:
    """End a connection that another thread may be reading from."""
    with suppress(OSError), _socket_of(connection) as own:
        own.shutdown(socket.SHUT_RDWR)


def _is_another_user(connection: Connection) -> bool:
    """Whether a process of another user has connected, as far as the operating system reports."""
    if not hasattr(socket, "SO_PEERCRED"):
        return False
    with suppress(OSError), _socket_of(connection) as own:
        if own.family == socket.AF_UNIX:
            size = struct.calcsize("3i")
            credentials = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return struct.unpack("3i", credentials)[1] not in (os.getuid(), 0)
    return False


def _reference(resource: Any, forget: Callable[[Any], object]) -> Callable[[], Any]:
    try:
        return weakref.ref(resource, forget)
    except TypeError:  # a class without weak references is held for good
        return lambda: resource


def _listener() -> Listener:
    if platform.system() == "Linux":  # an abstract socket name, which leaves no file behind
        name = f"\0distgraph-{os.getpid()}-{secrets.token_hex(8)}"
        return Listener(name, "AF_UNIX", backlog=64)
    return Listener(("127.0.0.1", 0), "AF_INET", backlog=64)


_host: Host | None = None
_lock = threading.Lock()


def host() -> Host:
    """Return this process's host. A forked process has one of its own."""
    global _host
    with _lock:
        if _host is None or _host.pid != os.getpid():
            _host = Host()
        return _host


class HostClient(Reach):
    """Reaches the objects of another process of this machine.

    Args:
        ticket: Address and key of its host.
        name: The client's own name, by which the host's carrier knows it.
        carrier: Takes references there and back.
    """

    def __init__(
        self, ticket: Ticket, name: str | None = None, carrier: Carrier | None = None
    ) -> None:
        self._ticket = Ticket(*ticket)
        self._name = name
        self._carrier = carrier or NoCarrier()
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._idle: list[Connection] = []

    def __call__(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        packed = pack_arguments(placed.label, method, args, kwargs)
        return read_answer(self.forward(placed, method, packed), placed.label)

    def forward(self, placed: Placed, method: str, packed: bytes) -> bytes:
        """Forward a call with pickled arguments; return the bytes of ``answer``.

        Raises:
            RunError: The process that holds the object has ended, or does not respond.
        """
        asked = (self._name, placed.key, placed.allowlist, placed.label, method, packed)
        request = _written(dumps_data(asked), self._carrier, None)
        if not self._room.acquire(timeout=PATIENCE):
            raise RunError(f"{placed.label}: {CONNECTIONS} calls before this one have no answer")
        try:
            return self._exchange(request, placed.label)
        finally:
            self._room.release()

    def close(self) -> None:
        """Close what is not in use."""
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, request: bytes, label: str) -> bytes:
        connection = self._connection(label)
        try:
            connection.send_bytes(request)
            if not connection.poll(PATIENCE):
                raise RunError(
                    f"{label} has not answered for {PATIENCE:g} s in the process where it lives"
                )
            answered = connection.recv_bytes()
        except (EOFError, OSError) as error:
            connection.close()
            raise _lost(label) from error
        except BaseException:  # a late response would be taken for the response to another call
            connection.close()
            raise
        self._idle.append(connection)
        return _read(answered, self._carrier)

    def _connection(self, label: str) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        for _ in range(_GREETING_TRIES):
            connection = self._greeted(label)
            if connection is not None:
                return connection
            time.sleep(0.05)
        raise RunError(
            f"{label}: the process that holds it drops every connection: too many clients that do "
            "not have its key connect at the same time"
        )

    def _greeted(self, label: str) -> Connection | None:
        """Connect. Return None where the host has dropped the connection before the end."""
        try:
            connection = Client(self._ticket.address)
        except OSError as error:
            raise _lost(label) from error
        try:
            if not connection.poll(_GREETING):
                raise RunError(f"{label}: the process that holds it does not answer")
            answer_challenge(connection, self._ticket.key)
            deliver_challenge(connection, self._ticket.key)
        except (EOFError, OSError):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return connection


def _lost(label: str) -> RunError:
    return RunError(
        f"{label} lives in the process that made the graph (process on {socket.gethostname()}), "
        "and that cannot be reached: it has ended. For runs that outlive a process use a saver or "
        "store that is a file or a server"
    )
