"""Calls of tasks on a cluster: from the attempts' processes to the driver, and results back.

A call goes to the driver on the connection of its process, which does not wait for it, and its
result comes back on that connection. Code of a Ray task that waits for a result for longer than a
moment waits within Ray, which gives its CPU to other tasks meanwhile.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any

import ray

from actors.call_frames import CALL, CALLS, RETURNED, CallHead, ReturnedHead
from actors.call_results import PARK
from actors.cluster import NAMESPACE, driver_name
from actors.lease_frames import WorkerTicket, head, read_head, rest
from actors.persistent import persistent
from distgraph.concurrency.forking import free_in_forks
from distgraph.concurrency.timers import timers
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import ProgressMade
from distgraph.errors import SerializationError
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data, loads
from distgraph.serde.references import Parcel, parcel
from distgraph.wire import Address, Connection, Frame, connect
from distgraph.worker.attempt import HOST
from distgraph.worker.calls import Calls, Function

__all__ = (
    "AttemptCalls",
    "driver_of",
    "end_calls",
    "know_ticket",
    "take_returned",
    "use_connection",
)

PATIENCE = 0.005
"""Seconds for which the code of a Ray task waits for a result before its CPU goes to others."""

_GLANCE = 0.001
"""Seconds between a result's arrival in this process and its future."""

on_waiting: Callable[[bool], object] | None = None
"""Called in a process that runs Ray tasks when their code starts to wait for results, and stops."""

_calling: dict[str, AttemptCalls] = {}
"""The attempts here that may get results, by name."""


# --- at the attempt -----------------------------------------------------------------------------


