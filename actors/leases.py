"""The worker leases of a session: Ray tasks that serve one group of attempts after the other, and
actors that do the same for the classes of pools.

The rules are in ``distgraph.driver.leases``. Here, they meet Ray, which grants leases, and the
wire, by which groups and outcomes travel.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, WorkerCrashedError

from actors import cluster
from actors.groups import GroupFailed, LeasedGroup, Needs, by_wire
from actors.heartbeats import WorkerHeartbeats
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
    head,
    lease_name,
    read_head,
    rest,
)
from actors.lease_worker import PoolWorkerActor, serve_lease_task
from actors.worker_port import WorkerPort
from distgraph import __version__
from distgraph.concurrency.threads import DaemonExecutor
from distgraph.concurrency.timers import timers
from distgraph.driver.heartbeats import Process
from distgraph.driver.lease_actions import (
    Action,
    AskOthers,
    Drop,
    End,
    Fail,
    Give,
    Interrupt,
    Late,
    Look,
    Request,
    Withdraw,
)
from distgraph.driver.leases import OVERDUE, TASKS, Leases
from distgraph.serde.exceptions import rebuild_error
from distgraph.serde.pickling import loads
from distgraph.wire import Connection, ConnectionClosed, Frame
from distgraph.worker.held_values import SentValues

__all__ = ("LeaseHost",)

logger = logging.getLogger("distgraph")

_KILL = 1.0
"""Seconds that a cancelled group may go on before its process is killed."""

_REASON = 3.0
"""Seconds that Ray has to say why a process is gone, after its connection has ended."""

_LEFT = 10.0
"""Seconds for the Ray task of a lease to end, once it was asked to or its connection has ended."""


@dataclass(eq=False, slots=True)
class _Worker:
    """A lease, from the driver's view."""

    number: int
    label: str
    ref: Any = None
    """Of the Ray task, or of the actor's one call, once Ray was asked."""
    actor: Any = None
    """Of a pool."""
    unwanted: bool = False
    """Whether the task is to be cancelled once Ray was asked."""
    is_over: bool = False
    """Whether the task has ended."""
    connection: Connection | None = None
    opened: Opened | None = None
    held: SentValues = field(default_factory=SentValues)
    programs: set[str] = field(default_factory=set)
    """Hashes of the graphs that its process has, or was sent."""


