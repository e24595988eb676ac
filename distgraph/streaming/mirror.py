"""The mirror of a broker: each call that changes it, applied to a replica in another process.

The rules of ``Broker`` are deterministic and take the time as an argument: the same calls in the
same order make the same broker. What the broker says to others (acknowledgements, pushes, answers)
leaves its process only once the mirror has the calls before it. A broker that is started again
begins with the replica, in which nothing is missing that a reader or worker has seen.

A mirror that is lost is followed by another one. The broker goes on meanwhile and holds nothing
back. The other mirror gets a copy of the broker, then the calls since. It is complete, and a broker
may begin with it, once it has all calls whose effects had left before the broker held back again.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, cast

from distgraph.concurrency.cpu_waits import cpu_waits
from distgraph.concurrency.patience import Question, attended
from distgraph.errors import BrokerLost
from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.serde.references import Parcel
from distgraph.streaming.broker import Broker
from distgraph.streaming.transport_wire import unpacked
from distgraph.wire import Address, Connection, Frame, Listener, new_secret
from distgraph.wire.link import ANSWER, Link, Locate, answer
from distgraph.wire.loop import loop

__all__ = (
    "Mirror",
    "MirrorServer",
    "Recorder",
    "Replica",
    "ReplicaState",
    "clock_from",
    "recorded",
)

_RECORDS, _COPY = ANSWER + 20, ANSWER + 21
_HEAD = struct.Struct("!QQ")
_APPLIED = struct.Struct("!?")

_NOTE, _COMPLETE = "note", "complete"

PATIENCE = 10.0
"""Seconds for which a broker waits for its mirror."""

_COPY_PATIENCE = 60.0
"""Seconds for which a broker waits until another mirror has its copy."""

_GLANCE = 1.0
"""Seconds between two looks whether the mirror has answered."""

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


def clock_from(
    state: ReplicaState, clock: Callable[[], float] = time.monotonic
) -> Callable[[], float]:
    """Return the clock of a broker, which continues that of the one before it. It leaves out time
    in which the broker's process does not run: see ``attended``.

    Args:
        state: What the broker begins with.
        clock: The clock of this machine.
    """
    ahead = state.now - clock() if state.applied else 0.0
    return attended(lambda: clock() + ahead)


def _noted(notes: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (notes | new).items() if value is not None}


# --- in the process of the mirror ---------------------------------------------------------------


class Replica:
    """The mirrored broker. Any thread may use it.

    Args:
        broker: A broker to which nothing has happened.
        follows: Whether another mirror, which is lost, was there before: what the broker is has to
            be copied first.
    """

    def __init__(self, broker: Broker, *, follows: bool = False) -> None:
        self._lock = threading.Lock()
        self._broker = broker
        self._notes: dict[str, Any] = {}
        self._epoch = 0
        self._applied = 0
        self._now = 0.0
        self._is_complete = not follows

    @property
    def is_complete(self) -> bool:
        """Whether a broker may begin with it."""
        return self._is_complete

    def begin(self) -> Any:
        """Return the ``ReplicaState``, pickled, for a broker that begins.

        Records of an earlier broker are refused from now on.

        Raises:
            BrokerLost: The mirror before this one was lost, and then the broker, before this one
                had all that the broker had said to others.
        """
        with self._lock:
            if not self._is_complete:
                raise BrokerLost(
                    "the stream broker died before another mirror had taken the place of one that "
                    "was lost"
                )
            self._epoch += 1
            state = (self._epoch, self._applied, self._now, self._broker, self._notes)
            return dumps_parcel(state)

    def copy(self, state: ReplicaState) -> bool:
        """Begin with the state of a broker. Return False for an earlier broker."""
        with self._lock:
            if state.epoch < self._epoch:
                return False
            self._epoch, self._applied, self._now, self._broker, self._notes = state
            return True

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
            self._notes = _noted(self._notes, record.named)
            return
        if record.method == _COMPLETE:
            self._is_complete = True
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
        elif frame.kind == _COPY:
            applied = self._replica.copy(ReplicaState(*loads(frame.parts[1])))
        else:
            return
        answer(connection, frame, _APPLIED.pack(applied))


# --- in the process of the broker ---------------------------------------------------------------


class Mirror(NamedTuple):
    """How a broker reaches a mirror."""

    locate: Locate
    """Finds its listener."""
    apply: Callable[[int, int, Parcel], Future[bool]]
    """Sends records that hold references, by the system that counts these; returns whether they
    were applied. See ``Replica.apply``."""
    copy: Callable[[Parcel], Future[bool]]
    """The same for a state that holds references. See ``Replica.copy``."""


class _Way:
    """The way to one mirror. For the loop's thread only, but for ``state``."""

    link: Link

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.state: Any = b""
        """What the mirror has to be sent first, pickled."""
        self.question = Question()
        """What has no answer yet."""
        self.is_watched = False

    def is_over(self, now: float) -> bool:
        """Return whether the mirror does not answer in time. Called each second."""
        connection = self.link.connection
        process = None if connection is None else connection.process
        return self.question.is_over(now, None if process is None else cpu_waits(process))


