"""State of a worker process: its graphs, its publisher, its connections to driver and broker."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import nullcontext
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple

import ray

import actors.references  # noqa: F401 (registers Ray's references)
from actors import storage
from actors.calls import AttemptCalls, driver_of, know_ticket
from actors.from_ray import awaited, value_of
from actors.lease_frames import WorkerTicket, require_version
from actors.metrics import export
from actors.transport_ray import locate as locate_broker
from actors.transport_ray import publish_referring
from distgraph import logs
from distgraph._internal.freed_memory import keep_freed_memory
from distgraph.concurrency.interrupting import expect_termination
from distgraph.concurrency.threads import daemon, new_loop
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest, RunInfo
from distgraph.contract.spec import GraphProgram
from distgraph.metrics import Meter, interval_from_environment
from distgraph.persistence.kept_references import keeps_references
from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.serde.references import parcel
from distgraph.spans import flush_soon
from distgraph.streaming.publisher import AttemptStream, Publisher
from distgraph.streaming.transport import RunKey
from distgraph.streaming.transport_wire import WirePuts
from distgraph.wire import Address
from distgraph.wire.loop import loop
from distgraph.worker import process_settings
from distgraph.worker.attempt import HOST, run_async, run_sync
from distgraph.worker.batch import Batch
from distgraph.worker.children import descendants, kill, now_since_boot, same, started_since
from distgraph.worker.deadline import main_thread
from distgraph.worker.descriptors import Descriptors
from distgraph.worker.file_checks import PAUSE
from distgraph.worker.heartbeat import Heartbeat
from distgraph.worker.kept_messages import KeptMessages, Loan
from distgraph.worker.located import LocatedNode, locate
from distgraph.worker.outcomes import packed_outcome
from distgraph.worker.packing import Head, Packet, unpack_request
from distgraph.worker.process_state import Tidying
from distgraph.worker.programs import Programs
from distgraph.worker.shared_loop import NonBlockingStream, throttled
from distgraph.worker.snapshots import Snapshot

logger = logging.getLogger("distgraph")

_DAMAGED = 3
"""Status with which a process ends whose files were closed by code of users."""

_SETTLED = 5.0
"""Seconds for the last events of such a process, whose connection may have to be replaced."""

_POLL = 0.02
"""Seconds between two looks at a coroutine: a cancel is only seen between them."""


class OpenPacket(NamedTuple):
    """A packet with what it refers to."""

    packet: Packet
    run: RunInfo
    program: GraphProgram
    heads: list[Head]
    nodes: dict[tuple[tuple[str, ...], str], LocatedNode]
    """The nodes of attempts that have begun."""

    def node(self, request: AttemptRequest) -> LocatedNode:
        """Return the node of an attempt."""
        if request.called is not None:
            return locate(self.program, request)
        key = request.graph_path, request.node
        found = self.nodes.get(key)
        if found is None:
            found = self.nodes[key] = locate(self.program, request)
        return found

    def request(
        self, at: int, snapshots: Sequence[Snapshot], items: Callable[..., list[Any]]
    ) -> AttemptRequest:
        """Return the request of an attempt, which has no value in common with others."""
        return unpack_request(self.heads[at], self.packet.attempts[at], snapshots, items)


class WorkerProcess:
    """One worker process."""

    def __init__(self) -> None:
        logs.configure()
        keep_freed_memory()
        self._lock = threading.Lock()
        self.programs = Programs(self._fetch, self._afetch, lambda: self.leased)
        self._messages = KeptMessages()
        self.publisher = Publisher(WirePuts(locate_broker, publish_referring))
        meter = Meter()
        meter.watch(self.publisher.present)
        export(meter, interval_from_environment())
        self.pinned = False
        """Whether values that nodes return may stay in this process."""
        self.lag: Callable[[], tuple[float, str]] | None = None
        """Seconds for which the loop of an executor has not run, and the stack of its thread."""
        self.identity = ""
        """Name of this process in heartbeats."""
        self.role = "task"
        """What this process is in heartbeats."""
        self.leased = False
        """Whether a lease reports what runs here, instead of each group."""
        self._heartbeats: dict[WorkerTicket, Heartbeat] = {}
        self._heartbeat: Heartbeat | None = None
        """Of the session that this process works for now."""
        self._group = ""
        """Name of the group of attempts that the main thread runs."""
        self._unwanted = ""
        """Name of the last group that was to end."""

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that async nodes run on where they are Ray tasks of their own."""
        loop = new_loop()
        self._serves_loop = daemon(loop.run_forever, "distgraph-loop")
        self._serves_loop.start()
        return loop

    @cached_property
    def tidying(self) -> Tidying:
        """Sets back what the node on the main thread has changed in this process."""
        return Tidying()

    @cached_property
    def descriptors(self) -> Descriptors:
        """The files that this process had opened before any code of users."""
        loop()
        self.tidying  # noqa: B018 (its copies of files are among them)
        return Descriptors()

    def end_if_damaged(self) -> None:
        """End this process, if code of users that has ended has damaged it: another one follows."""
        damage = self.descriptors.look()
        if damage:
            self.end_damaged(damage)

    def end_damaged(self, damage: str) -> None:
        """End this process, which code of users has damaged."""
        self.end(f"a node has closed files of its process that it had not opened: {damage}")

    def end(self, why: str) -> None:
        """End this process behind its last events. What runs here is lost."""
        self.publisher.settle(_SETTLED)
        logger.warning("process %d ends, and another one follows: %s", os.getpid(), why)
        os._exit(_DAMAGED)

    def end_if_idle_and_damaged(self) -> None:
        """As ``end_if_damaged``, unless something runs here, whose end is followed by a look."""
        if not (self._group or self.leased):
            self.end_if_damaged()

    # --- graphs ---------------------------------------------------------------------------------

    def _fetch(self, digest: str, session: str) -> Any:
        return value_of(driver_of(session).program.remote(digest), "a graph", self.end)

    async def _afetch(self, digest: str, session: str) -> Any:
        return await awaited(driver_of(session).program.remote(digest), "a graph", self.end)

    # --- attempts -------------------------------------------------------------------------------

    def run_batch(
        self, packed: bytes, snapshots: Sequence[Snapshot], batch: Batch | None = None
    ) -> Any:
        """Run a packet's attempts one after the other, and return their packed outcomes: of the one
        attempt of a packet its outcome, of several a list of blobs.

        A group that is cancelled meanwhile returns only the attempts that have ended. By ``batch``,
        another thread takes outcomes before, and gives attempts back that have not begun.
        """
        expect_termination()
        packet = _open(packed)
        (name,) = packet.names
        heartbeat = self.heartbeat
        self._group = name
        if not self.leased:
            heartbeat.begin(name)
            self.tidying.begin()
        batch = batch or Batch(len(packet.attempts))
        try:
            self.descriptors.begin(PAUSE)
            opened = _opened(packet, self.programs.get(packet.program, packet.session))
            while self._unwanted != name and (at := batch.begin()) is not None:
                batch.ended(self.run_attempt(opened, at, snapshots))
        finally:
            self._group = ""
            if not self.leased:
                self.tidying.tidy()
                heartbeat.leave(name)
        outcomes = batch.take()
        if len(packet.attempts) == 1 == len(outcomes):
            return parcel(outcomes[0])
        return dumps_parcel(outcomes)

    @property
    def heartbeat(self) -> Heartbeat:
        """The heartbeat of this process for the session that it works for."""
        assert self._heartbeat is not None, "no session was entered"
        return self._heartbeat

    def enter(self, ticket: WorkerTicket) -> Heartbeat:
        """Work for a session from now on. Return the heartbeat of this process for it."""
        know_ticket(ticket)
        self.descriptors  # noqa: B018 (made now, before code of users)
        with self._lock:
            known = self._heartbeats.get(ticket)
            if known is None:
                known = self._heartbeats[ticket] = Heartbeat(
                    Address(*ticket.address),
                    ticket.secret,
                    self.role,
                    self.end_group,
                    always=self.role != "task",
                    identity=self.identity,
                    place=ray.get_runtime_context().get_node_id(),
                    lag=lambda: (0.0, "") if self.lag is None else self.lag(),
                )
            self._heartbeat = known
            return known

    def end_group(self, name: str) -> None:
        """Interrupt a group of attempts that the main thread runs. Any thread may call this."""
        self._unwanted = name
        main_thread.interrupt(lambda: self._group == name)

    def run_attempt(
        self,
        opened: OpenPacket,
        at: int,
        snapshots: Sequence[Snapshot],
        *,
        name: str | None = None,
        lend: Callable[[int], None] | None = None,
    ) -> bytes:
        """Run one attempt of a packet in this thread, and return its packed outcome.

        Args:
            opened: The packet.
            at: Position of the attempt.
            snapshots: Large state values.
            name: Of the attempt in an executor.
            lend: Allows for more threads of the executor.
        """
        storage.enter(opened.packet.session)
        self._take_settings(opened.run)
        loan = Loan(self._messages)
        request = opened.request(at, snapshots, loan.items)
        stream = self._stream(opened, request)
        run, program = opened.run, opened.program
        heartbeat, called = self.heartbeat, name or opened.packet.names[0]
        limited = partial(heartbeat.limit, called)
        way = self._way(opened, request, name, lend)
        calls = way.calls
        try:
            node = opened.node(request)
            if node.needs_loop(request, run):
                steps = run_async(program, request, run, stream, calls, node=node, limited=limited)
                outcome = self._on_loop(steps, way)
            else:
                alone = threading.current_thread() is threading.main_thread()
                begin = now_since_boot() if alone else 0.0
                with self.tidying if alone else nullcontext():
                    outcome = run_sync(
                        program,
                        request,
                        run,
                        stream,
                        calls,
                        node=node,
                        alone=alone,
                        limited=limited,
                    )
                if alone and outcome.status in ("cancelled", "timeout"):
                    orphans = same(main_thread.children)  # of children that ended meanwhile
                    kill(started_since([*orphans, *descendants(os.getpid())], begin))
            if outcome.status not in ("cancelled", "timeout"):  # else its code may still run
                loan.end()
            if request.trace is not None:
                flush_soon()
            return self._packed(outcome, request, opened)
        except BaseException:  # cancelled where nobody could catch it
            stream.cancel()
            raise
        finally:
            way.end()
            if request.limit is not None or request.timeout is not None:
                heartbeat.end(called)

    def _take_settings(self, run: RunInfo) -> None:
        """Give this process the settings of the process that started a run."""
        given = run.surroundings
        settings = None if given is None else given.process
        if settings is None or process_settings.are_applied(settings):
            return
        alone = threading.current_thread() is threading.main_thread()
        if alone:
            self.tidying.tidy()
        process_settings.apply(settings, _own_variables())
        if alone:
            self.tidying.begin()  # else it would set the new variables back

    @staticmethod
    def _way(
        opened: OpenPacket,
        request: AttemptRequest,
        name: str | None,
        lend: Callable[[int], None] | None = None,
    ) -> AttemptCalls:
        session, run_id = opened.packet.session, opened.run.shared.run_id
        return AttemptCalls(session, run_id, request, name=name, lend=lend)

    def open(self, packed: bytes, program: GraphProgram) -> OpenPacket:
        """Open a packet, whose graph is loaded."""
        return _opened(_open(packed), program)

    async def await_attempt(
        self, opened: OpenPacket, at: int, snapshots: Sequence[Snapshot], name: str
    ) -> bytes:
        """Run one attempt of a packet on this loop, and return its packed outcome."""
        storage.enter(opened.packet.session)
        self._take_settings(opened.run)
        loan = Loan(self._messages)
        request = opened.request(at, snapshots, loan.items)
        stream = self._stream(opened, request)
        way = self._way(opened, request, name)
        heartbeat = self.heartbeat
        try:
            steps = run_async(
                opened.program,
                request,
                opened.run,
                NonBlockingStream(stream),
                way.calls,
                node=opened.node(request),
                limited=partial(heartbeat.limit, name),
            )
            outcome = await throttled(steps, stream)
            if outcome.status not in ("cancelled", "timeout"):  # else its code may still run
                loan.end()
            if request.trace is not None:
                flush_soon()
            return self._packed(outcome, request, opened)
        except BaseException:
            stream.cancel()
            raise
        finally:
            way.end()
            if request.limit is not None or request.timeout is not None:
                heartbeat.end(name)

    def _packed(
        self, outcome: AttemptOutcome, request: AttemptRequest, opened: OpenPacket
    ) -> bytes:
        """Pickle an outcome. What references stand for does not outlive a checkpoint on disk."""
        run = opened.run
        return packed_outcome(
            outcome,
            request,
            opened.program,
            run_id=run.shared.run_id,
            keeps=self.pinned,
            saved=request.standing is not None and not keeps_references(run.saver),
        )

    def _stream(self, opened: OpenPacket, request: AttemptRequest) -> AttemptStream:
        run = RunKey(opened.packet.session, opened.run.shared.run_id)
        return self.publisher.open(
            run, request.task_id, request.attempt, request.step, request.node
        )

    def _on_loop(
        self, steps: Coroutine[Any, Any, AttemptOutcome], way: AttemptCalls
    ) -> AttemptOutcome:
        future = asyncio.run_coroutine_threadsafe(steps, self.loop)
        try:
            while True:
                if self._group and self._unwanted == self._group:
                    raise KeyboardInterrupt
                try:
                    return future.result(_POLL)
                except FutureTimeout:
                    if future.done():
                        raise
                    if not self._serves_loop.is_alive():
                        self.end_damaged("the event loop has ended")
                if not way.calls.settled:
                    way.block(lambda: future.done() or way.calls.settled)
        except BaseException:
            future.cancel()
            raise


def _open(packed: bytes) -> Packet:
    """Open a packet.

    Raises:
        UnsupportedClusterError: This machine has another version of distgraph.
    """
    version, *rest = loads(packed)
    require_version(version, HOST)  # before anything else that another version may have changed
    return Packet(version, *rest)


def _opened(packet: Packet, program: GraphProgram) -> OpenPacket:
    return OpenPacket(packet, _run_info(packet.run), program, loads(packet.heads), {})


def _run_info(blob: bytes) -> RunInfo:
    # what is remembered holds no references: it may be there long after its run
    return _run_info_of(blob) if type(blob) is bytes else loads(blob)


@lru_cache(maxsize=256)
def _run_info_of(blob: bytes) -> RunInfo:
    info: RunInfo = loads(blob)
    return info


@lru_cache(maxsize=1)
def _own_variables() -> frozenset[str]:
    """Return the environment variables that a ``runtime_env`` sets in this process."""
    environment = ray.get_runtime_context().runtime_env
    return frozenset(environment.get("env_vars") or ())


@lru_cache(maxsize=1)
def process() -> WorkerProcess:
    """Return this process's worker."""
    return WorkerProcess()
