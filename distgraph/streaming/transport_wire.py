"""The transport over sockets: workers, driver and callers connect to the broker's process."""

from __future__ import annotations

import pickle
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from distgraph.concurrency.timers import timers
from distgraph.contract.stream import AttemptId, Batch, Segment
from distgraph.errors import BrokerLost
from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.serde.references import Parcel
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.packing import (
    pushes_apart,
    pushes_together,
    segments_apart,
    segments_together,
)
from distgraph.streaming.transport import Answered, Fetched, ReaderKey, RunKey, Sink
from distgraph.wire import Address, Connection, ConnectionClosed, Frame, Listener, new_secret
from distgraph.wire.aside import PIECE_SIZE
from distgraph.wire.frames import Bytes
from distgraph.wire.leading import Lead
from distgraph.wire.link import ANSWER, Link, Locate, answer
from distgraph.wire.loop import loop

__all__ = ("BrokerServer", "WireDrives", "WirePuts", "WireReads", "unpacked")

_PUT, _DRIVE, _FENCE, _LISTEN, _EVENTS, _CONSUMED, _LEAVE = range(ANSWER + 1, ANSWER + 8)

_PAUSE = struct.Struct("!d")
_ORDER = struct.Struct("!Q")
_LATE = 0.05
"""Seconds after which an answer goes that nobody waits for, unless another one goes before."""

_TOGETHER = 64
"""Readers that have left, which are not kept back any longer."""

_SMALL = 1 << 16
"""Most bytes of a request whose answer may be late: its sender keeps it until then."""

_BROKER = "the stream broker"


def unpacked(layout: struct.Struct, request: Future[Bytes]) -> Future[Any]:
    """Return the number that a request is answered with."""
    number: Future[Any] = Future()

    def settle(found: Future[Bytes]) -> None:
        error = found.exception()
        if error is None:
            number.set_result(layout.unpack(found.result())[0])
        else:
            number.set_exception(error)

    request.add_done_callback(settle)
    return number


# --- in a worker --------------------------------------------------------------------------------


class WirePuts:
    """Implements ``Puts`` for all sessions whose attempts this worker process runs.

    Args:
        locate: Finds the broker of a session.
        refer: Sends segments that hold references, by the system that counts them.
    """

    def __init__(
        self,
        locate: Callable[[str], tuple[Address, bytes]],
        refer: Callable[[RunKey, Parcel], Future[float]],
    ) -> None:
        self._locate = locate
        self._refer = refer
        self._links: dict[str, Link] = {}

    def put(self, run: RunKey, segments: Sequence[Segment]) -> Future[float]:
        blobs: list[Bytes] = []
        packed = dumps_parcel(segments_apart(segments, blobs))
        if isinstance(packed, Parcel):
            return self._refer(run, dumps_parcel(segments) if blobs else packed)
        link = self._links.get(run.session)
        if link is None:
            link = Link(partial(self._locate, run.session), "worker", _BROKER)
            link = self._links.setdefault(run.session, link)
        # one put of a run is on its way: what overtakes it belongs to other runs
        parts = (run.run_id.encode(), packed, *blobs)
        answer = link.request(_PUT, *parts, give_way=True, aside=True)
        return unpacked(_PAUSE, answer)


# --- in a driver --------------------------------------------------------------------------------


