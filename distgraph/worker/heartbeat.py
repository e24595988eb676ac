"""The heartbeat of a worker process: reports to a driver what runs here, and receives what to end.

While something runs, a thread sends a heartbeat each second. If the node's code keeps the
interpreter lock, no Python thread can send: then ``faulthandler``, which needs no lock, writes the
Python stacks into the same connection every few seconds. A stopped process sends neither.

``faulthandler`` reads the frames of all threads, and a thread that runs Python code meanwhile can
make it read freed memory: the process would die. It therefore writes only behind a time at which
the thread of the heartbeat should have run, and did not.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from distgraph.concurrency.threads import daemon
from distgraph.contract.heartbeats import BEAT, HEARTBEAT, SILENT, decode, encode
from distgraph.errors import UnsupportedClusterError
from distgraph.wire import Address, Connection, ConnectionClosed, Frame, connect
from distgraph.wire.dialing import PATIENCE
from distgraph.worker.deadline import left_behind

__all__ = ("Heartbeat", "Limited", "LoopLag")

logger = logging.getLogger("distgraph")

_RECONNECT = 2.0
"""Seconds for which a connection that was lost is tried again."""

_ANSWER = 20.0
"""Seconds for the driver to say whether a task may run its group."""

_KILLED = 0.5
"""Seconds that a group runs, at least, whose process is killed by its number: half of those that
the driver leaves it to end (``GRACE`` in ``actors/reaper.py``)."""

_LEFT = 10.0
"""Seconds for the driver to kill a process that has ended a group, or to let it leave."""

_BEHIND = 5.0
"""Seconds after which code that was left behind is reported."""

_LOOK = 0.2
"""Seconds between two looks at the connection while an answer is awaited."""

_AGAIN = 10.0
"""Seconds between two such tries."""

_STUCK = 1.25
"""Seconds for which the thread of the heartbeat did not run when it should have, after which the
stacks are written of a process with an attempt that is limited in time."""

_PAST = 0.25
"""Seconds between two heartbeats while an attempt goes on behind its limit of time."""

_SHORTEST = 0.05
"""Seconds between two heartbeats, at least."""


class Limited(Protocol):
    """An attempt whose time is limited."""

    def peek(self) -> float:
        """Return the seconds that the attempt has left."""


class LoopLag:
    """Measures for how long an event loop has not run. Make it on the loop.

    Args:
        loop: The loop.
        ended: Called if the loop runs no longer: code of users may have closed what it waits by.
        late: Called if the loop has not run between two measurements: code of users may block it,
            or may have closed what wakes it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], object],
        late: Callable[[], object] = lambda: None,
    ) -> None:
        self._loop = loop
        self._ended = ended
        self._late = late
        self._thread = threading.get_ident()
        self._asked: float | None = None

    def __call__(self) -> tuple[float, str]:
        """Return the seconds, and the stack of the loop's thread if they are many."""
        now = time.monotonic()
        if not self._loop.is_running():
            self._ended()
        if self._asked is None:
            self._asked = now
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._ran)
            return 0.0, ""
        lag = now - self._asked
        self._late()
        frame = sys._current_frames().get(self._thread) if lag >= SILENT else None
        return lag, "" if frame is None else "".join(traceback.format_stack(frame))

    def _ran(self) -> None:
        self._asked = None


