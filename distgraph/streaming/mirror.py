"""The mirror of a broker: each call that changes it, applied to a replica in another process.

The rules of ``Broker`` are deterministic and take the time as an argument: the same calls in the
same order make the same broker. What the broker says to others (acknowledgements, pushes, answers)
leaves its process only once the mirror has the calls before it. A broker that is started again
begins with the replica, in which nothing is missing that a reader or worker has seen.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, cast

from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.serde.references import Parcel
from distgraph.streaming.broker import Broker
from distgraph.wire import Address, Connection, Frame, Listener, new_secret
from distgraph.wire.link import ANSWER, Link, Locate, answer
from distgraph.wire.loop import loop

__all__ = ("MirrorServer", "Recorder", "Replica", "ReplicaState", "recorded")

logger = logging.getLogger("distgraph")

_RECORDS = ANSWER + 20
_HEAD = struct.Struct("!QQ")
_APPLIED = struct.Struct("!?")

_NOTE = "note"

_CHANGES = frozenset(
    {
        "announce",
        "begin_again",
        "close",
        "consumed",
        "drive",
        "end_unbegun",
        "fence",
        "leave",
        "leave_all",
        "listen",
        "open",
        "publish",
        "sweep",
        "take",
        "take_over",
        "terminate",
        "withdraw",
    }
)
"""Methods of ``Broker`` that are mirrored."""


class Record(NamedTuple):
    """One call of a ``Broker``."""

    method: str
    given: tuple[Any, ...]
    named: dict[str, Any]


class ReplicaState(NamedTuple):
    """What a broker begins with."""

    epoch: int
    applied: int
    """Records that the replica has."""
    now: float
    """Time of the last record."""
    broker: Broker
    notes: dict[str, Any]


# --- in the process of the mirror ---------------------------------------------------------------


class Replica:
    """The mirrored broker. Any thread may use it.

    Args:
        broker: A broker to which nothing has happened.
    """

    def __init__(self, broker: Broker) -> None:
        self._lock = threading.Lock()
        self._broker = broker
        self._notes: dict[str, Any] = {}
        self._epoch = 0
        self._applied = 0
        self._now = 0.0

    def begin(self) -> Any:
        """Return the ``ReplicaState``, pickled, for a broker that begins.

        Records of an earlier broker are refused from now on.
        """
        with self._lock:
            self._epoch += 1
            state = (self._epoch, self._applied, self._now, self._broker, self._notes)
            return dumps_parcel(state)

    def apply(self, epoch: int, first: int, now: float, records: Sequence[Record]) -> bool:
        """Apply records, of which the first has number ``first``; those that are known are left
        out. Return False for records of an earlier broker."""
        with self._lock:
            if epoch != self._epoch:
                return False
            for number, record in enumerate(records, first):
                if number > self._applied:
                    self._apply(record)
                    self._applied = number
            self._now = max(self._now, now)
            return True

    def _apply(self, record: Record) -> None:
        if record.method == _NOTE:
            notes = self._notes | record.named
            self._notes = {name: value for name, value in notes.items() if value is not None}
            return
        with suppress(Exception):  # it was raised in the broker as well
            getattr(self._broker, record.method)(*record.given, **record.named)
        self._broker.take_woken()
        self._broker.take_forgotten()


class MirrorServer:
    """Takes the records of a broker from a socket."""

    def __init__(self, replica: Replica, address: str) -> None:
        self._replica = replica
        self.secret = new_secret()
        self._listener = Listener(
            address,
            self.secret,
            on_open=lambda connection: None,
            on_frame=self._on_frame,
            on_closed=lambda connection, error: None,
        )

    @property
    def address(self) -> Address:
        """Where the mirror is reached."""
        return self._listener.address

    def _on_frame(self, connection: Connection, frame: Frame) -> None:
        if frame.kind == _RECORDS:
            epoch, first = _HEAD.unpack(frame.parts[1])
            applied = self._replica.apply(epoch, first, *loads(frame.parts[2]))
            answer(connection, frame, _APPLIED.pack(applied))


# --- in the process of the broker ---------------------------------------------------------------


class Recorder:
    """Sends the calls of a broker to its mirror, one group at a time, and holds back what depends
    on them.

    Args:
        locate: Finds the mirror.
        refer: Sends records that hold references, by the system that counts them; returns whether
            they were applied.
        clock: The time that the broker is given.
        lost: Called once if the mirror cannot be reached any more. What was held back is released
            behind it: the broker goes on without a mirror.
        refused: Called if another broker has begun, so that this one must end.
        state: What the broker began with.
    """

    def __init__(
        self,
        locate: Locate,
        refer: Callable[[int, int, Parcel], Future[bool]],
        clock: Callable[[], float],
        lost: Callable[[BaseException], object],
        refused: Callable[[], object],
        state: ReplicaState,
    ) -> None:
        self._refer = refer
        self._clock = clock
        self._on_lost = lost
        self._refused = refused
        self._epoch = state.epoch
        self._lock = threading.RLock()  # the garbage collector may close a stream at any moment
        self._made = self._applied = state.applied
        """Numbers of the last record that was made, and that the mirror has."""
        self._pending: list[Record] = []
        self._held: deque[tuple[int, Callable[[], object]]] = deque()
        self._sending = False
        self._releasing = False
        self._lost = False
        self._link = Link(locate, "broker", "the mirror of the broker", on_lost=self._fail)

    def note(self, **values: Any) -> None:
        """Keep values for the next broker; None for one that is not kept any more."""
        self.add(Record(_NOTE, (), values))

    def add(self, record: Record) -> None:
        """Add a record. The order of calls is the order of records."""
        with self._lock:
            if self._lost:
                return
            self._made += 1
            self._pending.append(record)
            if not self._sending:
                self._sending = True
                loop().soon(self._send)

    def after(self, call: Callable[[], object]) -> None:
        """Make a call once the mirror has all records that were added so far."""
        with self._lock:
            if self._held or self._releasing or self._applied < self._made:
                self._held.append((self._made, call))
                return
        call()

    def wait(self) -> None:
        """Wait until the mirror has all records that were added so far."""
        done = threading.Event()
        self.after(done.set)
        done.wait()

    # --- on the loop's thread -------------------------------------------------------------------

    def _send(self) -> None:
        with self._lock:
            records, self._pending = self._pending, []
            first, last = self._applied + 1, self._made
            if not records or self._lost:
                self._sending = False
                return
            now = self._clock()
        packed = dumps_parcel((now, records))
        if isinstance(packed, Parcel):
            self._refer(self._epoch, first, packed).add_done_callback(
                lambda future: loop().soon(lambda: self._answered(last, future, future.result))
            )
            return
        head = _HEAD.pack(self._epoch, first)
        self._link.request(_RECORDS, head, packed).add_done_callback(
            lambda future: self._answered(last, future, lambda: _APPLIED.unpack(future.result())[0])
        )

    def _answered(self, last: int, future: Future[Any], applied: Callable[[], bool]) -> None:
        error = future.exception()
        if error is not None:
            self._fail(error)
        elif applied():
            self._release(last)
            self._send()
        else:  # nothing that is held back may leave
            self._refused()

    def _release(self, last: int) -> None:
        """Make the calls that were held back up to a record, in their order."""
        with self._lock:
            self._applied = last
            self._releasing = True
        while True:
            with self._lock:  # not held in calls: these may end connections
                self._releasing = bool(self._held) and self._held[0][0] <= last
                if not self._releasing:
                    return
                call = self._held.popleft()[1]
            call()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._lost:
                return
            self._lost = True
            self._pending.clear()
        self._on_lost(error)
        self._release(self._made)


def recorded(broker: Broker, recorder: Recorder) -> Broker:
    """Return a broker whose changes are recorded."""
    return cast(Broker, _Recorded(broker, recorder))


class _Recorded:
    def __init__(self, broker: Broker, recorder: Recorder) -> None:
        self._broker = broker
        self._recorder = recorder
        for method in _CHANGES:
            setattr(self, method, self._recording(method))

    def _recording(self, method: str) -> Callable[..., Any]:
        make, add = getattr(self._broker, method), self._recorder.add

        def call(*given: Any, **named: Any) -> Any:
            add(Record(method, given, named))
            return make(*given, **named)

        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)