class LeaseHost:
    """Hands groups to leases, and takes their outcomes.

    Args:
        port: Which the leases connect to.
        kill: Kills the process of a Ray task, and repeats that until the task has ended. Takes
            the task, how messages name it, and what returns its process.
        heartbeats: Of worker processes.
        program: Returns the program of a graph by its hash, and where the caller's modules lie.
        ask_others: Asks other drivers of the cluster to give a lease back.
        keep: Seconds for which an idle lease is kept while nobody waits for resources.
    """

    def __init__(
        self,
        port: WorkerPort,
        kill: Callable[[Any, str, Callable[[], Process | None]], object],
        heartbeats: WorkerHeartbeats,
        program: Callable[[str], tuple[Any, Sequence[str]]],
        ask_others: Callable[[], object],
        keep: float,
    ) -> None:
        self._ask_drivers = ask_others
        self._program = program
        self._heartbeats = heartbeats
        heartbeats.describe = self._describe
        self._kill = kill
        self._lock = threading.Lock()
        self._rules: Leases[LeasedGroup] = Leases(keep=keep)
        self._workers: dict[int, _Worker] = {}
        self._needs: dict[Hashable, tuple[Needs, str]] = {}
        self._served: dict[int, tuple[int, LeasedGroup]] = {}
        """Groups that were sent, by number, each with its lease."""
        self._parcels: dict[int, Any] = {}
        """Outcomes that came through Ray, by the number of the group."""
        self._tick_at: float | None = None
        self._calls = DaemonExecutor(2, thread_name_prefix="distgraph-leases")
        # on its own: it needs the cluster's control store, requests for leases do not
        self._asking = DaemonExecutor(1, thread_name_prefix="distgraph-leases")
        self._port = port
        port.serve(LEASE, self)

    # --- for runs -------------------------------------------------------------------------------

    def submit(self, group: LeasedGroup) -> None:
        """Serve a group. Its ``done`` is called once."""
        needs, cpus = group.needs, cluster.known_cpus()
        room = max(1, int(cpus / max(needs.options.get("num_cpus") or 0.0, 0.125)))
        with self._lock:
            self._needs.setdefault(needs.key, (needs, group.label))
            self._rules.most = max(8, 2 * cpus)
            now = time.monotonic()
            actions = self._rules.submit(needs.key, group.owner, group, now, room, needs.terms)
        self._do(actions)

    def cancel(self, group: LeasedGroup) -> None:
        """End a group, if it has not ended."""
        with self._lock:
            now = time.monotonic()
            actions = self._rules.cancel(group.needs.key, group.owner, group, now)
        self._do(actions)

    def give_back(self) -> None:
        """Give a lease back for another driver, whose attempts wait and which has none."""
        with self._lock:
            actions = self._rules.give_back(time.monotonic())
        self._do(actions)

    def _describe(self, name: str) -> str:
        """Say what runs under a name of the heartbeats."""
        for worker in list(self._workers.values()):
            if name == lease_name(worker.number):
                return f"{name} of node {worker.label!r}"
        return name

    @property
    def pool_workers(self) -> int:
        """Workers of all pools."""
        return sum(worker.actor is not None for worker in list(self._workers.values()))

    def _kill_worker(self, worker: _Worker) -> None:
        if worker.actor is not None:
            # not here: this may be the thread of the wire, or one that Ray itself needs for it
            self._calls.spawn(partial(ray.kill, worker.actor))
            return
        name = lease_name(worker.number)
        process = partial(self._heartbeats.doom, name)
        self._kill(worker.ref, f"{name} of node {worker.label!r}", process)

    def statistics(self) -> list[dict[str, Any]]:
        """Return what each lease does: node, process, machine, groups served, and since when."""
        now = time.monotonic()
        with self._lock:
            phases = list(self._rules.phases())
            workers = dict(self._workers)
        shown = []
        for number, phase, since, served in phases:
            worker = workers.get(number)
            opened = None if worker is None else worker.opened
            shown.append(
                {
                    "lease": number,
                    "phase": phase.value,
                    "seconds": now - since,
                    "served": served,
                    "pool": worker is not None and worker.actor is not None,
                    "node": "" if worker is None else worker.label,
                    "pid": None if opened is None else opened.pid,
                    "host": None if opened is None else opened.host,
                    "node_id": None if opened is None else opened.node,
                }
            )
        return shown

    # --- for workers, through Ray ---------------------------------------------------------------

    def packet(self, number: int) -> tuple[Any, list[Any]]:
        """Return the packet of a group, and references to its large values."""
        _, group = self._served[number]
        return group.packed, [value.reference() for value in group.values]

    def take_outcomes(self, number: int, packed: Any) -> None:
        """Accept outcomes that hold references. The frame that reports them follows."""
        if number in self._served:
            self._parcels[number] = packed

    # --- actions --------------------------------------------------------------------------------

    def _do(self, actions: Sequence[Action[LeasedGroup]]) -> None:
        for action in actions:
            _DO[type(action)](self, action)
        self._tick_later()

    def _request(self, action: Request) -> None:
        if self._port.loop.is_current:  # Ray may wait; the wire must not
            self._calls.spawn(partial(self._ask, action))
        else:
            self._ask(action)

    def _late(self, action: Late) -> None:
        worker = self._workers.get(action.number)
        logger.warning(
            "node %r has waited %.0f s for a worker: no machine has its resources free, or Ray "
            "gave it a process that is stopped. Another worker is requested",
            "" if worker is None else worker.label,
            OVERDUE,
        )

    def _ask(self, action: Request) -> None:
        needs, label = self._needs[action.needs]
        worker = self._workers[action.number] = _Worker(action.number, label)
        try:
            asked = __version__, self._port.ticket, action.number
            if needs.terms is TASKS:
                # Ray shows it before what nodes print: many run there, one after the other
                ref = serve_lease_task.options(name="nodes", **needs.options).remote(*asked)
            else:
                worker.actor = PoolWorkerActor.options(**needs.options).remote(label)
                ref = worker.actor.serve.options(name=label).remote(*asked)
        except Exception as error:
            self._not_granted(action.number, error)
            return
        with self._lock:
            worker.ref = ref
            unwanted = worker.unwanted
        ref.future().add_done_callback(partial(self._task_ended, worker))
        if unwanted:
            self._kill_worker(worker)

    def _withdraw(self, action: Withdraw) -> None:
        worker = self._workers.get(action.number)
        if worker is None:
            return
        with self._lock:
            worker.unwanted = True
            asked = worker.ref is not None
        if asked:
            self._kill_worker(worker)

    def _give(self, action: Give[LeasedGroup]) -> None:
        worker, group = self._workers.get(action.number), action.job
        connection = None if worker is None else worker.connection
        if worker is None or connection is None:
            return  # ``_lost`` has reported the group
        self._served[group.number] = action.number, group
        worker.label = group.label
        if group.program not in worker.programs:
            self._send_program(worker, connection, group.program)
        values = by_wire(group.packed, group.values)
        new = [] if values is None else worker.held.send(values)
        parts = [] if values is None else [group.packed, *(values[number] for number in new)]
        group_head = GroupHead(
            group.number,
            group.name,
            group.label,
            list(values or ()),
            new,
            group.attempts,
            by_ray=values is None,
        )
        with suppress(ConnectionClosed):  # ``ended`` reports the group
            connection.send(GROUP, head(group_head), *parts, wait=False)

    def _send_program(self, worker: _Worker, connection: Connection, digest: str) -> None:
        """Send a graph, so that the worker need not ask for it."""
        worker.programs.add(digest)
        blob, paths = self._program(digest)
        if type(blob) is not bytes:  # it holds references of Ray, which has to see them travel
            return
        with suppress(ConnectionClosed):  # ``ended`` reports the group
            connection.send(PROGRAM, head((digest, tuple(paths))), blob, wait=False)

    def _end(self, action: End) -> None:
        worker = self._workers.get(action.number)
        if worker is not None and worker.connection is not None:
            timers().after(_LEFT, partial(self._end_left, worker))
            with suppress(ConnectionClosed):
                worker.connection.send(BYE, b"", wait=False)

    def _interrupt(self, action: Interrupt[LeasedGroup]) -> None:
        worker, name = self._workers.get(action.number), action.job.name
        if worker is None or worker.connection is None:
            return
        try:
            worker.connection.send(CANCEL, head((name,)), wait=False)
        except ConnectionClosed:
            return
        timers().after(_KILL, partial(self._kill_if_serving, worker, action.job))

    def _kill_if_serving(self, worker: _Worker, group: LeasedGroup) -> None:
        with self._lock:
            serving = self._rules.doom(group) is not None
        if serving:
            self._kill_worker(worker)

    def _ask_others(self, action: AskOthers) -> None:
        self._asking.spawn(self._ask_drivers)

    def _look(self, action: Look) -> None:
        self._asking.spawn(self._look_now)

    def _look_now(self) -> None:
        is_calm = cluster.nobody_waits()
        with self._lock:
            actions = self._rules.looked(is_calm, time.monotonic())
        self._do(actions)

    def _drop(self, action: Drop[LeasedGroup]) -> None:
        action.job.done(None, None)

    def _fail(self, action: Fail[LeasedGroup], error: BaseException | None = None) -> None:
        self._served.pop(action.job.number, None)
        action.job.done(None, error or WorkerCrashedError())

    # --- what happens ---------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Wait for the frame by which a worker says which lease it serves."""

    def received(self, connection: Connection, frame: Frame) -> None:
        """Take a frame, on the thread of the wire."""
        if frame.kind == OUTCOMES:
            self._take(connection.tag, OutcomesHead(*read_head(frame)), rest(frame))
        elif frame.kind == RECALLED:
            number, first = read_head(frame)
            served = self._served.get(number)
            if served is not None:
                served[1].recalled(rest(frame)[0], first)
        elif frame.kind == WAITS:
            with self._lock:
                (waits,) = read_head(frame)
                actions = self._rules.lend(connection.tag.number, waits, time.monotonic())
            self._do(actions)
        elif frame.kind == OPENED:
            opened = Opened(*read_head(frame))
            worker = self._workers.get(opened.lease)
            if worker is None:  # it has been withdrawn
                connection.send(BYE, b"", wait=False)
                return
            connection.tag = worker
            worker.connection, worker.opened = connection, opened
            worker.programs.update(opened.programs)
            with self._lock:
                actions = self._rules.opened(opened.lease, time.monotonic())
            self._do(actions)

    def _take(self, worker: _Worker, outcome: OutcomesHead, parts: Sequence[Any]) -> None:
        found = self._served.pop(outcome.number, None)
        packed = self._parcels.pop(outcome.number, None)
        with self._lock:
            if outcome.leaves and found is not None:
                self._rules.doom(found[1])
            actions = self._rules.done(worker.number, time.monotonic())
        self._do(actions)  # first: what waits is sent before the outcomes are looked at
        if found is None:
            return
        _, group = found
        error: BaseException | None = None
        if outcome.how == "done":
            packed = parts[0]
        elif outcome.how == "failed":
            error = GroupFailed()
            error.__cause__ = rebuild_error(loads(parts[0]))
        group.done(packed, error)

    def ended(self, connection: Connection, error: BaseException | None) -> None:
        """A connection has ended: Ray says why, if its process is gone."""
        worker: _Worker | None = connection.tag
        if worker is None:
            return
        timers().after(_LEFT, partial(self._end_left, worker))
        with self._lock:
            busy = self._rules.is_busy(worker.number)
        if busy:  # ``_task_ended`` reports the reason, mostly at once
            timers().after(_REASON, lambda: self._cut_off(worker))
        else:
            self._lost(worker, None)

    def _cut_off(self, worker: _Worker) -> None:
        """Give a worker up whose process lives perhaps."""
        if worker.number in self._workers:
            self._kill_worker(worker)
            self._lost(worker, None)

    def _end_left(self, worker: _Worker, *, again: bool = False) -> None:
        """End a process that does not return to Ray behind its lease: its CPU would be lost."""
        if worker.is_over:
            return
        if not again:  # else this process was stopped, and what Ray tells is on its way
            timers().after(_REASON, partial(self._end_left, worker, again=True))
            return
        name, opened = f"the process of {lease_name(worker.number)}", worker.opened
        logger.warning("%s does not end, behind the end of its lease: it is killed", name)
        if worker.actor is not None or opened is None:
            self._kill_worker(worker)
            return
        now = time.monotonic()
        process = Process(opened.host, opened.pid, "task", opened.node, now, now)
        self._kill(worker.ref, name, lambda: process)

    def _task_ended(self, worker: _Worker, ended: Future[Any]) -> None:
        """The Ray task of a lease has ended. Called by a thread of Ray's."""
        worker.is_over = True
        error = ended.exception()
        if worker.actor is not None:
            self._kill_worker(worker)  # what its class holds, such as memory of a GPU, goes too
        if worker.opened is None and error is not None and not _is_death(error):
            self._not_granted(worker.number, error)
        else:
            self._lost(worker, error)

    def _lost(self, worker: _Worker, error: BaseException | None) -> None:
        with self._lock:
            if self._workers.pop(worker.number, None) is None:
                return
            actions = self._rules.lost(worker.number, time.monotonic())
        connection, worker.connection = worker.connection, None  # it has a buffer
        if connection is not None:
            connection.close()
        self._do_failing(actions, error)

    def _not_granted(self, number: int, error: BaseException) -> None:
        with self._lock:
            self._workers.pop(number, None)
            actions = self._rules.failed(number, time.monotonic())
        self._do_failing(actions, error)

    def _do_failing(
        self, actions: Sequence[Action[LeasedGroup]], error: BaseException | None
    ) -> None:
        for action in actions:
            if isinstance(action, Fail):
                self._fail(action, error)
            else:
                _DO[type(action)](self, action)
        self._tick_later()

    # --- time -----------------------------------------------------------------------------------

    def _tick_later(self) -> None:
        with self._lock:
            tick_at = self._tick_at
            if tick_at is not None and not self._rules.may_be_due(tick_at, time.monotonic()):
                return
            deadline = self._rules.deadline()
            if deadline is None or (tick_at is not None and tick_at <= deadline):
                return
            self._tick_at = deadline
        timers().at(deadline, self._tick)

    def _tick(self) -> None:
        with self._lock:
            self._tick_at = None
            actions = self._rules.tick(time.monotonic())
        self._do(actions)


def _is_death(error: BaseException) -> bool:
    """Whether a task ended by no fault of its own: asked for again, it may well be granted."""
    return isinstance(error, RayError) and type(error).__name__ in (
        "ActorDiedError",
        "ActorUnavailableError",
        "WorkerCrashedError",
        "NodeDiedError",
        "LocalRayletDiedError",
        "OutOfMemoryError",
        "TaskCancelledError",
    )


_DO: dict[type, Callable[[LeaseHost, Any], None]] = {
    Request: LeaseHost._request,
    Late: LeaseHost._late,
    Withdraw: LeaseHost._withdraw,
    Give: LeaseHost._give,
    End: LeaseHost._end,
    Interrupt: LeaseHost._interrupt,
    AskOthers: LeaseHost._ask_others,
    Look: LeaseHost._look,
    Drop: LeaseHost._drop,
    Fail: LeaseHost._fail,
}
"""The method that carries out each type of action."""
