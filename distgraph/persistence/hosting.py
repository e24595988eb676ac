"""Access of other processes to objects that exist in this process only.

The objects stay here: the host calls them for clients that know the secret of one of its ports.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import struct
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import DaemonExecutor
from distgraph.errors import RunError, SerializationError, UnsupportedClusterError
from distgraph.persistence import sync_or_async
from distgraph.persistence.allowlists import allowing
from distgraph.persistence.encoded_items import encoder_of
from distgraph.persistence.growing_lists import ForgottenLists, KeptLists, ShortCheckpoint
from distgraph.persistence.remote_resources import SAVE, Reach, pack_arguments
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import ReferringBlob
from distgraph.wire import (
    Address,
    Connection,
    ConnectionClosed,
    Frame,
    Listener,
    connect,
    new_secret,
)
from distgraph.wire.frames import FIRST_FREE

if TYPE_CHECKING:
    from distgraph.persistence.placed import Placed

__all__ = ("Carrier", "Host", "HostClient", "HostPort", "Ticket", "answer", "host", "read_answer")

PATIENCE = 120.0
"""Seconds that a call may take in the process that holds the object."""

CONNECTING = 1.0
"""Seconds for which a connection to a host is tried, that refuses or drops it."""

CALLS = 16
"""Calls of one client that are on their way at once."""

_CALL = FIRST_FREE
"""Kind of the frames between host and client: the number of a call, and its request or answer."""

_NUMBER = struct.Struct("!Q")


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
    """The way to a host. It travels through Ray only."""

    address: Address
    secret: bytes
    name: str
    """Names the host's process in messages."""


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
        self._lock = threading.RLock()
        self._count = 0
        self._held: dict[str, Callable[[], Any]] = {}
        self._keys: dict[int, str] = {}
        self._known: dict[str, Callable[[], Any]] = {}
        self._lists = KeptLists()
        self.carrier: Carrier = NoCarrier()
        """Takes references to clients and from them; the backend sets it."""

    def listen(self, address: str = "127.0.0.1") -> HostPort:
        """Return a new port of this host.

        Args:
            address: Address of this machine by which clients reach it.

        Raises:
            UnsupportedClusterError: There is no free port, or TLS is not set up.
        """
        return HostPort(self, address)

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
                    "run was started by another process. Keep the graph, the handle of the run or "
                    "the object referenced"
                )
            args, kwargs = loads(packed)
            resource = allowing(resource, allowlist)
            if method != SAVE:
                return self._call(resource, method, args, kwargs)
            for one, own in args:
                if type(self._call(resource, one, own, {})) is ForgottenLists:
                    return ForgottenLists()
            return None

        return answer(carry_out)

    def _call(
        self, resource: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if len(args) > 1 and type(args[1]) is ShortCheckpoint:
            whole = self._lists.completed(args[1], encoder_of(resource))
            if whole is None:
                return ForgottenLists()
            args = (args[0], whole, *args[2:])
        return sync_or_async.call(resource, method, args, kwargs, seconds=PATIENCE / 2)

    def answer(self, message: bytes) -> bytes:
        """Carry out a client's request; return what it reads."""
        try:
            client, *request = loads(_read(message, self.carrier))
            return _written(self.call(*request), self.carrier, client)
        except Exception as error:  # the client is to hear of it, and may have more to ask
            return answer(partial(_raise, error))


class HostPort:
    """A port by which a host is reached. Calls of each client run in threads of their own."""

    def __init__(self, host: Host, address: str) -> None:
        self._host = host
        self._clients: set[Connection] = set()
        secret = new_secret()
        self._listener = Listener(
            address, secret, on_open=self._open, on_frame=self._call, on_closed=self._closed
        )
        name = f"process {os.getpid()} on {socket.gethostname()}"
        self.ticket = Ticket(self._listener.address, secret, name)
        """What a client needs to connect."""

    def close(self) -> None:
        """Accept no more clients, and leave those that are connected."""
        self._listener.close()
        self._listener.loop.soon(self._leave)

    # --- on the thread of the wire --------------------------------------------------------------

    def _leave(self) -> None:
        for client in self._clients:
            client.close()

    def _open(self, client: Connection) -> None:
        self._clients.add(client)
        client.tag = DaemonExecutor(CALLS, thread_name_prefix="distgraph-host")

    def _closed(self, client: Connection, error: BaseException | None) -> None:
        self._clients.discard(client)
        client.tag.shutdown(wait=False, cancel_futures=True)

    def _call(self, client: Connection, frame: Frame) -> None:
        number, request = frame.parts
        client.tag.spawn(partial(self._carry_out, client, number, bytes(request)))

    def _carry_out(self, client: Connection, number: Any, request: bytes) -> None:
        said = self._host.answer(request)
        with suppress(ConnectionClosed):  # the client has died, or is done
            client.send(_CALL, number, said, wait=False)


def _reference(resource: Any, forget: Callable[[Any], object]) -> Callable[[], Any]:
    try:
        return weakref.ref(resource, forget)
    except TypeError:  # a class without weak references is held for good
        return lambda: resource


_host: Host | None = None
_lock = threading.Lock()


def host() -> Host:
    """Return this process's host. A forked process has one of its own."""
    global _host
    with _lock:
        if _host is None:
            _host = Host()
        return _host


@in_forked_process
def _forget_host() -> None:
    global _host, _lock
    _host, _lock = None, threading.Lock()


class HostClient(Reach):
    """Reaches the objects of another process.

    Args:
        ticket: The way to its host.
        name: The client's own name, by which the host's carrier knows it.
        carrier: Takes references there and back.
    """

    def __init__(
        self, ticket: Ticket, name: str | None = None, carrier: Carrier | None = None
    ) -> None:
        self._ticket = Ticket(*ticket)
        self._name = name
        self._carrier = carrier or NoCarrier()
        self._room = threading.BoundedSemaphore(CALLS)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        """Its tag holds the calls that have no answer, by number."""
        self._numbers = itertools.count(1)

    def __call__(
        self, placed: Placed, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        packed = pack_arguments(placed.label, method, args, kwargs)
        patience = PATIENCE * (len(args) if method == SAVE else 1)
        return read_answer(self.forward(placed, method, packed, patience), placed.label)

    def forward(
        self, placed: Placed, method: str, packed: bytes, patience: float = PATIENCE
    ) -> bytes:
        """Forward a call with pickled arguments; return the bytes of ``answer``.

        ``patience``: seconds that it may take.

        Raises:
            RunError: The process that holds the object has ended, or does not respond.
        """
        asked = (self._name, placed.key, placed.allowlist, placed.label, method, packed)
        request = _written(dumps_data(asked), self._carrier, None)
        if not self._room.acquire(timeout=PATIENCE):
            raise RunError(f"{placed.label}: {CALLS} calls before this one have no answer")
        try:
            return _read(self._exchange(request, placed.label, patience), self._carrier)
        finally:
            self._room.release()

    def close(self) -> None:
        """End the connection. Calls that have no answer fail."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _exchange(self, request: bytes, label: str, patience: float) -> bytes:
        answered: Future[bytes] = Future()
        try:
            with self._lock:
                if self._connection is None or self._connection.closed:
                    self._connection = self._connected()
                waiting: dict[int, Future[bytes]] = self._connection.tag
                number = next(self._numbers)
                waiting[number] = answered
                # not waiting: a host that is stopped is noticed below
                self._connection.send(_CALL, _NUMBER.pack(number), request, wait=False)
        except (UnsupportedClusterError, ConnectionClosed) as error:
            raise self._lost(label, error) from error
        try:
            return answered.result(patience)
        except (FutureTimeout, TimeoutError) as error:
            raise RunError(
                f"{label} has not answered for {patience:g} s in the process where it lives "
                f"({self._ticket.name})"
            ) from error
        except ConnectionClosed as error:
            raise self._lost(label, error) from error
        finally:
            waiting.pop(number, None)

    def _connected(self) -> Connection:
        made = connect(
            self._ticket.address,
            self._ticket.secret,
            "host",
            name=f"process {os.getpid()} on {socket.gethostname()}",
            to=self._ticket.name,
            on_frame=self._answered,
            on_closed=self._closed,
            patience=CONNECTING,
        )
        made.tag = {}
        return made

    def _lost(self, label: str, error: Exception) -> RunError:
        return RunError(
            f"{label} lives in the process that made the graph ({self._ticket.name}), and that "
            f"process has ended or cannot be reached: {error}. For runs that outlive a process use "
            "a saver or store that is a file or a server"
        )

    # --- on the thread of the wire --------------------------------------------------------------

    @staticmethod
    def _answered(connection: Connection, frame: Frame) -> None:
        (number,) = _NUMBER.unpack(frame.parts[0])
        waiting = connection.tag.pop(number, None)
        if waiting is not None:
            waiting.set_result(bytes(frame.parts[1]))

    @staticmethod
    def _closed(connection: Connection, error: BaseException | None) -> None:
        why = f"the connection to {connection.address} has ended before the answer came"
        for waiting in list((connection.tag or {}).values()):
            waiting.set_exception(ConnectionClosed(why if error is None else f"{why} ({error})"))
