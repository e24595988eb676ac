"""A Ray task that keeps its resources, and serves groups of attempts one after the other.

Attempts run on the main thread, as in a Ray task of their own: so signals, time limits and code
that must be there work as they do. The main thread receives groups by itself; while one runs, the
thread of the wire receives what comes meanwhile.
"""

from __future__ import annotations

import gc
import os
import queue
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import ray

from actors import calls
from actors.call_frames import RETURNED
from actors.calls import driver_of
from actors.cluster import remote
from actors.from_ray import answered, value_of
from actors.lease_frames import (
    BYE,
    CANCEL,
    GROUP,
    LEASE,
    OPENED,
    OUTCOMES,
    PROGRAM,
    RECALLED,
    WAITS,
    GroupHead,
    Opened,
    OutcomesHead,
    WorkerTicket,
    head,
    lease_name,
    read_head,
    require_version,
    rest,
)
from actors.worker import process
from distgraph.concurrency.collecting import freeze
from distgraph.driver.batching import LATE
from distgraph.driver.ports import NotTaken
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_blobs, dumps_data
from distgraph.serde.references import Parcel
from distgraph.wire import Address, Connection, ConnectionClosed, Frame, connect
from distgraph.wire.loop import loop
from distgraph.worker.attempt import HOST
from distgraph.worker.batch import Alarm, Batch
from distgraph.worker.file_checks import PAUSE, Looks
from distgraph.worker.held_values import ReceivedValues
from distgraph.worker.snapshots import Snapshot

__all__ = ("PoolWorkerActor", "serve_lease_task")


_GLANCE = 0.0005
"""Seconds between two looks whether earlier outcomes of a group were sent."""


_IDLE = 0.005
"""Seconds without a group behind which an idle process is looked at."""

_SENT = 1.0
"""Seconds for the last outcomes of a process that ends."""


