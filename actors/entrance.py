"""The way from a calling process to a driver: starts, drains and cancels of runs, in their order.

Back comes the end of a run of which nothing is streamed. It is kept until the caller has it: where
the connection ends before, it goes by the broker.

Ray tells where the driver is, and carries what holds references. The rest goes by the wire: a call
of an actor takes ten times as long.
"""

from __future__ import annotations

import queue
import struct
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any

from actors.lease_frames import WorkerTicket
from actors.persistent import persistent
from distgraph.concurrency.turns import Seat, Turns
from distgraph.contract.stream import Batch, Finish
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.serde.pickling import dumps_data, loads
from distgraph.wire import Address, Connection, ConnectionClosed, Frame
from distgraph.wire.frames import Bytes
from distgraph.wire.link import Link, answer

__all__ = ("CALLER", "DriverLink", "Entrance", "Tell")

CALLER = "caller"
"""Role of the connections of calling processes to a driver."""

_START, _CANCEL, _DRAIN = 17, 18, 19
"""Kinds of frames. Each is answered: b"" for done, or a pickled error."""

_ENDED, _TOOK = 20, 21
"""Kinds of frames: the end of a run, under a number; up to which number the caller has ends."""

_ORDER = struct.Struct("!Q")

_REMEMBERED = 4096
"""Runs whose start is known: a request that is sent again starts none twice."""

_TOGETHER = 64
"""Ends that a caller has taken before it says so."""

Tell = Callable[[Batch], bool]
"""Sends a batch with the end of a run to its caller. Returns False where that cannot be."""


class Entrance:
    """Takes the requests of callers, on the port of a driver.

    Requests of one caller are carried out in their order.

    Args:
        turns: The threads that carry them out.
        begin: Starts a run, and does not wait for it. It is given what sends the run's end.
        cancel: Ends runs.
        drain: Stops a run behind its superstep, for a reason.
        resend: Sends a batch by the broker.
    """

    def __init__(
        self,
        turns: Turns,
        begin: Callable[[bytes, Tell], object],
        cancel: Callable[[list[str]], object],
        drain: Callable[[str, str], object],
        resend: Callable[[Batch], object],
    ) -> None:
        self._begin, self._cancel, self._drain = begin, cancel, drain
        self._requests: queue.SimpleQueue[tuple[Connection, Frame]] = queue.SimpleQueue()
        self._seat = Seat(turns, self._turn)
        self._begun: OrderedDict[str, None] = OrderedDict()
        self._resend = resend
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._told: dict[Connection, deque[tuple[int, Batch]]] = {}
        """Ends of which their callers have not said that they have them, by number."""

    # --- on the thread of the wire --------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Wait for requests."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a request."""
        if frame.kind == _TOOK:
            self._took(connection, *_ORDER.unpack(frame.parts[0]))
            return
        self._requests.put((connection, frame))
        self._seat.ask()

    def _took(self, connection: Connection, last: int) -> None:
        with self._lock:
            told = self._told.get(connection, ())
            while told and told[0][0] <= last:
                told.popleft()

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """Send ends by the broker that may not have arrived. A caller that has them drops them.

        Requests are repeated on another connection.
        """
        with self._lock:
            told = self._told.pop(connection, ())
        for _, batch in told:
            self._resend(batch)

    # --- turns ----------------------------------------------------------------------------------

    def tell(self, connection: Connection, batch: Batch) -> bool:
        """Send the end of a run to the caller at the other side; see ``Tell``."""
        (end,) = batch.ops
        assert isinstance(end, Finish) and type(end.blob) is bytes
        with self._lock:
            number = next(self._numbers)
            head = _ORDER.pack(number), batch.run_id.encode()
            try:
                connection.send(_ENDED, *head, end.blob, wait=False)
            except ConnectionClosed:
                return False
            self._told.setdefault(connection, deque()).append((number, batch))
            return True

    def _turn(self) -> None:
        while not self._requests.empty():
            self._carry_out(*self._requests.get())

    def _carry_out(self, connection: Connection, frame: Frame) -> None:
        said = b""
        try:
            if frame.kind == _START:
                tell = partial(self.tell, connection)
                self._start(_text(frame.parts[1]), bytes(frame.parts[2]), tell)
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

    def _start(self, run_id: str, packed: bytes, tell: Tell) -> None:
        if run_id in self._begun:
            return
        self._begun[run_id] = None
        if len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)
        self._begin(packed, tell)


class DriverLink:
    """A calling process's way to one driver.

    Args:
        driver: Handle of the actor.
        ended: Takes the end of a run, by its id.
    """

    def __init__(self, driver: Any, ended: Callable[[str, bytes], object]) -> None:
        def locate() -> tuple[Address, bytes]:
            ticket = WorkerTicket.read(persistent(driver.entrance.remote).result())
            return Address(*ticket.address), ticket.secret

        self._ended = ended
        self._taken = 0
        """Ends that were taken since the last report of that."""
        self._link = Link(locate, CALLER, "the superstep driver", on_frame=self._take)

    @property
    def connection(self) -> Connection | None:
        """The open connection. Any thread."""
        return self._link.connection

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

    def _take(self, frame: Frame) -> None:
        """Take the end of a run, on the thread of the wire or on that of a reader."""
        number, run_id, blob = frame.parts
        self._ended(_text(run_id), bytes(blob))
        self._taken += 1
        if self._taken >= _TOGETHER:
            self._taken = 0
            self._link.tell(_TOOK, bytes(number))


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
