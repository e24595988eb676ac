"""The executors of a session: processes shared by many waiting attempts.

Each is an actor whose one call never returns while it lives, which is how its death is noticed.
Attempts and outcomes travel by the wire.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.exceptions import WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.executor_frames import (
    DROP,
    ENDED,
    EXECUTOR,
    LEAVES,
    PACKET,
    TAKEN,
    ExecutorOpened,
    PacketHead,
)
from actors.executor_worker import AsyncExecutorActor
from actors.groups import GroupFailed, LargeValue, by_wire
from actors.heartbeats import WorkerHeartbeats
from actors.lease_frames import BYE, CANCEL, OPENED, PROGRAM, head, read_head, rest
from actors.worker_port import WorkerPort
from distgraph import __version__
from distgraph.concurrency.threads import DaemonExecutor
from distgraph.concurrency.timers import timers
from distgraph.driver.ports import NotTaken
from distgraph.driver.retiring import Retirement
from distgraph.errors import WorkerDied
from distgraph.serde.exceptions import rebuild_error
from distgraph.serde.pickling import loads
from distgraph.wire import Connection, ConnectionClosed, Frame
from distgraph.wire.aside import PIECE_SIZE
from distgraph.wire.loop import loop
from distgraph.worker.held_values import SentValues

__all__ = ("Done", "Executor", "ExecutorHost", "PackedAttempts")

logger = logging.getLogger("distgraph")

_END = 10.0
"""Seconds for finalizers of an executor that is not needed any more."""

_REASON = 3.0
"""Seconds that Ray has to say why a process is gone, after its connection has ended."""

_numbers = itertools.count(1)

Done = Callable[["bytes | None", "BaseException | None"], None]
"""Takes a packed outcome, or why there is none, or neither: it was cancelled."""


class PackedAttempts(NamedTuple):
    """Attempts of one run for an executor."""

    packed: Any
    """The packet: bytes, or a ``Parcel`` if it holds references."""
    values: Sequence[LargeValue]
    """Large values of the state."""
    program: str
    """Hash of the graph's program."""
    thread: bool
    """Whether synchronous nodes run in threads."""


class ExecutorHost:
    """Starts executors, and serves their connections.

    Args:
        port: Which the executors connect to.
        heartbeats: Of worker processes.
        program: Returns the program of a graph by its hash, and where the caller's modules lie.
    """

    def __init__(
        self,
        port: WorkerPort,
        heartbeats: WorkerHeartbeats,
        program: Callable[[str], tuple[Any, Sequence[str]]],
    ) -> None:
        self.ticket = port.ticket
        self.heartbeats = heartbeats
        self.program = program
        self.calls = DaemonExecutor(1, thread_name_prefix="distgraph-executors")
        """For calls of Ray, which may wait: the wire must not."""
        self._executors: dict[str, Executor] = {}
        self.by_ray: dict[int, tuple[Any, list[Any]]] = {}
        """What holds references, by number: it is fetched through Ray."""
        self.outcomes: dict[str, Any] = {}
        """Outcomes that came through Ray, by the name of their attempt, or by their Ray task."""
        port.serve(EXECUTOR, self)

    def start(
        self,
        node: str | None = None,
        lost: Callable[[Executor], object] = lambda executor: None,
        *,
        pinned: bool = False,
    ) -> Executor:
        """Start an executor.

        Args:
            node: Id of a machine that is preferred.
            lost: Called once its process is gone.
            pinned: Whether values that nodes return may stay in its process.
        """
        executor = Executor(self, node, lost, pinned=pinned)
        self._executors[executor.id] = executor
        executor.begin()
        return executor

    def forget(self, executor: Executor) -> None:
        """Forget an executor whose process is gone."""
        self._executors.pop(executor.id, None)

    # --- for executors, through Ray -------------------------------------------------------------

    def packet(self, number: int) -> tuple[Any, list[Any]]:
        """Return a packet, and references to large values."""
        return self.by_ray[number]

    def take_outcome(self, name: str, packed: Any) -> None:
        """Accept an outcome. The frame that reports it follows, or the end of its Ray task."""
        self.outcomes[name] = packed

    # --- on the thread of the wire --------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Wait for the frame by which a process says which executor it is."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a frame."""
        executor: Executor | None = connection.tag
        if executor is not None:
            executor.received(frame)
        elif frame.kind == OPENED:
            opening = ExecutorOpened(*read_head(frame))
            executor = connection.tag = self._executors.get(opening.identity)
            if executor is None:  # it was ended before it began
                connection.send(BYE, b"", wait=False)
            else:
                executor.opened(connection, opening)

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """A connection has ended: Ray says why, if the process is gone."""
        executor: Executor | None = connection.tag
        if executor is not None:
            timers().after(_REASON if executor.load else 0.0, partial(executor.gone, None))