class LeaseServer:
    """Serves one lease."""

    def __init__(self, ticket: WorkerTicket, lease: int) -> None:
        self._ticket = ticket
        self._lease = lease
        self._inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._held = ReceivedValues()
        self._running = ""
        """Name of the group that runs."""
        self._looks = Looks()
        self._batch: tuple[int, Batch] | None = None
        """Number of the group of several attempts that runs, and how far it is."""
        self._alarm = Alarm()
        """When that group gives back what has not begun."""
        self._title = ""
        self._connection: Connection | None = None

    def serve(self) -> None:
        """Serve groups until the driver says that the lease ends, or is gone."""
        connection = self._connection = connect(
            Address(*self._ticket.address),
            self._ticket.secret,
            LEASE,
            name=f"the worker process {os.getpid()} on {HOST}",
            to="the superstep driver",
            on_frame=self._receive,
            on_closed=self._closed,
        )
        calls.on_waiting = self._waits
        calls.use_connection(self._ticket.session, connection)
        node = ray.get_runtime_context().get_node_id()
        opened = Opened(self._lease, os.getpid(), HOST, node, process().programs.loaded)
        connection.send(OPENED, head(opened), interruptible=False)
        heartbeat = process().enter(self._ticket)
        process().leased = True
        process().tidying.begin()
        freeze()
        heartbeat.begin(lease_name(self._lease))
        try:
            while (frame := self._next(connection)) is not None:
                self._serve_group(connection, frame)
        except ConnectionClosed:
            return
        finally:
            gc.unfreeze()
            process().leased = False
            calls.on_waiting = None
            calls.use_connection(self._ticket.session, None)
            connection.close()
            if process().descriptors.look():
                connection.wait_closed(_SENT)
                process().end_if_damaged()
            heartbeat.leave(lease_name(self._lease))

    # --- on the thread of the wire, or on the main thread where that receives by itself -----------

    def _receive(self, connection: Connection, frame: Frame) -> None:
        if frame.kind == GROUP:
            self._inbox.put(frame)
            group = GroupHead(*read_head(frame))
            if group.attempts > 1 and self._alarm.set(group.number, time.monotonic() + LATE):
                look = partial(self._look_for_late, connection)
                loop().soon(partial(loop().after, LATE, look))
        elif frame.kind == PROGRAM:
            digest, paths = read_head(frame)
            process().programs.offer(digest, bytes(rest(frame)[0]), paths)
        elif frame.kind == RETURNED:
            calls.take_returned(frame)
        elif frame.kind == CANCEL:
            process().end_group(read_head(frame)[0])
        elif frame.kind == BYE:
            self._inbox.put(None)

    def _look_for_late(self, connection: Connection) -> None:
        due = self._alarm.look(time.monotonic())
        if isinstance(due, float):
            loop().after(due, partial(self._look_for_late, connection))
        elif due is not None:
            self._recall(connection, due)

    def _recall(self, connection: Connection, number: int) -> None:
        """Give attempts back that wait behind one that takes long."""
        running = self._batch
        if running is None or running[0] != number:
            return
        batch = running[1]
        try:
            outcomes, first = batch.recall()
            packed = dumps_blobs(outcomes)
            connection.send(RECALLED, head((number, first)), packed, wait=False)
        except ConnectionClosed:
            pass
        finally:
            batch.is_recalled = False

    def _closed(self, connection: Connection, error: BaseException | None) -> None:
        """The driver is gone: what still runs is for nobody."""
        self._inbox.put(None)
        process().end_group(self._running)

    # --- on the main thread ---------------------------------------------------------------------

    def _next(self, connection: Connection) -> Frame | None:
        """Wait for a group. None: the lease ends."""
        if self._looks.is_due:
            try:
                return self._received(connection, _IDLE)
            except queue.Empty:
                if self._looks.rests(time.monotonic()):
                    process().descriptors.look()
        return self._received(connection, inf)

    def _received(self, connection: Connection, seconds: float) -> Frame | None:
        """Wait for a group, for ``seconds`` at most.

        Raises:
            queue.Empty: None has come.
        """
        if not connection.take_turn():
            return self._inbox.get(timeout=None if seconds == inf else seconds)
        until = time.monotonic() + seconds
        try:
            while self._inbox.empty() and (left := until - time.monotonic()) > 0:
                connection.receive(left)
            return self._inbox.get_nowait()
        finally:
            connection.leave_turn()

    def _serve_group(self, connection: Connection, frame: Frame) -> None:
        group = GroupHead(*read_head(frame))
        self._show(group.label)
        how = "dropped"
        parts: tuple[Any, ...] = ()
        self._running = group.name
        if self._looks.begins(group.name.partition("/")[0], time.monotonic()):
            process().descriptors.look()
        batch = Batch(group.attempts)
        if group.attempts > 1:
            self._batch = group.number, batch
        try:
            if process().descriptors.damage:
                raise NotTaken("the process is damaged by a node that has ended")
            packed, snapshots = self._opened(group, rest(frame))
            del frame
            parts = (process().run_batch(packed, snapshots, batch),)
            how = "done"
        except KeyboardInterrupt:  # it was cancelled where no attempt could take it
            pass
        except Exception as error:
            how, parts = "failed", (dumps_data(capture_error(error)),)
        self._running = ""
        self._batch = None
        self._alarm.clear()
        while batch.is_recalled:  # those outcomes are sent first
            time.sleep(_GLANCE)
        damage = process().descriptors.look(PAUSE)
        if parts and isinstance(parts[0], Parcel):
            if damage:  # Ray may wait for ever
                process().end_if_damaged()
            driver = driver_of(self._ticket.session)
            # not `ray.get`, which would give this lease's CPU to another task
            taken = driver.take_outcomes.remote(group.number, parts[0])
            answered(taken, "the outcomes of a group to the driver", process().end)
            how, parts = "ray", ()
        outcome = OutcomesHead(group.number, how, bool(damage))
        connection.send(OUTCOMES, head(outcome), *parts, interruptible=False)
        process().tidying.tidy()  # behind the outcomes: nobody waits for it

    def _waits(self, waits: bool) -> None:
        """Report to the driver whether the code of the group waits for other groups."""
        if self._connection is not None:
            with suppress(ConnectionClosed):
                self._connection.send(WAITS, head((waits,)), wait=False)

    def _opened(self, group: GroupHead, parts: Sequence[Any]) -> tuple[Any, Sequence[Snapshot]]:
        """Return the packet of a group, and the large values that it refers to."""
        if group.by_ray:
            driver = driver_of(self._ticket.session)
            end, asked = process().end, driver.packet.remote(group.number)
            packed, references = answered(asked, "a group of attempts", end)
            values = [value_of(r, "a value of the state", end) for r in references]
            return packed, [Snapshot(value) for value in values]
        return parts[0], self._held.receive(group.values, group.new, parts[1:])

    def _show(self, label: str) -> None:
        """Show in the title of this process what it runs, as Ray does for a task."""
        if label != self._title:
            self._title = label
            with suppress(Exception):  # private to Ray
                raylet: Any = ray._raylet
                raylet.setproctitle(f"ray::{label}")


def serve_lease(version: str, ticket: bytes, lease: int) -> None:
    """Serve a lease of the driver's.

    Args:
        version: Of distgraph in the driver's process.
        ticket: A ``WorkerTicket``.
        lease: Number of the lease.

    Raises:
        UnsupportedClusterError: This machine has another version of distgraph, or cannot reach the
            driver.
    """
    require_version(version, HOST)
    LeaseServer(WorkerTicket.read(ticket), lease).serve()


serve_lease_task: Any = remote(max_retries=0, num_cpus=1)(serve_lease)
"""``serve_lease`` as a Ray task."""


class PoolWorker:
    """Serves the attempts of one node or tool, whose class it constructs with the first.

    An actor, and no task: Ray gives its process to nothing else, and ends the process with it.

    Args:
        label: Of the node or tool. Ray shows it before what the class prints.
    """

    def __init__(self, label: str) -> None:
        self._label = label

    def __repr__(self) -> str:
        return self._label

    def serve(self, version: str, ticket: bytes, lease: int) -> None:
        """See ``serve_lease``."""
        process().role = "pool"
        serve_lease(version, ticket, lease)


PoolWorkerActor: Any = remote(max_restarts=0, max_task_retries=0)(PoolWorker)
"""A pool's worker as a Ray actor."""