class WireDrives:
    """Sends the batches of a driver's operations. Those of runs that have their turns together go
    in one frame, which has one answer.

    Args:
        locate: Finds the broker.
        refer: Sends batches that hold references, by the system that counts them.
    """

    def __init__(
        self, locate: Locate, refer: Callable[[str, str, int, Parcel], Future[float]]
    ) -> None:
        self._link = Link(locate, "driver", _BROKER)
        self._refer = refer
        self._lock = threading.Lock()
        """Also the order of frames."""
        self._ready: list[tuple[tuple[str, str, int], bytes, Answered]] = []
        """Batches that were not sent yet, packed."""
        self._awaited = False
        """Whether the answer to one of them is awaited."""

    def drive(self, batch: Batch, answered: Answered, *, awaited: bool = True) -> None:
        """Send a batch. The answer may come late where it is not ``awaited``."""
        run_id, caller, number, ops = batch
        packed = dumps_parcel(ops)
        if isinstance(packed, Parcel):
            self._refer(run_id, caller, number, packed).add_done_callback(partial(_tell, answered))
            return
        if len(packed) > PIECE_SIZE:
            self._send()  # nothing else is to arrive with what is large
        with self._lock:
            self._ready.append(((run_id, caller, number), packed, answered))
            self._awaited = self._awaited or awaited
        served = loop()
        if not (served.collects and (len(self._ready) > 1 or served.collect(self._send))):
            self._send()

    def _send(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, []
            awaited, self._awaited = self._awaited, False
            if not ready:
                return
            heads, ops, answered = zip(*ready, strict=True)
            request = self._link.request(_DRIVE, pickle.dumps((awaited, heads), 5), *ops)
        request.add_done_callback(partial(_tell_all, answered))

    def fence(self, run_id: str, attempt_id: AttemptId) -> Future[int]:
        """Cut off an attempt; the result is the number of its events that have arrived."""
        self._send()
        task, attempt = attempt_id.task_id.encode(), _ORDER.pack(attempt_id.attempt)
        return unpacked(_ORDER, self._link.request(_FENCE, run_id.encode(), task, attempt))


def _tell(answered: Answered, sent: Future[float]) -> None:
    answered(sent.exception() or sent.result())


def _tell_all(answered: Sequence[Answered], sent: Future[Bytes]) -> None:
    error = sent.exception()
    pauses = [error] * len(answered) if error is not None else pickle.loads(sent.result())
    for tell, pause in zip(answered, pauses, strict=True):
        tell(pause)


# --- in a calling process -----------------------------------------------------------------------


class WireReads:
    """What comes for the readers of a calling process: pushed by the broker, within each reader's
    window.

    Args:
        locate: Finds the broker.
        collect: Fetches the references of events under a number, and may wait. None if the broker
            was started again: the events are pushed again.
    """

    def __init__(self, locate: Locate, collect: Callable[[int], Sequence[Any] | None]) -> None:
        self._locate = locate
        self._collect = collect
        self._link: Link | None = None
        self._sink: Sink | None = None
        self._is_outdated = False
        """Whether what comes is left out, until another connection is open."""
        self._behind: deque[Frame] = deque()
        """What came on threads of readers, and has to be taken on the thread of the wire."""
        self._left: deque[tuple[Any, ...]] = deque()
        """Readers that have left, which the broker still keeps."""
        self._tells_left = False
        """Whether a timer is about to report them."""
        self.lead = Lead(lambda: None if self._link is None else self._link.connection)

    def listen(self, caller: str, sink: Sink) -> None:
        """See ``Reads.listen``."""

        def begin(connection: Connection) -> None:
            self._is_outdated = False
            self._behind.clear()  # it is pushed again
            said = _report(sink.received, sink.positions)
            connection.send(_LISTEN, caller.encode(), said, wait=False)

        self._sink = sink

        def lost(error: BaseException) -> None:
            sink.lost(error if isinstance(error, BrokerLost) else _unreachable(error))

        self._link = Link(
            self._locate,
            "caller",
            _BROKER,
            on_open=begin,
            on_frame=partial(self._take, sink),
            on_lost=lost,
        )

    def consumed(
        self, caller: str, received: int, positions: Sequence[tuple[ReaderKey, int]]
    ) -> None:
        """See ``Reads.consumed``."""
        if self._link is not None:
            self._link.tell(_CONSUMED, caller.encode(), _report(received, positions))

    def leave(self, caller: str, readers: Sequence[ReaderKey], *, soon: bool = True) -> None:
        """See ``Reads.leave``. It is repeated where its connection ends before the answer."""
        self._left.extend(map(tuple, readers))
        if soon or len(self._left) >= _TOGETHER:
            self._tell_left(caller)
        elif not self._tells_left:
            timers().after(_LATE, partial(self._tell_left, caller))
            self._tells_left = True

    def _tell_left(self, caller: str) -> None:
        self._tells_left = False
        left = list[tuple[Any, ...]]()
        with suppress(IndexError):  # there are no more
            while True:
                left.append(self._left.popleft())
        if left and self._link is not None:
            # a caller that reads a run at once reports nothing else
            received = 0 if self._sink is None else self._sink.received
            self._link.request(_LEAVE, caller.encode(), pickle.dumps((received, left), 5))

    def close(self) -> None:
        """End the connection."""
        if self._link is not None:
            self._link.close()

    def _take(self, sink: Sink, frame: Frame) -> None:
        """Take a push, on the thread of the wire or on that of a reader.

        There, no reference is fetched, and what is raised is of a signal handler.
        """
        if loop().is_current:
            self._take_behind(sink)
            self._take_now(sink, frame)
        elif self._behind or frame.parts[1]:
            self._behind.append(frame)
            loop().soon(partial(self._take_behind, sink))
        elif not self._is_outdated:
            number, _, packed, *blobs = frame.parts
            sink.take(_ORDER.unpack(number)[0], pushes_together(loads(packed), blobs))

    def _take_behind(self, sink: Sink) -> None:
        while self._behind:
            self._take_now(sink, self._behind[0])
            self._behind.popleft()

    def _take_now(self, sink: Sink, frame: Frame) -> None:
        number, kept, packed, *blobs = frame.parts
        if self._is_outdated:
            return
        try:
            if kept:
                references = self._collect(_ORDER.unpack(kept)[0])
                if references is None:
                    self._is_outdated = True
                    return
                found = loads(Parcel(bytes(packed), references))
            else:
                found = loads(packed)
            found = pushes_together(found, blobs)
        except Exception as error:
            sink.lost(_unreachable(error))
            return
        sink.take(_ORDER.unpack(number)[0], found)


def _unreachable(error: BaseException) -> BrokerLost:
    lost = BrokerLost(f"events of the stream broker cannot be had: {error}")
    lost.__cause__ = error
    return lost


# --- in the broker ------------------------------------------------------------------------------


class BrokerServer:
    """Serves a broker's connections, on the one thread that all of them share.

    Args:
        host: The broker.
        address: Address of this machine by which the others reach it.
        after: Makes a call once the mirror has what came before it.
        epoch: Number of this process among those that were the broker of its session.
        is_mirrored: Whether calls of the broker are pickled for a mirror.
    """

    def __init__(
        self,
        host: BrokerHost,
        address: str,
        after: Callable[[Callable[[], object]], object] = lambda call: call(),
        epoch: int = 0,
        is_mirrored: bool = False,
    ) -> None:
        self._host = host
        self._after = after
        self._numbers = count((epoch << 32) + 1)
        self._kept: dict[int, tuple[Connection, Sequence[Any]]] = {}
        """References in events on their way to a caller."""
        self._is_mirrored = is_mirrored
        self._asides: dict[Connection, deque[_Aside]] = {}
        """Pushes on their way in pieces, by connection."""
        self._outlets: dict[Connection, Callable[[int, list[Fetched]], None]] = {}
        self._late: dict[Connection, list[tuple[Frame, bytes]]] = {}
        """Answers that nobody waits for, by connection. They go with the next one that is awaited:
        no other process has to be woken for them."""
        self._lock = threading.Lock()
        self.secret = new_secret()
        self._listener = Listener(
            address,
            self.secret,
            on_open=lambda connection: None,
            on_frame=self._on_frame,
            on_closed=self._on_closed,
        )

    @property
    def address(self) -> Address:
        """Where the broker is reached."""
        return self._listener.address

    def collect(self, number: int) -> Sequence[Any] | None:
        """Return the references of events that were sent under a number, once; None if unknown."""
        with self._lock:
            return self._kept.pop(number, (None, None))[1]

    def _on_frame(self, connection: Connection, frame: Frame) -> None:
        parts = frame.parts
        if frame.kind == _PUT:
            blobs = list(map(bytes, parts[3:])) if self._is_mirrored else parts[3:]
            segments = segments_together(loads(parts[2]), blobs)
            pause = self._host.publish(_text(parts[1]), segments)
            self._answer(connection, frame, _PAUSE.pack(pause))
        elif frame.kind == _DRIVE:
            heads: list[tuple[str, str, int]]
            awaited, heads = pickle.loads(parts[1])
            batches = zip(heads, parts[2:], strict=True)
            pauses = self._host.drive_all(Batch(*head, loads(ops)) for head, ops in batches)
            said = pickle.dumps(pauses, 5)
            self._answer(connection, frame, said, awaited=awaited or any(pauses))
        elif frame.kind == _FENCE:
            (attempt,) = _ORDER.unpack(parts[3])
            arrived = self._host.fence(_text(parts[1]), _text(parts[2]), attempt)
            self._answer(connection, frame, _ORDER.pack(arrived))
        elif frame.kind == _CONSUMED:
            self._host.consumed(_text(parts[0]), *_read_report(parts[1]))
        elif frame.kind == _LEAVE:
            received, left = pickle.loads(parts[2])
            keys = [ReaderKey(*key) for key in left]
            self._host.leave(_text(parts[1]), keys, received=received)
            self._answer(connection, frame, b"", awaited=False)
        elif frame.kind == _LISTEN:
            caller = connection.tag = _text(parts[0])
            received, positions = _read_report(parts[1])
            outlet = self._outlets[connection] = partial(self._deliver, connection)
            self._host.listen(caller, received, positions, outlet)

    def _answer(
        self, connection: Connection, frame: Frame, said: bytes, *, awaited: bool = True
    ) -> None:
        if self._is_mirrored:
            self._after(lambda: answer(connection, frame, said))
            return
        late = self._late.setdefault(connection, [])
        late.append((frame, said))
        if awaited or frame.size > _SMALL:
            self._answer_late(connection)
        elif len(late) == 1:
            loop().after(_LATE, partial(self._answer_late, connection))

    def _answer_late(self, connection: Connection) -> None:
        for frame, said in self._late.pop(connection, ()):
            answer(connection, frame, said)

    def _on_closed(self, connection: Connection, error: BaseException | None) -> None:
        self._late.pop(connection, None)
        self._asides.pop(connection, None)
        outlet = self._outlets.pop(connection, None)
        if outlet is not None:
            self._host.unlisten(connection.tag, outlet)
            with self._lock:
                mine = [n for n, (whose, _) in self._kept.items() if whose is connection]
                for number in mine:  # they are sent again, under another number
                    del self._kept[number]

    def _deliver(self, connection: Connection, number: int, found: list[Fetched]) -> None:
        self._after(lambda: self._push(connection, number, found))

    def _push(self, connection: Connection, number: int, found: list[Fetched]) -> None:
        """Send a push. What is large goes in pieces, between which that of other readers goes.

        What a reader gets behind that goes behind it. The number that is sent says that all pushes
        up to it have arrived before, or with it.
        """
        asides = self._asides.setdefault(connection, deque())
        while asides and asides[0].place <= connection.aside_done:
            asides.popleft()
        behind = {reader for aside in asides for reader in aside.readers}
        small, large = found, list[Fetched]()
        if behind or any(map(_is_large, found)):
            small = []
            for each in found:
                (large if each.reader in behind or _is_large(each) else small).append(each)
        with suppress(ConnectionClosed):  # what did not arrive is handed out again
            if small:
                before = asides[0].number - 1 if asides else number - 1 if large else number
                connection.send(_EVENTS, *self._packed(connection, before, small), wait=False)
            if large:
                place = connection.send_aside(_EVENTS, *self._packed(connection, number, large))
                asides.append(_Aside(place, number, {each.reader for each in large}))

    def _packed(self, connection: Connection, number: int, found: list[Fetched]) -> list[Bytes]:
        blobs: list[Bytes] = []
        packed, kept = dumps_parcel(pushes_apart(found, blobs)), b""
        if isinstance(packed, Parcel):
            name = next(self._numbers)
            with self._lock:
                self._kept[name] = connection, packed.references
            packed, kept = packed.blob, _ORDER.pack(name)
        return [_ORDER.pack(number), kept, packed, *blobs]


class _Aside(NamedTuple):
    """A push on its way in pieces."""

    place: int
    """Its number among the frames that go so on its connection."""
    number: int
    readers: set[ReaderKey]


def _is_large(push: Fetched) -> bool:
    return sum(len(delivery.segment.blob) for delivery in push.deliveries) > PIECE_SIZE


def _report(received: int, positions: Sequence[tuple[ReaderKey, int]]) -> bytes:
    return pickle.dumps((received, [(*key, seq) for key, seq in positions]), 5)


def _read_report(part: Bytes) -> tuple[int, list[tuple[ReaderKey, int]]]:
    received, positions = pickle.loads(part)
    return received, [(ReaderKey(run_id, number), seq) for run_id, number, seq in positions]


def _text(part: Bytes) -> str:
    return str(part, "utf-8")