class Recorder:
    """Sends the calls of a broker to its mirror, one group at a time, and holds back what depends
    on them.

    Args:
        mirror: The mirror that the broker has begun with.
        clock: The time that the broker is given.
        lost: Called if the mirror does not answer, or cannot be reached any more. What was held
            back is released behind it: the broker goes on without a mirror, until ``replace``.
        refused: Called if another broker has begun, so that this one must end.
        state: What the broker began with. Its broker is the one that is recorded.
        patience: Seconds for which an answer of the mirror is waited for.
    """

    def __init__(
        self,
        mirror: Mirror,
        clock: Callable[[], float],
        lost: Callable[[BaseException], object],
        refused: Callable[[], object],
        state: ReplicaState,
        patience: float = PATIENCE,
    ) -> None:
        self._clock = clock
        self._on_lost = lost
        self._refused = refused
        self._epoch = state.epoch
        self._broker = state.broker
        self._notes = state.notes
        self._patience = patience
        self._lock = threading.RLock()  # the garbage collector may close a stream at any moment
        self._made = self._applied = state.applied
        """Numbers of the last record that was made, and that the mirror has."""
        self._pending: list[Record] = []
        self._held: deque[tuple[int, Callable[[], object]]] = deque()
        self._sending = False
        self._releasing = False
        self._holds = True
        """Whether what depends on a record is held back until the mirror has it."""
        self._way: _Way | None = None
        self._way = self._way_to(mirror)

    def note(self, **values: Any) -> None:
        """Keep values for the next broker; None for one that is not kept any more."""
        with self._lock:
            self._notes = _noted(self._notes, values)
            self.add(Record(_NOTE, (), values))

    def add(self, record: Record) -> None:
        """Add a record. The order of calls is the order of records."""
        with self._lock:
            self._made += 1
            if self._way is None:
                return
            self._pending.append(record)
            if not self._sending:
                self._sending = True
                loop().soon(self._send)

    def after(self, call: Callable[[], object]) -> None:
        """Make a call once the mirror has all records that were added so far."""
        with self._lock:
            must_wait = self._holds and self._applied < self._made
            if self._held or self._releasing or must_wait:
                self._held.append((self._made, call))
                return
        call()

    def wait(self) -> None:
        """Wait until the mirror has all records that were added so far."""
        done = threading.Event()
        self.after(done.set)
        done.wait()

    def replace(
        self,
        mirror: Mirror,
        exclusively: Callable[[Callable[[], object]], object],
        ready: Callable[[], object],
    ) -> None:
        """Go on with another mirror after the last one was lost.

        Args:
            mirror: The other mirror, to which nothing has happened.
            exclusively: Makes a call during which the broker does not change.
            ready: Called once a broker may begin with the other mirror.
        """
        way = self._way_to(mirror)

        def copy() -> None:
            with self._lock:
                state = ReplicaState(
                    self._epoch, self._made, self._clock(), self._broker, self._notes
                )
                self._way, self._sending = way, True  # what follows is sent behind the copy
            way.state = dumps_parcel(tuple(state))

        exclusively(copy)
        loop().soon(lambda: self._send_copy(way, ready))

    # --- on the loop's thread -------------------------------------------------------------------

    def _way_to(self, mirror: Mirror) -> _Way:
        way = _Way(mirror)
        way.link = Link(
            mirror.locate,
            "broker",
            "the mirror of the broker",
            on_open=lambda connection: None,  # it stays connected: a loss is noticed at once
            on_lost=lambda error: self._fail(way, error),
        )
        return way

    def _send_copy(self, way: _Way, ready: Callable[[], object]) -> None:
        state, way.state = way.state, b""

        def copied() -> None:
            with self._lock:
                self._holds = True
                self._made += 1
                self._pending.append(Record(_COMPLETE, (), {}))
                self._applied = self._made - len(self._pending)
            self.after(ready)
            self._send()

        if isinstance(state, Parcel):
            answered = way.mirror.copy(state)
        else:
            answered = unpacked(_APPLIED, way.link.request(_COPY, state))
        self._expect(way, answered, _COPY_PATIENCE, copied)

    def _send(self) -> None:
        with self._lock:
            way = self._way
            records, self._pending = self._pending, []
            first, last = self._applied + 1, self._made
            if not records or way is None:
                self._sending = False
                return
            now = self._clock()
        packed = dumps_parcel((now, records))

        def applied() -> None:
            self._release(last)
            self._send()

        if isinstance(packed, Parcel):
            answered = way.mirror.apply(self._epoch, first, packed)
        else:
            head = _HEAD.pack(self._epoch, first)
            answered = unpacked(_APPLIED, way.link.request(_RECORDS, head, packed))
        self._expect(way, answered, self._patience, applied)

    def _expect(
        self, way: _Way, answered: Future[bool], patience: float, then: Callable[[], object]
    ) -> None:
        """Go on when the mirror has answered; without the mirror if it does not."""
        way.question.asked, way.question.bound = time.monotonic(), patience
        if not way.is_watched:
            way.is_watched = True
            self._look(way)

        def settle() -> None:
            if way is not self._way:
                return
            error = answered.exception()
            way.question.asked = None
            if error is not None:
                self._fail(way, error)
            elif answered.result():
                then()
            else:  # nothing that is held back may leave
                self._refused()

        def on_loop(future: Future[bool]) -> None:
            if loop().is_current:
                settle()
            else:
                loop().soon(settle)

        answered.add_done_callback(on_loop)

    def _look(self, way: _Way) -> None:
        """Do not wait for ever for a mirror that is stopped."""
        if way is not self._way:
            return
        bound = way.question.bound
        if way.is_over(time.monotonic()):
            self._fail(way, TimeoutError(f"no answer for {bound:.0f} s"))
        else:
            loop().after(min(_GLANCE, bound), lambda: self._look(way))

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

    def _fail(self, way: _Way, error: BaseException) -> None:
        with self._lock:
            if way is not self._way:
                return
            self._way, self._holds, self._sending = None, False, False
            self._pending.clear()
        way.link.close()
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
