"""The event plane of a run that a caller in another process reads.

The log of a run is in a broker: batches, their answers, and congestion. A run of which nothing is
streamed needs no log: its end is all that its caller gets, and goes straight to the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from distgraph.concurrency.timers import timers
from distgraph.contract.stream import DRIVER, AttemptId, Batch, Blob, Delivery, Finish, Op, Segment
from distgraph.driver.ports import Acked, BackendFailed, DriverEvent, Fenced, Relieved
from distgraph.streaming.transport import Answered

__all__ = ("BrokerPlane", "Drives", "only_delivery")

SMALL = 1 << 16
"""Most bytes of an end that goes straight to its caller: those of other runs go behind it."""


class Drives(Protocol):
    """A driver's way to the broker."""

    def drive(self, batch: Batch, answered: Answered, *, awaited: bool = True) -> None:
        """Send a batch. ``answered`` takes a pause in seconds, or why there is none. That may come
        late where it is not ``awaited``."""

    def fence(self, run_id: str, attempt_id: AttemptId) -> Future[int]:
        """Cut off an attempt at once; the result is the number of its events that have arrived."""


class BrokerPlane:
    """Implements ``EventPlane``.

    Args:
        drives: The way to the broker.
        run_id: Id of the run.
        caller: Name of the process that reads the run.
        post: Accepts the broker's responses, from any thread.
        terminate: Ends the stream without the engine.
        straight: Sends a batch with the run's end straight to the caller. Returns False, and does
            nothing, where that is not possible. None: events of the run are streamed.
    """

    def __init__(
        self,
        drives: Drives,
        run_id: str,
        caller: str,
        post: Callable[[DriverEvent], None],
        terminate: Callable[[BaseException], None],
        straight: Callable[[Batch], bool] | None = None,
    ) -> None:
        self._drives = drives
        self._run_id = run_id
        self._caller = caller
        self._post = post
        self.terminate = terminate
        self._straight = straight
        self._asking = threading.Lock()
        """Held from the response that the log is over its limit until the response that the log has
        room."""

    def drive(self, batch_no: int, ops: Sequence[Op], *, awaited: bool) -> Acked | None:
        batch = Batch(self._run_id, self._caller, batch_no, ops)
        if self._straight is not None and _is_small_end(ops) and self._straight(batch):
            return Acked()
        self._drives.drive(batch, self._answered, awaited=awaited)
        return None

    def fence(self, attempt_id: AttemptId) -> int | None:
        if self._straight is not None:
            return 0  # its worker sends no events

        def answered(sent: Future[int]) -> None:
            error = sent.exception()
            if error is not None:
                self._post(BackendFailed(error))
            else:
                self._post(Fenced(attempt_id, sent.result()))

        self._drives.fence(self._run_id, attempt_id).add_done_callback(answered)
        return None

    def _answered(self, pause: float | BaseException) -> None:
        if isinstance(pause, BaseException):
            self._post(BackendFailed(pause))
            return
        self._post(Acked(congested=pause > 0))
        if pause > 0 and self._asking.acquire(blocking=False):
            timers().after(pause, self._ask)

    def _ask(self) -> None:
        """Ask whether the log has room."""
        self._drives.drive(Batch(self._run_id, self._caller, 0, ()), self._answered_again)

    def _answered_again(self, pause: float | BaseException) -> None:
        if not isinstance(pause, BaseException) and pause > 0:
            timers().after(pause, self._ask)
            return
        self._asking.release()
        self._post(BackendFailed(pause) if isinstance(pause, BaseException) else Relieved())


def _is_small_end(ops: Sequence[Op]) -> bool:
    # a lost broker cancels its runs: their caller is to read of that, and not of a cancel
    if len(ops) != 1 or type(ops[0]) is not Finish or ops[0].force:
        return False
    blob = ops[0].blob
    return type(blob) is bytes and len(blob) <= SMALL  # else it may hold references


def only_delivery(blob: Blob) -> Delivery:
    """Return what the caller reads of a run whose end is all that there is."""
    return Delivery(1, Segment(DRIVER, 1, 0, 1, 1, blob), True)