class AttemptCalls:
    """The calls of one attempt, and the attempt's way to the driver.

    Args:
        session: Id of the session.
        run_id: Names the run.
        request: The attempt.
        name: Of the attempt in an executor. None where the attempt runs as a Ray task, whose CPU
            others get while it waits.
        lend: Of an executor: allows its pool for more threads.
    """

    def __init__(
        self,
        session: str,
        run_id: str,
        request: AttemptRequest,
        *,
        name: str | None = None,
        lend: Callable[[int], None] | None = None,
    ) -> None:
        self.session = session
        self.run_id = run_id
        self.request = request
        self._name = name
        self._is_task = name is None
        self._lend = lend
        self._lock = threading.Lock()
        self._since = 0.0
        """When the code began to wait for results."""
        self._looking = False
        self._waits_reported = False
        """Whether the driver knows that it waits."""
        self.calls = Calls(request, self)
        if name is not None:
            _calling[name] = self

    def end(self) -> None:
        """Take no more results: the attempt has ended."""
        self.calls.close()
        if self._name is not None:
            _calling.pop(self._name, None)

    # what ``CallPort`` asks for

    def ship(self, function: Function) -> tuple[bytes, str]:
        return function.shipped()

    def send(self, call: TaskCall | DroppedCall | ProgressMade) -> None:
        request, run_id = self.request, self.run_id
        packed = self._packed(call)
        if self._name is None:
            self._name = _name(run_id, request.task_id, request.attempt)
            _calling[self._name] = self
        connection = _connection(self.session)
        parts = () if isinstance(packed, Parcel) else (packed,)
        call_head = CallHead(run_id, request.task_id, request.attempt)
        connection.send(CALL, head(call_head), *parts, wait=False)
        if not parts:
            driver = driver_of(self.session)
            persistent(lambda: driver.call.remote(run_id, packed))

    def _packed(self, call: TaskCall | DroppedCall | ProgressMade) -> Any:
        try:
            return parcel(dumps_data(call))
        except SerializationError as error:
            name, why = getattr(call, "name", ""), error
            for of, part in zip(("args", "kwargs"), getattr(call, "input", ()), strict=False):
                try:
                    dumps_data(part, name=of)
                except SerializationError as within:
                    why = within
                    break
            raise SerializationError(
                f"task {name!r}, called by node {self.request.node!r}, cannot be sent: {why}"
            ) from error

    def flush(self) -> None:
        """Results come by themselves."""

    def waiting(self, change: int) -> None:
        if self._lend is not None:
            self._lend(change)
        if not self._is_task or on_waiting is None:
            return
        with self._lock:
            if change > 0:
                self._since = time.monotonic()
                if not self._looking:
                    self._looking = True
                    timers().after(PATIENCE, self._look)
            elif self._waits_reported:
                self._waits_reported = False
                on_waiting(False)

    def _look(self) -> None:
        """Report that the code waits, if it has waited for a moment."""
        with self._lock:
            self._looking = False
            if self.calls.settled or self._waits_reported or on_waiting is None:
                return
            left = self._since + PATIENCE - time.monotonic()
            if left > 0:
                self._looking = True
                timers().after(left, self._look)
            else:
                self._waits_reported = True
                on_waiting(True)

    def future(self) -> Future[Any]:
        return _Blocking(self) if self._is_task else Future()

    def block(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait within Ray, which gives the CPU of a task that does so to another."""
        until = None if timeout is None else time.monotonic() + timeout
        driver, request = driver_of(self.session), self.request
        while not done():
            left = PARK if until is None else min(PARK, until - time.monotonic())
            if left <= 0:
                return
            question = driver.await_result.remote(
                self.run_id, (request.task_id, request.attempt), self.calls.taken
            )
            ray.wait([question], timeout=left)
            time.sleep(_GLANCE)


class _Blocking(Future[Any]):
    """A future of code in a Ray task."""

    def __init__(self, way: AttemptCalls) -> None:
        super().__init__()
        self._way = way

    def result(self, timeout: float | None = None) -> Any:
        return super().result(self._waited(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return super().exception(self._waited(timeout))

    def _waited(self, timeout: float | None) -> float | None:
        """Wait for a moment here and then within Ray; return for how long to wait once more.

        Of other threads than the main one, Ray does not take it as waiting.
        """
        if threading.current_thread() is not threading.main_thread() or self.done():
            return timeout
        until = None if timeout is None else time.monotonic() + timeout
        try:
            super().exception(PATIENCE if timeout is None else min(timeout, PATIENCE))
        except FutureTimeout:
            self._way.block(self.done, None if until is None else until - time.monotonic())
        return 0


def _name(run_id: str, task_id: str, attempt: int) -> str:
    return f"{run_id}/{task_id}/{attempt}"


def end_calls(name: str) -> None:
    """Let the code of an attempt in an executor, which was cancelled, wait for no more calls."""
    way = _calling.get(name)
    if way is not None:
        way.calls.close()


# --- results ------------------------------------------------------------------------------------


def take_returned(frame: Frame) -> None:
    """Take the result of a call. It does not wait."""
    returned = ReturnedHead(*read_head(frame))
    way = _calling.get(_name(returned.run_id, returned.task_id, returned.attempt))
    if way is None:  # its attempt has ended
        return
    parts = rest(frame)
    if parts:
        _returned(way, returned.seq, lambda: parts[0])
        return
    key = returned.task_id, returned.attempt
    asked = driver_of(way.session).result.remote(returned.run_id, key, returned.seq).future()
    asked.add_done_callback(lambda future: _returned(way, returned.seq, future.result))


def _returned(way: AttemptCalls, seq: int, packed: Callable[[], Any]) -> None:
    try:
        blob = packed()
        if blob is None:  # its attempt has ended
            return
        result: CallResult = loads(blob)
    except Exception as error:
        request = way.request
        result = CallResult(request.task_id, request.attempt, seq, error=capture_error(error))
    way.calls.returned(result)


# --- the way to the driver ----------------------------------------------------------------------

_tickets: dict[str, WorkerTicket] = {}
_connections: dict[str, Connection] = {}
_connecting = free_in_forks(threading.Lock())
_drivers: dict[str, Any] = {}


def know_ticket(ticket: WorkerTicket) -> None:
    """Note with what this process connects to the driver of a session."""
    _tickets[ticket.session] = ticket


def use_connection(session: str, connection: Connection | None) -> None:
    """Send calls on a connection that this process has for something else; None: no longer."""
    if connection is None:
        _connections.pop(session, None)
    else:
        _connections[session] = connection


def _connection(session: str) -> Connection:
    """Return a connection to the driver of a session, which is made if there is none."""
    found = _connections.get(session)
    if found is not None and not found.closed:
        return found
    with _connecting:
        found = _connections.get(session)
        if found is None or found.closed:
            ticket = _tickets[session]
            found = _connections[session] = connect(
                Address(*ticket.address),
                ticket.secret,
                CALLS,
                name=f"the worker process {os.getpid()} on {HOST}",
                to="the superstep driver",
                on_frame=_received,
                on_closed=partial(_lost, session),
            )
    return found


def _received(connection: Connection, frame: Frame) -> None:
    if frame.kind == RETURNED:
        take_returned(frame)


def _lost(session: str, connection: Connection, error: BaseException | None) -> None:
    """Fail the calls whose results were to come on a connection."""
    for way in list(_calling.values()):
        if way.session == session:
            why = "" if error is None else f": {error}"
            way.calls.lose(
                ConnectionError(f"the connection to {connection.peer.name} has ended{why}")
            )


def driver_of(session: str) -> Any:
    """Return the handle of a session's driver."""
    handle = _drivers.get(session)
    if handle is None:
        handle = _drivers[session] = ray.get_actor(driver_name(session), NAMESPACE)
    return handle