class Heartbeat:
    """The connection of this process to the driver of one session. Thread-safe.

    Args:
        address, secret: Of the driver's port for workers.
        role: What the process is: ``task``, ``executor`` or ``pool``.
        cancel: Called with the name of a group of attempts that is to end.
        always: Send heartbeats also while nothing runs.
        place: Names the machine for the driver.
        identity: Names the process for the driver.
        lag: Returns the seconds for which the event loop of the process has not run, and the stack
            of its thread.
    """

    def __init__(
        self,
        address: Address,
        secret: bytes,
        role: str,
        cancel: Callable[[str], object],
        *,
        always: bool = False,
        place: str = "",
        identity: str = "",
        lag: Callable[[], tuple[float, str]] | None = None,
    ) -> None:
        self._address = address
        self._secret = secret
        self._role = role
        self._cancel = cancel
        self._always = always
        self._place = place
        self._who = identity
        self._lag = lag
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._connection: Connection | None = None
        self._was_connected = False
        self._tried = 0.0
        self._running: dict[str, float] = {}
        """What runs here, and when it began."""
        self._limited: dict[str, Limited] = {}
        self._wake = threading.Condition(self._lock)
        self._asked: tuple[str, int] | None = None
        """The group and the task that the main thread asks for."""
        self._answered = threading.Event()
        self._may = False
        self._leaving = ""
        """The group that has ended, and behind which the main thread waits."""
        self._may_leave = threading.Event()
        self._next = float("inf")
        """When the next heartbeat is due; infinite while nothing runs."""
        self._beating = False
        self._armed = float("-inf")

    # --- what runs ------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and send heartbeats from now on. Does nothing the second time.

        Raises:
            UnsupportedClusterError: The driver cannot be reached.
        """
        if not self._beating:
            self._connect_first()
            with self._lock:
                self._run()

    def may_run(self, name: str, number: int) -> bool:
        """Ask the driver whether task ``number`` of a group may run the group. Main thread only.

        Raises:
            UnsupportedClusterError: The driver cannot be reached.
        """
        until = time.monotonic() + _ANSWER
        while True:
            self._connect_first()
            with self._lock:
                asked = self._connection
                self._asked = name, number
                self._answered.clear()
                self._tell(asks=name, number=number)
            while asked is not None and asked is self._connection:
                if self._answered.wait(_LOOK):
                    return self._may
                if time.monotonic() >= until:
                    break
            if time.monotonic() >= until:
                raise UnsupportedClusterError(
                    f"the superstep driver at {self._address} did not answer process {os.getpid()} "
                    f"on {socket.gethostname()} for {_ANSWER:g} s"
                )
            if self._connection is None:
                self._connect(_RECONNECT)

    def begin(self, name: str) -> None:
        """Report that a group of attempts runs here from now on.

        Raises:
            UnsupportedClusterError: The driver cannot be reached.
        """
        self._connect_first()
        with self._lock:
            self._running[name] = time.monotonic()
            self._tell(begin=name)
            self._arm()
            self._run()

    def _run(self) -> None:
        if not self._beating:
            self._beating = True
            daemon(self._beat, "distgraph-heartbeat").start()
        if self._next == float("inf"):
            self._wake.notify()

    def limit(self, name: str, clock: Limited) -> None:
        """Report that an attempt is limited in time, before its code begins."""
        with self._lock:
            self._limited[name] = clock
            self._tell(limit=name, left=clock.peek())
            self._arm(force=True)
            soon = time.monotonic() + self._pause()
            if soon < self._next < float("inf"):  # else the thread has nothing to wait for
                self._next = soon
                self._wake.notify()

    def end(self, name: str) -> None:
        """Report that an attempt, or a group of attempts, has ended here."""
        with self._lock:
            self._end(name)

    def _end(self, name: str, **more: object) -> None:
        if name in self._running or name in self._limited:
            self._running.pop(name, None)
            self._limited.pop(name, None)
            self._tell(end=name, **more)
        if not self._running and not self._always:
            self._disarm()

    def leave(self, name: str) -> None:
        """Report that a group of attempts has ended, before this process may run something else.

        A driver that waits for the end of a group kills its process after a while. If it may do so
        now, this waits for its answer, or for the kill: what runs next here is to live. Main thread
        only.
        """
        with self._lock:
            asked = self._connection
            if time.monotonic() < self._running.get(name, float("inf")) + _KILLED:
                self._end(name)
                return
            self._leaving = name
            self._may_leave.clear()
            self._end(name, leaves=True)
        until = time.monotonic() + _LEFT
        while asked is not None and asked is self._connection and time.monotonic() < until:
            if self._may_leave.wait(_LOOK):
                return

    # --- the thread -----------------------------------------------------------------------------

    def _beat(self) -> None:
        while True:
            with self._lock:
                while not (self._running or self._always):
                    self._next = float("inf")
                    self._wake.wait()
            self._connect_again()
            with self._lock:
                left = {name: clock.peek() for name, clock in self._limited.items()}
                lag, stack = (0.0, "") if self._lag is None else self._lag()
                stacks = {"stack": stack} if stack else {}
                self._tell(beat=left, lag=lag, behind=left_behind.count(_BEHIND), **stacks)
                self._arm(force=True)
                self._sleep()

    def _sleep(self) -> None:
        """Wait until the next heartbeat is due."""
        self._next = time.monotonic() + self._pause()
        while (left := self._next - time.monotonic()) > 0:
            self._wake.wait(left)

    def _pause(self) -> float:
        """Return the seconds between two heartbeats."""
        left = min((clock.peek() for clock in self._limited.values()), default=BEAT)
        return min(BEAT, max(left, _SHORTEST)) if left > 0 else _PAST

    def _arm(self, *, force: bool = False) -> None:
        """Let the stacks be written if no heartbeat follows in time."""
        now = time.monotonic()
        descriptor = None if self._connection is None else self._connection.descriptor
        if descriptor is None or (not force and now < self._armed + BEAT):
            return
        self._armed = now
        seconds = min(SILENT, self._pause() + _STUCK) if self._limited else SILENT
        faulthandler.dump_traceback_later(seconds, repeat=True, file=descriptor)

    def _disarm(self) -> None:
        if self._armed > float("-inf"):
            self._armed = float("-inf")
            faulthandler.cancel_dump_traceback_later()

    # --- the connection -------------------------------------------------------------------------

    def _tell(self, **message: object) -> None:
        """Send a message; what cannot be sent is lost, and the driver goes by the silence."""
        if self._connection is not None:
            with suppress(ConnectionClosed):
                self._connection.send_line(encode(**message))

    def _connect_first(self) -> None:
        if not self._was_connected:
            with self._connecting:
                if not self._was_connected:
                    self._connect(PATIENCE)

    def _connect_again(self) -> None:
        """Connect where the connection was lost: the driver, or the network, may be back."""
        now = time.monotonic()
        if self._connection is not None or not self._was_connected or now < self._tried + _AGAIN:
            return
        self._tried = now
        try:
            self._connect(_RECONNECT)
        except UnsupportedClusterError as error:
            logger.warning(
                "the connection for heartbeats is lost: a node that does not react here is ended "
                "later, and without its Python stack. %s",
                error,
            )

    def _connect(self, patience: float) -> None:
        host, pid = socket.gethostname(), os.getpid()
        made = connect(
            self._address,
            self._secret,
            HEARTBEAT,
            name=f"the {self._role} process {pid} on {host}",
            to="the superstep driver",
            on_frame=self._received,
            on_closed=self._closed,
            lines=True,
            patience=patience,
        )
        with self._lock:
            self._connection = made
            self._was_connected = True
            who = {"role": self._role, "host": host, "pid": pid, "place": self._place}
            self._tell(hello=self._who, **who)
            for name in self._running:
                self._tell(begin=name)
            for name, clock in self._limited.items():
                self._tell(limit=name, left=clock.peek())
            if made.closed:
                self._connection = None

    # --- on the thread of the wire --------------------------------------------------------------

    def _received(self, connection: Connection, line: Frame) -> None:
        message = decode(bytes(line.parts[0]))
        if message is None:
            return
        if "cancel" in message:
            self._cancel(str(message["cancel"]))
        elif "may" in message and (message["name"], message["number"]) == self._asked:
            self._may, self._asked = bool(message["may"]), None
            self._answered.set()
        elif message.get("left") == self._leaving:
            self._may_leave.set()

    def _closed(self, connection: Connection, error: BaseException | None) -> None:
        with self._lock:
            if connection is self._connection:
                self._connection = None
                self._disarm()  # before its descriptor becomes that of another file
