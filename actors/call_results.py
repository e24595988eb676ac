"""Results of the calls that the code of attempts makes, at the driver."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from actors.call_frames import RETURNED, CallHead, ReturnedHead
from actors.lease_frames import head, read_head, rest
from distgraph.contract.calls import CallResult
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data
from distgraph.serde.references import ReferringBlob, parcel
from distgraph.wire import Connection, ConnectionClosed, Frame
from distgraph.wire.frames import Bytes

__all__ = ("PARK", "CallPort", "CallResults")

PARK = 0.5
"""Seconds for which the driver holds a question whether results have come."""

Key = tuple[str, int]
"""Task id and attempt."""


class CallPort:
    """Serves the frames of calls, on connections of any role.

    Args:
        take: Takes a call, and the connection that results go to. It must not wait.
    """

    def __init__(self, take: Callable[[Connection, CallHead, Bytes | None], object]) -> None:
        self._take = take

    def opened(self, connection: Connection) -> None:
        """Wait for calls."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a frame."""
        parts = rest(frame)
        self._take(connection, CallHead(*read_head(frame)), parts[0] if parts else None)

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """Its process lets the calls fail."""


class CallResults:
    """Results of one run's calls, each sent on the connection that its call came from. Thread-safe.

    Args:
        run_id: Names the run.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._changed = threading.Condition()
        self._callers: dict[Key, Connection] = {}
        self._early: dict[Key, list[tuple[int, bytes]]] = {}
        """Results of calls that came through Ray before anything came on a connection."""
        self._count: dict[Key, int] = {}
        self._referring: dict[tuple[Key, int], ReferringBlob] = {}
        """Results that hold references, until their attempt has ended."""
        self._closed = False

    def subscribe(self, key: Key, connection: Connection) -> None:
        """Send the results of an attempt's calls on a connection."""
        if self._callers.get(key) is connection:
            return
        with self._changed:
            self._callers[key] = connection
            early = self._early.pop(key, ())
        for seq, packed in early:
            self._send(connection, key, seq, packed)

    def put(self, result: CallResult) -> None:
        """Send a result."""
        key, packed = (result.task_id, result.attempt), pack_result(result)
        with self._changed:
            self._count[key] = self._count.get(key, 0) + 1
            if isinstance(packed, ReferringBlob):
                self._referring[key, result.seq] = packed
            connection = self._callers.get(key)
            if connection is None:
                self._early.setdefault(key, []).append((result.seq, packed))
            self._changed.notify_all()
        if connection is not None:
            self._send(connection, key, result.seq, packed)

    def _send(self, connection: Connection, key: Key, seq: int, packed: bytes) -> None:
        returned_head = head(ReturnedHead(self._run_id, *key, seq))
        parts = () if isinstance(packed, ReferringBlob) else (packed,)
        with suppress(ConnectionClosed):  # its process is gone
            connection.send(RETURNED, returned_head, *parts, wait=False)

    def take(self, key: Key, seq: int) -> Any:
        """Return a result that holds references, as the result of a Ray call. None if its attempt
        has ended."""
        packed = self._referring.get((key, seq))
        return None if packed is None else parcel(packed)

    def wait(self, key: Key, after: int) -> None:
        """Return once there are more than ``after`` results of an attempt, or after a moment."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._count.get(key, 0) > after, PARK)

    def forget(self, key: Key) -> None:
        """Drop what is kept of an attempt that has ended."""
        if self._callers or self._count:
            with self._changed:
                self._callers.pop(key, None)
                self._early.pop(key, None)
                self._count.pop(key, None)
                for name in [name for name in self._referring if name[0] == key]:
                    del self._referring[name]

    def close(self) -> None:
        """Complete all pending questions, because the run has ended."""
        with self._changed:
            self._closed = True
            self._callers.clear()
            self._early.clear()
            self._referring.clear()
            self._changed.notify_all()


def pack_result(result: CallResult) -> bytes:
    """Pickle a result; a result that cannot be pickled becomes the error that reports this."""
    try:
        return dumps_data(result)
    except Exception as error:
        lost = capture_error(error)
        return dumps_data(CallResult(result.task_id, result.attempt, result.seq, error=lost))
