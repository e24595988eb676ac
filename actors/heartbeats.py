"""The driver's end of the heartbeats of worker processes: one thread with a socket."""

from __future__ import annotations

import logging
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from actors.cluster import node_address
from distgraph.concurrency.threads import daemon
from distgraph.contract.heartbeats import HeartbeatAddress, decode, encode
from distgraph.driver.heartbeats import Health, Heartbeats, Overdue, Process
from distgraph.wire.listener import listening_socket

__all__ = ("HeartbeatServer",)

logger = logging.getLogger("distgraph")

_TICK = 0.25
"""Seconds between two looks at what is overdue or silent."""

_GREETING = 5.0
"""Seconds for which a client may keep silent before it has shown the key."""

_STRANGERS = 64
"""Clients at once that have not shown the key. The next one takes the place of the oldest."""

_LINE = 1 << 20
"""Bytes of a line; a client that sends a longer one is dropped."""


class HeartbeatServer:
    """Receives heartbeats of a session's worker processes, and asks for the end of attempts.

    Args:
        silence: Seconds without any sign of life after which a process that runs something is
            ended.
        end: Ends a process.
    """

    def __init__(self, silence: float, end: Callable[[Process], object]) -> None:
        self._silence = silence
        self._end = end
        self.describe: Callable[[str], str] = str
        """Says what runs under a name."""
        self._key = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._known = Heartbeats()
        self._received: dict[socket.socket, bytes] = {}
        self._strangers: dict[socket.socket, float] = {}
        self._ended: dict[str, None] = {}
        """Groups of attempts that are to end."""
        self._runs: dict[str, Callable[[Overdue], object]] = {}
        host = node_address()
        self._listener = listening_socket(host)
        self._listener.setblocking(False)
        self.address = HeartbeatAddress(host, self._listener.getsockname()[1], self._key)
        """Where worker processes connect."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        daemon(self._serve, "distgraph-heartbeats").start()

    def watch(self, run_id: str, overdue: Callable[[Overdue], object]) -> None:
        """Call ``overdue`` for attempts of a run that go on behind their limits."""
        with self._lock:
            self._runs[run_id] = overdue

    def forget(self, run_id: str) -> None:
        """End what ``watch`` has begun."""
        with self._lock:
            self._runs.pop(run_id, None)

    def cancel(self, name: str) -> bool:
        """Ask for the end of a group of attempts, also if it begins later.

        Return whether a process is known that runs the group.
        """
        with self._lock:
            self._ended[name] = None
            found = self._known.of(name)
        if found is None:
            return False
        connection: Any = found[0]
        self._send(connection, name)
        return True

    def process(self, name: str) -> Process | None:
        """Return the process that runs a group of attempts, None if it is not known."""
        with self._lock:
            found = self._known.of(name)
        return None if found is None else found[1]

    def health(self, identity: str) -> Health:
        """Return the state of a shared process."""
        with self._lock:
            return self._known.health(identity, time.monotonic())

    def past_limit(self, name: str) -> bool:
        """Whether an attempt that is lost had reached its limit of time in its process."""
        with self._lock:
            return self._known.past_limit(name, time.monotonic())

    def took(self, identity: str) -> frozenset[str]:
        """Return the packets that a shared process has begun, by their first attempts."""
        with self._lock:
            return self._known.took(identity)

    def settle(self, name: str) -> None:
        """Note that a group of attempts that was to end has ended."""
        with self._lock:
            self._ended.pop(name, None)

    def silences(self) -> list[str]:
        """Return who is silent, since when and where."""
        with self._lock:
            return [
                silence.text(self.describe) for silence in self._known.silences(time.monotonic())
            ]

    # --- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(_TICK):
                connection: Any = key.fileobj
                if connection is self._listener:
                    self._accept()
                else:
                    self._receive(connection)
            self._look()

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self._strangers) >= _STRANGERS:
                self._drop(next(iter(self._strangers)))
            self._received[connection] = b""
            self._strangers[connection] = time.monotonic()
            self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: socket.socket) -> None:
        try:
            chunk = connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        *lines, rest = (self._received[connection] + chunk).split(b"\n")
        if not chunk or len(rest) > _LINE:
            self._drop(connection)
            return
        self._received[connection] = rest
        for line in lines:
            if connection in self._strangers:
                if not self._greeted(connection, line):
                    self._drop(connection)
                    return
                continue
            with self._lock:
                self._known.line(connection, line, time.monotonic())
                begun = (decode(line) or {}).get("begin") if self._ended else None
            if begun in self._ended:
                self._send(connection, str(begun))

    def _greeted(self, connection: socket.socket, line: bytes) -> bool:
        message = decode(line) or {}
        if not secrets.compare_digest(str(message.get("hello", "")), self._key):
            return False
        del self._strangers[connection]
        with self._lock:
            self._known.hello(connection, message, time.monotonic())
        return True

    def _drop(self, connection: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        self._received.pop(connection, None)
        self._strangers.pop(connection, None)
        with self._lock:
            self._known.gone(connection)
        connection.close()

    def _send(self, connection: socket.socket, name: str) -> None:
        with suppress(OSError):  # what is not asked is forced
            connection.send(encode(cancel=name))

    def _look(self) -> None:
        now = time.monotonic()
        for connection in [c for c, t in self._strangers.items() if now > t + _GREETING]:
            self._drop(connection)
        with self._lock:
            late = self._known.overdue(now)
            overdue = [(self._runs.get(o.name.partition("/")[0]), o) for o in late]
            silences = self._known.unreported(now)
            stopped = self._known.stopped(now, self._silence)
        for tell, attempt in overdue:
            if tell is not None:
                tell(attempt)
        for silence in silences:
            logger.warning("%s", silence.text(self.describe))
        for silence in stopped:
            logger.warning(
                "%s; it is ended after %.0f s (DISTGRAPH_SILENCE)",
                silence.text(self.describe),
                silence.seconds,
            )
            self._end(silence.process)
