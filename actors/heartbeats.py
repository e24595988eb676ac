"""The driver's end of the heartbeats of worker processes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from actors.worker_port import WorkerPort
from distgraph.concurrency.cpu_waits import cpu_waits
from distgraph.concurrency.timers import timers
from distgraph.contract.heartbeats import ASKS, HEARTBEAT, LEAVES, decode, encode
from distgraph.driver.heartbeats import Health, Heartbeats, Overdue, Process
from distgraph.wire import Connection, ConnectionClosed, Frame

__all__ = ("WorkerHeartbeats",)

logger = logging.getLogger("distgraph")

_TICK = 0.25
"""Seconds between two looks at what is overdue or silent."""


class WorkerHeartbeats:
    """Receives heartbeats of a session's worker processes, and asks for the end of attempts.

    Args:
        port: Which the processes connect to.
        silence: Seconds without any sign of life after which a process that runs something is
            ended.
        end: Ends a process.
        place: Ray's id of this machine.
    """

    def __init__(
        self,
        port: WorkerPort,
        silence: float,
        end: Callable[[Process], object],
        place: str | None = None,
    ) -> None:
        self._silence = silence
        self._end = end
        self.describe: Callable[[str], str] = str
        """Says what runs under a name."""
        self.may_run: Callable[[str, int], bool] = lambda name, number: False
        """Whether a Ray task may run its group: (name, number of the task)."""
        self._lock = threading.Lock()
        self._place = place
        self._known = Heartbeats(self._waited)
        self._looking = False
        self._ended: dict[str, None] = {}
        """Groups of attempts that are to end."""
        self._runs: dict[str, Callable[[Overdue], object]] = {}
        port.serve(HEARTBEAT, self)

    def _waited(self, process: Process) -> float | None:
        """Return for how long a process of this machine has waited for a CPU."""
        return cpu_waits(process.pid) if process.place == self._place else None

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

    def doom(self, name: str) -> Process | None:
        """Return the process that runs a group of attempts, to be killed, None if it is not known.

        It runs nothing else from now on.
        """
        with self._lock:
            return self._known.doom(name)

    def health(self, identity: str) -> Health:
        """Return the state of a shared process."""
        now = time.monotonic()
        with self._lock:
            self._known.look(now)
            return self._known.health(identity, now)

    def past_limit(self, name: str) -> bool:
        """Whether an attempt that is lost had reached its limit of time in its process."""
        with self._lock:
            return self._known.past_limit(name, time.monotonic())

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

    # --- on the thread of the wire --------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Wait for the line by which a process says what it is."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a line."""
        line, now = bytes(frame.parts[0]), time.monotonic()
        if connection.tag is None:
            connection.tag = self
            with self._lock:
                self._known.hello(connection, decode(line) or {}, now)
                if not self._looking:
                    self._looking = True
                    timers().after(_TICK, self._look)
            return
        if line.startswith(ASKS):
            asked = decode(line) or {}
            name, number = str(asked.get("asks")), int(asked.get("number", 0))
            may = self.may_run(name, number)
            with suppress(ConnectionClosed):  # it asks again
                connection.send_line(encode(may=may, number=number, name=name))
            return
        with self._lock:
            self._known.line(connection, line, now)
            begun = (decode(line) or {}).get("begin") if self._ended else None
            leaves = line.endswith(LEAVES) and self._known.leaves(connection)
        if leaves:
            with suppress(ConnectionClosed):  # it leaves then
                connection.send_line(encode(left=(decode(line) or {}).get("end")))
        if begun in self._ended:
            self._send(connection, str(begun))

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """Forget a process. Its death is reported elsewhere."""
        with self._lock:
            self._known.gone(connection)

    @staticmethod
    def _send(connection: Connection, name: str) -> None:
        with suppress(ConnectionClosed):  # what is not asked is forced
            connection.send_line(encode(cancel=name))

    # --- time -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look for what is overdue or silent, and look again while processes are connected."""
        now = time.monotonic()
        with self._lock:
            self._known.look(now)
            late = self._known.overdue(now)
            overdue = [(self._runs.get(o.name.partition("/")[0]), o) for o in late]
            silences = self._known.unreported(now)
            stopped = self._known.stopped(now, self._silence)
            self._looking = bool(self._known)
            if self._looking:
                timers().after(_TICK, self._look)
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
