"""Calls of tasks on a cluster: from the attempts' processes to the driver, and results back.

A call is reported to the driver; the process does not wait for it. Results are pushed to an
executor, which is an actor. A process that runs plain Ray tasks cannot be reached: it asks the
driver for them, and while the code waits there, Ray gives its CPU to other tasks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from actors.cluster import NAMESPACE, driver_name
from actors.persistent import persistent
from distgraph.concurrency.threads import daemon
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import ProgressMade
from distgraph.errors import SerializationError
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data, dumps_parcel, loads
from distgraph.serde.references import parcel
from distgraph.worker.calls import Calls, Function

PARK = 0.5
"""Seconds for which the driver holds a request for results."""

_GLANCE = 0.001
"""Seconds between a result's arrival in this process and its future."""

on_waiting: Callable[[bool], object] | None = None
"""Called in a process that runs Ray tasks when their code starts or stops to wait for results."""

Key = tuple[str, int]
"""Task id and attempt."""


# --- at the attempt -----------------------------------------------------------------------------


class AttemptCalls:
    """The calls of one attempt, and the attempt's connection to the driver.

    Args:
        lend: Of an executor: allows its pool for more threads. None where the attempt runs as a
            Ray task, which results cannot be pushed to.
    """

    def __init__(
        self,
        session: str,
        run_id: str,
        request: AttemptRequest,
        *,
        pushed: bool,
        lend: Callable[[int], None] | None = None,
    ) -> None:
        self._run_id = run_id
        self._request = request
        self._pushed = pushed
        self._lend = lend
        self._session = session
        self._question: Any = None
        """Reference to the pending request for results."""
        self._asking = threading.Lock()
        self.calls = Calls(request, self)

    # what ``CallPort`` asks for

    def ship(self, function: Function) -> tuple[bytes, str]:
        return function.shipped()

    def send(self, call: TaskCall | DroppedCall | ProgressMade) -> None:
        try:
            packed = parcel(dumps_data(call))
        except SerializationError as error:
            name, told = getattr(call, "name", ""), error
            for of, part in zip(("args", "kwargs"), getattr(call, "input", ()), strict=False):
                try:
                    dumps_data(part, name=of)
                except SerializationError as within:
                    told = within
                    break
            raise SerializationError(
                f"task {name!r}, called by node {self._request.node!r}, cannot be sent: {told}"
            ) from error
        driver, run_id = driver_of(self._session), self._run_id
        persistent(lambda: driver.call.remote(run_id, packed))

    def flush(self) -> None:
        """Results come by themselves."""

    def waiting(self, change: int) -> None:
        if self._lend is not None:
            self._lend(change)
        if self._pushed:
            return
        if on_waiting is not None:
            on_waiting(change > 0)
        if change > 0:
            daemon(self._ask, "distgraph-results").start()

    def future(self) -> Future[Any]:
        return Future() if self._pushed else _Blocking(self)

    # a Ray task asks for its results

    def _ask(self) -> None:
        """Ask for results until none is missing. One thread at a time."""
        with self._asking, suppress(RayError):
            driver, request = driver_of(self._session), self._request
            while not self.calls.settled:
                self._question = driver.results.remote(
                    self._run_id, (request.task_id, request.attempt), self.calls.taken
                )
                packed = ray.get(self._question)
                if packed is None:
                    return
                for blob in loads(packed):
                    self.calls.returned(loads(blob))

    def block(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Wait within Ray, which gives the CPU of a task that does so to another."""
        until = None if timeout is None else time.monotonic() + timeout
        while not done():
            left = PARK if until is None else min(PARK, until - time.monotonic())
            if left <= 0:
                return
            question = self._question
            if question is not None:
                ray.wait([question], timeout=left)
            time.sleep(_GLANCE)


class _Blocking(Future[Any]):
    """A future of code in a Ray task."""

    def __init__(self, way: AttemptCalls) -> None:
        super().__init__()
        self._way = way

    def result(self, timeout: float | None = None) -> Any:
        self._way.block(self.done, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._way.block(self.done, timeout)
        return super().exception(0)


_drivers: dict[str, Any] = {}


def driver_of(session: str) -> Any:
    """Return the handle of a session's driver."""
    handle = _drivers.get(session)
    if handle is None:
        handle = _drivers[session] = ray.get_actor(driver_name(session), NAMESPACE)
    return handle


# --- at the driver ------------------------------------------------------------------------------


class Results:
    """Results of one run's calls, for attempts that request them. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: dict[Key, list[bytes]] = {}
        self._closed = False

    def put(self, result: CallResult) -> None:
        """Keep a result until its attempt has ended."""
        with self._changed:
            self._kept.setdefault((result.task_id, result.attempt), []).append(pack_result(result))
            self._changed.notify_all()

    def take(self, key: Key, after: int) -> bytes | None:
        """Return the results of an attempt after the first ``after``; wait until some exist.

        None if the run has ended.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or len(self._kept.get(key, ())) > after, PARK
            )
            return None if self._closed else dumps_parcel(self._kept.get(key, [])[after:])

    def forget(self, key: Key) -> None:
        """Drop the results of an attempt that has ended."""
        if self._kept:
            with self._changed:
                self._kept.pop(key, None)

    def close(self) -> None:
        """Complete all pending requests, because the run has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def pack_result(result: CallResult) -> bytes:
    """Pickle a result; a result that cannot be pickled becomes the error that reports this."""
    try:
        return dumps_data(result)
    except Exception as error:
        lost = capture_error(error)
        return dumps_data(CallResult(result.task_id, result.attempt, result.seq, error=lost))
