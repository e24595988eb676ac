"""The way from a calling process to a driver: starts, drains and cancels of runs, in their order.

Ray tells where the driver is, and carries what holds references. The rest goes by the wire: a call
of an actor takes ten times as long.
"""

from __future__ import annotations

import queue
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from actors.lease_frames import WorkerTicket
from actors.persistent import persistent
from distgraph.concurrency.turns import Seat, Turns
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.serde.pickling import dumps_data, loads
from distgraph.wire import Address, Connection, ConnectionClosed, Frame
from distgraph.wire.frames import Bytes
from distgraph.wire.link import Link, answer

__all__ = ("CALLER", "DriverLink", "Entrance")

CALLER = "caller"
"""Role of the connections of calling processes to a driver."""

_START, _CANCEL, _DRAIN = 17, 18, 19
"""Kinds of frames. Each is answered: b"" for done, or a pickled error."""

_REMEMBERED = 4096
"""Runs whose start is known: a request that is sent again starts none twice."""


class Entrance:
    """Takes the requests of callers, on the port of a driver.

    Requests of one caller are carried out in their order.

    Args:
        turns: The threads that carry them out.
        begin: Starts a run, and does not wait for it.
        cancel: Ends runs.
        drain: Stops a run behind its superstep, for a reason.
    """

    def __init__(
        self,
        turns: Turns,
        begin: Callable[[bytes], object],
        cancel: Callable[[list[str]], object],
        drain: Callable[[str, str], object],
    ) -> None:
        self._begin, self._cancel, self._drain = begin, cancel, drain
        self._requests: queue.SimpleQueue[tuple[Connection, Frame]] = queue.SimpleQueue()
        self._seat = Seat(turns, self._turn)
        self._begun: OrderedDict[str, None] = OrderedDict()

    # --- on the thread of the wire --------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Wait for requests."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a request."""
        self._requests.put((connection, frame))
        self._seat.ask()

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """Forget nothing: requests are repeated on another connection."""

    # --- turns ----------------------------------------------------------------------------------

    def _turn(self) -> None:
        while not self._requests.empty():
            self._carry_out(*self._requests.get())

    def _carry_out(self, connection: Connection, frame: Frame) -> None:
        said = b""
        try:
            if frame.kind == _START:
                self._start(_text(frame.parts[1]), bytes(frame.parts[2]))
            elif frame.kind == _CANCEL:
                self._cancel([_text(part) for part in frame.parts[1:]])
            elif frame.kind == _DRAIN:
                self._drain(_text(frame.parts[1]), _text(frame.parts[2]))
        except Exception as error:
            said = dumps_data(capture_error(error))
        try:
            answer(connection, frame, said)
            connection.flush()  # before anything of the run: a caller may begin it again otherwise
        except ConnectionClosed:  # the request comes again
            pass

    def _start(self, run_id: str, packed: bytes) -> None:
        if run_id in self._begun:
            return
        self._begun[run_id] = None
        if len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)
        self._begin(packed)


class DriverLink:
    """A calling process's way to one driver.

    Args:
        driver: Handle of the actor.
    """

    def __init__(self, driver: Any) -> None:
        def locate() -> tuple[Address, bytes]:
            ticket = WorkerTicket.read(persistent(driver.entrance.remote).result())
            return Address(*ticket.address), ticket.secret

        self._link = Link(locate, CALLER, "the superstep driver")

    def start(self, run_id: str, packed: bytes) -> Future[None]:
        """Start a run. The result comes once the driver has it."""
        return self._ask(_START, run_id.encode(), packed)

    def cancel(self, *run_ids: str) -> None:
        """End runs that were started before."""
        self._ask(_CANCEL, *map(str.encode, run_ids))

    def drain(self, run_id: str, reason: str) -> None:
        """Stop a run gracefully after its current superstep."""
        self._ask(_DRAIN, run_id.encode(), reason.encode())

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _ask(self, kind: int, *parts: Bytes) -> Future[None]:
        done: Future[None] = Future()
        self._link.request(kind, *parts).add_done_callback(partial(_settle, done))
        return done


def _settle(done: Future[None], answered: Future[Bytes]) -> None:
    error = answered.exception()
    if error is None and (said := answered.result()):
        error = rebuild_error(loads(said))
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _text(part: Bytes) -> str:
    return str(part, "utf-8")
