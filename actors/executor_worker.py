"""The process of an executor: many attempts that wait, as coroutines or threads of one actor."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from actors.call_frames import RETURNED
from actors.calls import driver_of, end_calls, take_returned, use_connection
from actors.cluster import remote
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
from actors.from_ray import awaited
from actors.lease_frames import (
    CANCEL,
    OPENED,
    PROGRAM,
    WorkerTicket,
    head,
    read_head,
    require_version,
    rest,
)
from actors.worker import OpenPacket, process
from distgraph.concurrency.threads import DaemonExecutor, in_thread
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data
from distgraph.serde.references import parcel
from distgraph.wire import Address, Connection, ConnectionClosed, Frame, connect
from distgraph.worker.attempt import HOST
from distgraph.worker.deadline import left_behind
from distgraph.worker.file_checks import Looks
from distgraph.worker.heartbeat import LoopLag
from distgraph.worker.held_values import ReceivedValues
from distgraph.worker.pinned import drop
from distgraph.worker.snapshots import Snapshot
from distgraph.worker.surroundings import load, unloaded

__all__ = ("AsyncExecutorActor",)

_THREADS = 512

_CLEANUP = 5.0
"""Seconds that an attempt has to end after a cancel, for its cleanup code."""

_CANCELS = 20
"""Maximum number of cancels of an attempt that suppresses cancellation."""

_AGAIN = 0.1
"""Seconds between two of them."""

_REFUSED_KEPT = 4096

_LOOK = 1.0
"""Seconds between two close looks at the files of this process."""


class AsyncAttempts:
    """Runs the attempts that wait more than they compute: one process for a thousand of them."""

    def __init__(self) -> None:
        self._threads = DaemonExecutor(_THREADS, thread_name_prefix="distgraph-node")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._refused: OrderedDict[str, None] = OrderedDict()
        """Attempts that were cancelled and did not run: they may be on their way, or wait for
        their graph to be loaded."""
        self._ended: list[tuple[str, str, Any]] = []
        """``(name, how, part)`` of attempts whose outcomes were not sent."""
        self._taken: list[int] = []
        """Packets that begin."""
        self._inbox: deque[Frame | None] = deque()
        self._take_is_due = False
        """Whether a call of the loop that empties the inbox is due."""
        self._held = ReceivedValues()
        self._others: set[asyncio.Task[None]] = set()
        self._looks = Looks()
        self._leaves = False
        """Whether the driver was asked to send no more attempts."""
        self._ending = asyncio.Event()

    async def serve(self, version: str, ticket: bytes, identity: str, pinned: bool) -> None:
        """Serve attempts until the driver says that the executor ends, or is gone.

        Raises:
            UnsupportedClusterError: This machine has another version of distgraph, or cannot reach
                the driver.
        """
        require_version(version, HOST)
        process().identity, process().pinned, process().role = identity, pinned, "executor"
        worker_ticket = WorkerTicket.read(ticket)
        heartbeat = process().enter(worker_ticket)
        self._loop = asyncio.get_running_loop()
        process().lag = LoopLag(self._loop, self._loop_ended, self._look)
        self._session = worker_ticket.session
        self._connection = await in_thread(
            partial(
                connect,
                Address(*worker_ticket.address),
                worker_ticket.secret,
                EXECUTOR,
                name=f"the executor process {os.getpid()} on {HOST}",
                to="the superstep driver",
                on_frame=self._receive,
                on_closed=lambda connection, error: self._put(None),
            )
        )
        use_connection(worker_ticket.session, self._connection)
        self._receive_here()
        await in_thread(heartbeat.start)
        self._send(OPENED, head(ExecutorOpened(identity, process().programs.loaded)))
        await self._ending.wait()
        for task in list(self._running.values()):
            task.cancel()
        self._connection.close()

    def _loop_ended(self) -> None:
        """End this process, whose attempts would wait for ever. Called by the heartbeats."""
        if not self._ending.is_set():
            process().end_damaged("the event loop has ended")

    # --- on the thread of the wire, or on the loop where that receives by itself ------------------

    def _receive(self, connection: Connection, frame: Frame) -> None:
        if frame.kind == PROGRAM:
            digest, paths = read_head(frame)
            process().programs.offer(digest, bytes(rest(frame)[0]), paths)
        self._put(frame)

    def _put(self, frame: Frame | None) -> None:
        self._inbox.append(frame)
        if not self._take_is_due:
            self._take_is_due = True
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._take)

    # --- on the loop ----------------------------------------------------------------------------

    def _receive_here(self) -> None:
        """Let the loop receive by itself, so that no other thread has to wake it."""
        if self._connection.take_turn() and (descriptor := self._connection.descriptor) is not None:
            self._loop.add_reader(descriptor, self._ready, descriptor)

    def _ready(self, descriptor: int) -> None:
        """Receive what has come."""
        self._take_is_due = True  # no call is due: it is taken here
        try:
            self._connection.receive(0.0)
        finally:
            if self._connection.closed:
                self._loop.remove_reader(descriptor)
            self._take()

    def _take(self) -> None:
        """Take what has come. The first node that begins afterwards may block this loop."""
        self._take_is_due = False
        while self._inbox:
            frame = self._inbox.popleft()
            if frame is None:
                self._ending.set()
            elif frame.kind == PACKET:
                parts = iter(rest(frame))
                for *fields, count in read_head(frame):
                    self._packet(PacketHead(*fields), list(islice(parts, count)))
            elif frame.kind == PROGRAM:
                self._spawn(self._load(read_head(frame)[0]))
            elif frame.kind == CANCEL:
                self._spawn(self._cancel(read_head(frame)))
            elif frame.kind == RETURNED:
                take_returned(frame)
            elif frame.kind == DROP:
                self._spawn(self._drop(read_head(frame)[0]))
        self._tell_taken()

    def _spawn(self, steps: Any) -> None:
        task = asyncio.create_task(steps)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _send(self, kind: int, *parts: Any) -> None:
        with suppress(ConnectionClosed):  # the driver is gone, and this process goes
            self._connection.send(kind, *parts, wait=False, interruptible=False)

    def _packet(self, packet_head: PacketHead, parts: Sequence[Any]) -> None:
        if packet_head.by_ray:
            self._spawn(self._fetched(packet_head))
            return
        values = self._held.receive(packet_head.values, packet_head.new, parts[1:])
        program = process().programs.known(packet_head.program)
        if program is None:
            self._spawn(self._loaded(packet_head, parts[0], values))
            return
        try:
            packet = process().open(parts[0], program)
        except Exception as error:
            self._failed(packet_head.names, error)
            return
        if modules := unloaded(packet.run.surroundings):
            self._spawn(self._begin_with(modules, packet_head, packet, values))
        else:
            self._begin(packet_head, packet, values)

    async def _load(self, digest: str) -> None:
        with suppress(Exception):  # it occurs again in the attempts that need the graph
            await process().programs.aget(digest, self._session)

    async def _fetched(self, packet_head: PacketHead) -> None:
        """Begin a packet that holds references."""
        try:
            end, asked = process().end, self._ask_packet(packet_head.number)
            packed, references = await awaited(asked, "a group of attempts", end)
            values = [Snapshot(await awaited(r, "a value of the state", end)) for r in references]
        except Exception as error:
            self._failed(packet_head.names, error)
            return
        await self._loaded(packet_head, packed, values)

    async def _loaded(
        self, packet_head: PacketHead, packed: Any, values: Sequence[Snapshot]
    ) -> None:
        """Begin a packet whose graph may have to be loaded."""
        try:
            program = await process().programs.aget(packet_head.program, self._session)
            packet = process().open(packed, program)
        except Exception as error:
            self._failed(packet_head.names, error)
            return
        await self._begin_with(unloaded(packet.run.surroundings), packet_head, packet, values)

    async def _begin_with(
        self,
        modules: Sequence[str],
        packet_head: PacketHead,
        packet: OpenPacket,
        values: Sequence[Snapshot],
    ) -> None:
        """Begin a packet whose attempts need modules that are not imported yet."""
        if modules:
            await in_thread(load, modules)
        self._begin(packet_head, packet, values)
        self._tell_taken()

    def _begin(
        self, packet_head: PacketHead, packet: OpenPacket, values: Sequence[Snapshot]
    ) -> None:
        """Start a packet's attempts, each under its name. None of its code runs before that."""
        self._taken.append(packet_head.number)
        run, now = packet_head.names[0].partition("/")[0], time.monotonic()
        if self._looks.begins(run, now, alone=not self._running):
            self._look()
        if self._leaves and not process().pinned:  # else what the attempts need is here only
            for name in packet_head.names:
                self._report(name, "refused")
            return
        for at, name in enumerate(packet_head.names):
            if name in self._refused:
                continue
            steps = self._run(name, packet, at, values, packet_head.thread)
            task = self._running[name] = asyncio.create_task(steps)
            task.add_done_callback(partial(self._over, name))

    def _tell_taken(self) -> None:
        if self._ended:  # both go in one frame
            self._flush()
        elif self._taken:
            taken, self._taken = self._taken, []
            self._send(TAKEN, head(taken))

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        # not within the attempt: one that is cancelled before its first step never gets there
        self._running.pop(name, None)
        left_behind.discard(task)
        if task.cancelled():
            self._report(name, "dropped")

    async def _drop(self, run_id: str | None) -> None:
        """Let go of the values that a run, or all runs, left in this process."""
        await in_thread(drop, run_id)
        if run_id is None:
            self._ending.set()

    def _ask_packet(self, number: int) -> Any:
        return driver_of(self._session).executor_packet.remote(number)

    async def _cancel(self, names: Sequence[str]) -> None:
        """Cancel attempts; repeat the cancel for attempts that suppress cancellation.

        A thread cannot be ended: its outcome is dropped, and it waits for no more calls.
        """
        for name in names:
            end_calls(name)
            if name not in self._running:
                self._refused[name] = None
                self._report(name, "dropped")  # unless it has ended, it never starts
        while len(self._refused) > _REFUSED_KEPT:
            self._refused.popitem(last=False)
        for number in range(_CANCELS):
            tasks = [task for name in names if (task := self._running.get(name)) is not None]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_AGAIN if number else _CLEANUP)
        for name in names:
            task = self._running.get(name)
            if task is not None:  # nobody waits for it any longer
                left_behind.add(task)
                self._report(name, "dropped")

    def _failed(self, names: Sequence[str], error: Exception) -> None:
        for name in names:
            self._report(name, "failed", dumps_data(capture_error(error)))

    def _report(self, name: str, how: str, part: Any = None) -> None:
        """Send what came of an attempt, together with what else ends now."""
        if not self._ended:
            self._loop.call_soon(self._flush)
        self._ended.append((name, how, part))

    def _flush(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:  # they went with packets that have begun
            return
        taken, self._taken = self._taken, []
        self._look(_LOOK)
        parts = [part for _, how, part in ended if how in ("done", "failed")]
        ends = [*((number, "taken") for number in taken), *((name, how) for name, how, _ in ended)]
        self._send(ENDED, head(ends), *parts)

    def _look(self, pause: float = 0.0) -> None:
        """Report once if code of users has closed files of this process. The thread of the
        heartbeats looks if the loop does not run."""
        damage = "" if self._leaves else process().descriptors.look(pause)
        if damage:
            self._leaves = True
            self._send(LEAVES, head((damage,)))

    async def _run(
        self, name: str, packet: OpenPacket, at: int, values: Sequence[Snapshot], thread: bool
    ) -> None:
        try:
            if thread:
                run = partial(process().run_attempt, name=name, lend=self._threads.lend)
                outcome = await self._in_thread(partial(run, packet, at, values))
            else:
                outcome = await process().await_attempt(packet, at, values, name)
            if type(outcome) is bytes:
                self._report(name, "done", outcome)
            else:
                driver = driver_of(self._session)
                taken = driver.take_outcome.remote(name, parcel(outcome))
                await awaited(taken, "an outcome to the driver", process().end)
                self._report(name, "ray")
        except asyncio.CancelledError:
            self._report(name, "dropped")
        except Exception as failure:
            self._failed([name], failure)

    async def _in_thread(self, call: Callable[[], bytes]) -> bytes:
        """Make a call in a thread. One that is cancelled is left behind, and noted."""
        over = threading.Event()

        def run() -> bytes:
            try:
                return call()
            finally:
                over.set()
                left_behind.discard(over)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except asyncio.CancelledError:
            left_behind.add(over)
            if over.is_set():
                left_behind.discard(over)
            raise


class AsyncExecutor:
    """The actor. Ray wraps each method of its class, also those that it does not call."""

    async def serve(self, version: str, ticket: bytes, identity: str, pinned: bool) -> None:
        """See ``AsyncAttempts.serve``."""
        await AsyncAttempts().serve(version, ticket, identity, pinned)


AsyncExecutorActor: Any = remote(num_cpus=0, max_restarts=0, max_task_retries=0)(AsyncExecutor)
"""The executor as a Ray actor."""