@dataclass(slots=True)
class _Sent:
    """A packet that the process has not begun, as far as is known."""

    names: Sequence[str]
    program: str


class Executor:
    """One executor process, from the driver's view. Made by ``ExecutorHost.start``."""

    def __init__(
        self,
        host: ExecutorHost,
        node: str | None,
        lost: Callable[[Executor], object],
        *,
        pinned: bool,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.node = node
        self.retirement = Retirement()
        self.is_lost = False
        """Whether the process is known to be gone."""
        self._host = host
        self._pinned = pinned
        self._lost = lost
        self._handle: Any = None
        self._lock = threading.Lock()
        """Also the order of frames: both sides use large values in the same order."""
        self._jobs: dict[str, Done] = {}
        self._cancelled: dict[str, float] = {}
        self._arriving: dict[int, _Sent] = {}
        self._by_ray: dict[str, list[int]] = {}
        """Numbers of what is fetched through Ray, by the name of the last attempt it is for."""
        self._connection: Connection | None = None
        self._waiting: list[Callable[[Connection], None]] = []
        """What is sent once the process has connected."""
        self._ready: list[tuple[PacketHead, Sequence[Any]]] = []
        """Packets that were not sent yet: those of runs that have their turns together go in one
        frame."""
        self._held = SentValues()
        self._programs: set[str] = set()
        """Hashes of the graphs that the process has, or was sent."""
        self._began: set[str] = set()
        """Hashes of the graphs whose attempts the process has begun: it has loaded them."""
        self._ending = False

    def begin(self) -> None:
        """Ask Ray for the process."""
        node = self.node
        strategy = NodeAffinitySchedulingStrategy(node, soft=True) if node else "DEFAULT"
        self._handle = AsyncExecutorActor.options(scheduling_strategy=strategy).remote()
        served = self._handle.serve.remote(__version__, self._host.ticket, self.id, self._pinned)
        served.future().add_done_callback(self._served)

    @property
    def load(self) -> int:
        """Attempts that have not come back."""
        return len(self._jobs)

    def prepare(self, digest: str, program: Any, paths: Sequence[str]) -> None:
        """Let the process load a graph, and do not wait: a failure also occurs in its attempts."""
        with self._lock:
            self._send_soon(partial(self._send_program, digest, program, paths))

    def submit(self, jobs: Sequence[tuple[str, Done]], attempts: PackedAttempts) -> None:
        """Send attempts; each ``Done`` is called once.

        Args:
            jobs: A name for each attempt, in the packet's order, and what takes its outcome.
            attempts: The attempts.
        """
        with self._lock:
            gone = self.is_lost
            if not gone:
                self._jobs.update(jobs)
                self._send_soon(partial(self._send_packet, [name for name, _ in jobs], attempts))
        if gone:
            for _, done in jobs:
                done(None, NotTaken("the executor has ended before it was sent the attempt"))

    def cancel(self, names: Sequence[str]) -> None:
        """End attempts; of those that have no outcome then, ``Done`` is called with nothing."""
        with self._lock:
            known = [name for name in names if name in self._jobs]
            self._cancelled.update(dict.fromkeys(known, time.monotonic()))
            if known:
                self._send_soon(partial(self._send, CANCEL, head(known)))

    def drop(self, run_id: str | None) -> None:
        """Let go of the values of a run that stayed in the process, finalizers included."""
        with self._lock:
            self._send_soon(partial(self._send, DROP, head((run_id,))))

    def end(self) -> None:
        """End the process: its values are released, and their finalizers run."""
        self._ending = True
        timers().after(_END, self._kill)
        self.drop(None)

    def _kill(self) -> None:
        self._host.calls.spawn(partial(ray.kill, self._handle))

    # --- sending, locked ------------------------------------------------------------------------

    def _send_soon(self, send: Callable[[Connection], None]) -> None:
        if self._connection is None:
            self._waiting.append(send)
            return
        with suppress(ConnectionClosed):  # ``ended`` reports it
            send(self._connection)

    def _send(self, kind: int, *given: Any) -> None:
        """Send a frame behind all packets. The connection is the last argument."""
        *parts, connection = given
        self._send_ready(connection)
        connection.send(kind, *parts, wait=False)

    def _send_together(
        self, packet_head: PacketHead, parts: Sequence[Any], connection: Connection
    ) -> None:
        """Send a packet with those of other runs; a large one alone, as they would wait for it."""
        is_large = sum(map(len, parts)) > PIECE_SIZE
        if is_large:
            self._send_ready(connection)
        self._ready.append((packet_head, parts))
        served = loop()
        waits = served.collects and (len(self._ready) > 1 or served.collect(self._flush))
        if is_large or not waits:
            self._send_ready(connection)

    def _send_ready(self, connection: Connection) -> None:
        ready, self._ready = self._ready, []
        if ready:
            heads = [(*packet_head, len(parts)) for packet_head, parts in ready]
            parts = itertools.chain.from_iterable(parts for _, parts in ready)
            connection.send(PACKET, head(heads), *parts, wait=False)

    def _send_packet(
        self, names: Sequence[str], attempts: PackedAttempts, connection: Connection
    ) -> None:
        number = next(_numbers)
        packed, values, program, thread = attempts
        self._arriving[number] = _Sent(names, program)
        if program not in self._programs:
            self._send_program(program, *self._host.program(program), connection)
        sent = by_wire(packed, values)
        if sent is None:
            self._host.by_ray[number] = packed, [value.reference() for value in values]
            self._by_ray.setdefault(names[-1], []).append(number)
            packet_head = PacketHead(number, names, program, thread, by_ray=True)
            self._send_together(packet_head, (), connection)
            return
        new = self._held.send(sent)
        packet_head = PacketHead(number, names, program, thread, list(sent), new)
        self._send_together(packet_head, [packed, *(sent[n] for n in new)], connection)

    def _send_program(
        self, digest: str, blob: Any, paths: Sequence[str], connection: Connection
    ) -> None:
        self._programs.add(digest)
        if type(blob) is bytes:  # else it holds references of Ray, which has to see them travel
            self._send(PROGRAM, head((digest, tuple(paths))), blob, connection)

    def _flush(self) -> None:
        with self._lock, suppress(ConnectionClosed):
            if self._connection is not None:
                self._send_ready(self._connection)

    # --- on the thread of the wire --------------------------------------------------------------

    def opened(self, connection: Connection, opening: ExecutorOpened) -> None:
        """The process has connected: send what waits."""
        with self._lock:
            self._connection = connection
            self._programs.update(opening.programs)
            waiting, self._waiting = self._waiting, []
            for send in waiting:
                self._send_soon(send)

    def received(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.kind == TAKEN:
            with self._lock:
                for number in read_head(frame):
                    self._taken(number)
        elif frame.kind == ENDED:
            self._take(read_head(frame), iter(rest(frame)))
        elif frame.kind == LEAVES:
            (damage,) = read_head(frame)
            if not self._pinned:  # else its values are there only
                self._retire(
                    self.retirement.retire(
                        f"a node has closed files of its process that it had not opened: {damage}"
                    )
                )

    def _taken(self, number: int) -> None:
        """Note that the attempts of a packet begin. Locked."""
        sent = self._arriving.pop(number, None)
        if sent is not None:
            self._began.add(sent.program)

    def _take(self, ended: Sequence[tuple[Any, str]], parts: Iterable[Any]) -> None:
        parts = iter(parts)
        taken = [number for number, how in ended if how == "taken"]
        came = [(n, *self._come(n, how, parts)) for n, how in ended if how != "taken"]
        finished: list[tuple[Done, Any, BaseException | None]] = []
        with self._lock:
            for number in taken:
                self._taken(number)
            for name, packed, error in came:
                self._cancelled.pop(name, None)
                for number in self._by_ray.pop(name, ()):
                    self._host.by_ray.pop(number, None)
                done = self._jobs.pop(name, None)
                if done is not None:
                    finished.append((done, packed, error))
        for done, packed, error in finished:
            done(packed, error)

    def _come(self, name: str, how: str, parts: Iterator[Any]) -> tuple[Any, BaseException | None]:
        """Return what came of an attempt: a packed outcome, or an error, or neither."""
        if how == "done":
            return next(parts), None
        if how == "failed":
            error = GroupFailed()
            error.__cause__ = rebuild_error(loads(next(parts)))
            return None, error
        if how == "refused":
            why = "a node had damaged the executor before it began the attempt"
            return None, NotTaken(why)
        return (self._host.outcomes.pop(name, None) if how == "ray" else None), None

    # --- the end --------------------------------------------------------------------------------

    def look(self) -> bool:
        """Retire or end the process if that is due. Return whether it gets new attempts."""
        health = self._host.heartbeats.health(self.id)
        with self._lock:
            cancelled, running = dict(self._cancelled), len(self._jobs)
        verdict = self.retirement.look(health, cancelled, running, time.monotonic())
        self._retire(verdict.retire, health.stack)
        if verdict.end:
            self._kill()
            self.gone(WorkerDied(f"the executor was ended, because {self.retirement.why}"))
        return not self.retirement.why

    def _retire(self, why: str, stack: str = "") -> None:
        if why:
            logger.warning(
                "an executor gets no more attempts, because %s; new attempts go to another one%s",
                why,
                f"\n{stack}" if stack else "",
            )
            self._move_arriving()

    def _move_arriving(self) -> None:
        """Give up attempts that the process has not begun: they run elsewhere."""
        with self._lock:
            packets, self._arriving = self._arriving, {}
            names = [n for sent in packets.values() for n in sent.names if n in self._jobs]
            moved = [self._jobs.pop(name) for name in names]
            if names:
                self._send_soon(partial(self._send, CANCEL, head(names)))
        for done in moved:
            done(None, NotTaken("an executor that is blocked did not take the attempt"))

    def _served(self, served: Future[Any]) -> None:
        """The actor's call has ended, or its process has. Called by a thread of Ray's."""
        if self._ending and served.exception() is None:
            self._host.calls.spawn(lambda: self._handle.__ray_terminate__.remote())
        else:
            self._kill()
        self.gone(served.exception())

    def gone(self, error: BaseException | None) -> None:
        """The process is gone: what it has begun is lost, and the rest runs elsewhere."""
        with self._lock:
            if self.is_lost:
                return
            self.is_lost = True
            jobs, self._jobs = self._jobs, {}
            packets, self._arriving = self._arriving, {}
            self._waiting.clear()
            self._ready.clear()
            # a graph that ends each process which loads it is sent to no further one
            safe = [sent.names for sent in packets.values() if sent.program in self._began]
            connection, numbers = self._connection, list(itertools.chain(*self._by_ray.values()))
        for number in numbers:
            self._host.by_ray.pop(number, None)
        if connection is not None:
            connection.close()
        if error is None and not self._ending:
            self._kill()  # it lives perhaps, and is cut off
        self._host.forget(self)
        self._lost(self)
        untaken = {name for names in safe for name in names}
        for name, done in jobs.items():
            if name in untaken:
                done(None, NotTaken("the executor died before it began the attempt"))
            else:
                done(None, error or WorkerCrashedError())
