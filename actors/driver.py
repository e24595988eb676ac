"""The superstep driver: an actor that runs the engine of every run of a session.

It holds channels and applies reducers; no node, tool or conditional edge ever runs here. What
happens in a run is handled in its turns, on the thread that serves the connections.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

import actors.references  # noqa: F401 (registers Ray's references)
from actors.call_frames import CALLS, CallHead
from actors.call_results import CallPort
from actors.cluster import NAMESPACE, broker_name, driver_name, drivers, remote
from actors.entrance import CALLER, Entrance, Tell
from actors.executor_choice import Executors, ThreadExecutors
from actors.executors import ExecutorHost
from actors.heartbeats import WorkerHeartbeats
from actors.leases import LeaseHost
from actors.metrics import export
from actors.persistent import persistent
from actors.ray_workers import SharedWorkers
from actors.reaper import Reaper, end_process
from actors.reducers import ReducerTasks, startups
from actors.runloop import Keeping, RunLoop, StartRun
from actors.signs_of_life import Watched, when_lost
from actors.storage import DriverStorage
from actors.task_host import TaskHost
from actors.transport_ray import locate
from actors.unable import check_able, says_if_unable
from actors.worker_port import WorkerPort
from distgraph import logs, metrics
from distgraph._internal.freed_memory import keep_freed_memory
from distgraph._internal.settings import adopt
from distgraph.concurrency.collecting import OWN, collect_less, uncollected
from distgraph.concurrency.timers import timers
from distgraph.concurrency.turns import Turns
from distgraph.contract.load import DriverLoad, workers_load
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import Journal
from distgraph.driver.batching import Durations
from distgraph.driver.journal import repeat_random_bytes
from distgraph.driver.metering import DriverMeter
from distgraph.driver.reducers import distrust, guard, prepare
from distgraph.errors import RunError, SerializationError
from distgraph.metrics import Meter
from distgraph.persistence.hosting import Ticket
from distgraph.serde.pickling import loads
from distgraph.serde.program import extend_path, load_spec
from distgraph.serde.references import Parcel
from distgraph.serde.script_module import stand_in_for_script
from distgraph.streaming.transport_wire import WireDrives
from distgraph.wire import Connection
from distgraph.wire.frames import Bytes

CALLERS = 64
"""Caller processes that can watch a driver at the same time."""

GRAPHS = 256
"""Graphs that are kept; of more, those that were not used for longest are forgotten."""

STORAGE_CALLS = 8
"""Calls of savers, stores and caches that workers may make at the same time."""

_LOOK = 1.0
"""Seconds between two looks at the reducers of runs."""

_LEFT = 5.0
"""Seconds for Ray to end a driver whose broker is gone."""

_ASKED = 16
"""Drivers that are asked at once to give a worker lease back."""

RESULT_CALLS = 64
"""Maximum number of Ray tasks that wait for results of calls at the same time; others wait their
turn."""

_REGISTRATION = 60.0
"""Seconds that a run waits for its graph, which its caller has sent before it."""


class Graph(NamedTuple):
    """A registered graph."""

    spec: GraphSpec
    packed_spec: bytes
    program: bytes
    paths: tuple[str, ...]


class SuperstepDriver:
    """The driver actor of one session.

    Args:
        session: Id of the session.
        pool_idle: Seconds after which processes of a pool end that have nothing to do.
        thread_idle: Seconds after which idle executors end that belong to a thread.
        worker_idle: Seconds for which an idle worker is kept while nobody waits for resources.
        ticket: The way to objects in the caller's process, such as savers.
        leases: Whether tasks run in leased processes.
        detached: Whether the session outlives its caller.
        reducer_timeout: Seconds for reducers between two events of a run.
        metrics_every: Seconds between two exports of metrics; None for none.
        takeover: Bytes of a run's journal; 0 for no journals: no driver follows this one.
        silence: Seconds without a sign of life after which a process of workers is ended.
        settings: Settings of the caller.
        follows: Whether runs of another driver follow: what is asked of them may come before them.
    """

    @says_if_unable
    def __init__(
        self,
        session: str,
        pool_idle: float,
        thread_idle: float,
        worker_idle: float,
        ticket: Ticket,
        leases: bool = False,
        detached: bool = False,
        reducer_timeout: float = 300.0,
        metrics_every: float | None = None,
        takeover: int = 0,
        silence: float = 60.0,
        settings: Mapping[str, str] | None = None,
        follows: bool = False,
    ) -> None:
        adopt(settings or {})
        logs.configure()
        collect_less(OWN)
        keep_freed_memory()
        repeat_random_bytes()
        # first, for calls that come to a driver which cannot work here
        self._changed = threading.Condition()
        self._graphs: OrderedDict[str, Graph | BaseException] = OrderedDict()
        self._runs: dict[str, RunLoop] = {}
        self._takeover = takeover
        self._early: list[Callable[[], None]] | None = [] if follows else None
        """What was asked before the runs of the other driver came."""
        self._programs_kept: set[str] = set()
        self._suspects: set[str] = set()
        """Graphs one of whose reducers may have held up an earlier driver."""
        self._storage = DriverStorage(session, ticket)
        broker = self._broker = ray.get_actor(broker_name(session), NAMESPACE)
        if detached:  # no owner ends this process when the broker is gone
            when_lost(broker, _end_process)
            watch = partial(Watched(broker, restarts=True).watch, "stream broker", silence)
            broker.ping.remote().future().add_done_callback(lambda future: watch())
        self._drives = WireDrives(
            partial(locate, session), lambda *batch: persistent(lambda: broker.drive.remote(*batch))
        )
        self._durations = Durations()
        self._meter = DriverMeter(Meter())
        export(self._meter.meter, metrics_every)
        reaper = Reaper(self._broker)
        port = WorkerPort(session)
        self._turns = Turns(port.loop.work)
        here = ray.get_runtime_context().get_node_id()
        heartbeats = WorkerHeartbeats(port, silence, end_process, here)
        host = ExecutorHost(port, heartbeats, self._program)
        self._shared = SharedWorkers(
            session,
            port.ticket,
            host,
            Executors(host),
            ThreadExecutors(thread_idle, partial(host.start, pinned=True)),
            reaper,
            heartbeats,
            LeaseHost(
                port,
                reaper.kill,
                heartbeats,
                self._program,
                partial(ask_others, session),
                worker_idle,
            ),
            TaskHost(heartbeats, reaper),
            leases,
            pool_idle,
        )
        self._reducer_timeout = reducer_timeout
        self._looking = False
        self._slow: list[str] = []
        self._ticket = port.ticket
        port.serve(CALLS, CallPort(self._called))
        entrance = Entrance(
            self._turns,
            lambda packed, tell: self._begin(packed, tell=tell),
            self._cancel_now,
            self._drain_now,
            lambda batch: self._drives.drive(batch, lambda pause: None, awaited=False),
        )
        port.serve(CALLER, entrance)

    @ray.method(concurrency_group="control")
    def entrance(self) -> bytes:
        """Return what callers connect with: a ``WorkerTicket``."""
        return self._ticket

    @ray.method(concurrency_group="programs")
    def register(
        self,
        digest: str,
        spec: bytes,
        program: bytes,
        paths: tuple[str, ...],
        awaits: bool = False,
    ) -> None:
        """Register a graph under the hash of its program. Failures are reported to the runs.

        Args:
            digest: Hash of the program.
            spec: The ``GraphSpec``, packed.
            program: The ``GraphProgram``, packed.
            paths: Where the caller's own modules lie.
            awaits: Whether nodes run in an executor, which then starts with the first graph.
        """
        extend_path(paths)
        stand_in_for_script()
        graph: Graph | BaseException
        try:
            if awaits and not self._graphs:  # it imports what it needs beside what follows here
                self._shared.executors.pick().prepare(digest, program, paths)
            with uncollected():
                graph = Graph(load_spec(spec), spec, program, paths)
                prepare(graph.spec)
            if not (self._graphs or self._runs):
                gc.freeze()  # states cause garbage collections: not of what is imported
            guard(graph.spec, ReducerTasks(self._shared.session, self._shared.reaper, paths))
        except Exception as error:
            graph = error
        with self._changed:
            self._graphs[digest] = graph
            used = {run.program for run in self._runs.values()}
            unused = [known for known in self._graphs if known not in used]
            for oldest in unused[: max(0, len(self._graphs) - GRAPHS)]:
                del self._graphs[oldest]
            self._changed.notify_all()

    @ray.method(concurrency_group="programs")
    def program(self, digest: str) -> tuple[bytes, tuple[str, ...]]:
        """Return a graph's program, and where the caller's own modules lie."""
        return self._program(digest)

    @ray.method(concurrency_group="packets")
    def packet(self, number: int) -> tuple[Any, list[Any]]:
        """Return a group of attempts that holds references, for the lease that serves it."""
        return self._shared.leases.packet(number)

    @ray.method(concurrency_group="packets")
    def take_outcomes(self, number: int, packed: Any) -> None:
        """Accept outcomes that hold references, from the lease that served the group."""
        self._shared.leases.take_outcomes(number, packed)

    @ray.method(concurrency_group="packets")
    def executor_packet(self, number: int) -> tuple[Any, list[Any]]:
        """Return attempts that hold references, for their executor."""
        return self._shared.executor_host.packet(number)

    @ray.method(concurrency_group="packets")
    def take_outcome(self, name: str, packed: Any) -> None:
        """Accept an outcome that holds references, from an executor, or those of a task of their
        own whose process ends with it."""
        self._shared.executor_host.take_outcome(name, packed)

    @ray.method(concurrency_group="packets")
    def reducer_begins(self, call: int) -> None:
        """Note that the process of a reducer runs, and that its time counts from now on."""
        startups.began(call)

    @ray.method(concurrency_group="runs")
    def start(self, packed: bytes) -> None:
        """Start a run. What comes of it is in its stream."""
        self._begin(packed)

    @ray.method(concurrency_group="runs")
    def take_over(self, journals: list[Journal], suspects: bool) -> None:
        """Go on with the runs of the driver before this one, which is lost.

        Args:
            journals: Of the runs.
            suspects: Whether a reducer of the runs may have held up the other driver.
        """
        if suspects:
            self._suspects.update(journal.program for journal in journals)
        for journal in journals:
            self._begin(journal.start, journal)
        early, self._early = self._early, None
        for ask in early or ():
            ask()

    def _begin(
        self, packed: bytes, journal: Journal | None = None, tell: Tell | None = None
    ) -> None:
        """Start a run. It goes on in its turns."""
        start = StartRun(*loads(packed))
        run_id = start.options.shared.run_id
        keeping = None
        if self._takeover and isinstance(packed, bytes):  # it holds no references
            keep_program = partial(self._keep_program, start.program)
            keeping = Keeping(packed, keep_program, self._takeover, journal)
        loop = RunLoop(
            start,
            keeping,
            lambda: self._spec(start.program),
            self._shared,
            self._drives,
            self._broker.terminate.remote,
            self._durations,
            self._meter,
            self._turns,
            partial(self._forget, run_id),
            tell,
        )
        with self._changed:
            self._runs[run_id] = loop
            if not self._looking:
                self._looking = True
                timers().after(_LOOK, self._look)
        loop.begin()

    def _spec(self, digest: str) -> GraphSpec:
        spec = self._graph(digest).spec
        if digest in self._suspects:
            distrust(spec)
        return spec

    def _look(self) -> None:
        """Look for reducers that take too long, while runs go on."""
        with self._changed:
            loops = list(self._runs.values())
            self._looking = bool(loops)
        limit = self._reducer_timeout
        self._slow = [where for loop in loops if (where := loop.look(limit)) is not None]
        if loops:
            timers().after(_LOOK, self._look)

    @ray.method(concurrency_group="runs")
    def drain(self, run_id: str, reason: str) -> None:
        """Stop a run gracefully after its current superstep. Ordered after the start of the run."""
        self._drain_now(run_id, reason)

    def _drain_now(self, run_id: str, reason: str) -> None:
        if self._early is not None:
            self._early.append(lambda: self._drain(run_id, reason))
        self._drain(run_id, reason)

    def _drain(self, run_id: str, reason: str) -> None:
        with self._changed:
            loop = self._runs.get(run_id)
        if loop is not None:
            loop.drain(reason)

    @ray.method(concurrency_group="runs")
    def cancel(self, run_ids: list[str]) -> None:
        """End runs and free what they hold.

        In one group with ``start``: a run of a thread that its caller has left ends before the
        next one of that thread begins.
        """
        self._cancel_now(run_ids)

    def _cancel_now(self, run_ids: list[str]) -> None:
        if self._early is not None:
            self._early.append(lambda: self._cancel(run_ids))
        self._cancel(run_ids)

    def _cancel(self, run_ids: list[str]) -> None:
        with self._changed:
            loops = [self._runs.get(run_id) for run_id in run_ids]
        for loop in loops:
            if loop is not None:
                loop.cancel()

    def _called(self, connection: Connection, told: CallHead, packed: Bytes | None) -> None:
        """Accept a call of a task that the code of an attempt made. It does not wait."""
        with self._changed:
            loop = self._runs.get(told.run_id)
        if loop is not None:
            loop.results.subscribe((told.task_id, told.attempt), connection)
            if packed is not None:
                loop.call(packed)

    @ray.method(concurrency_group="calls")
    def call(self, run_id: str, packed: Parcel) -> None:
        """Accept a call that holds references."""
        with self._changed:
            loop = self._runs.get(run_id)
        if loop is not None:
            loop.call(packed)

    @ray.method(concurrency_group="results")
    def await_result(self, run_id: str, key: tuple[str, int], after: int) -> None:
        """Return once there are more than ``after`` results of an attempt's calls, or after a
        moment."""
        with self._changed:
            loop = self._runs.get(run_id)
        if loop is not None:
            loop.results.wait(key, after)

    @ray.method(concurrency_group="packets")
    def result(self, run_id: str, key: tuple[str, int], seq: int) -> Any:
        """Return the result of a call that holds references. None: its attempt has ended."""
        with self._changed:
            loop = self._runs.get(run_id)
        return None if loop is None else loop.results.take(key, seq)

    @ray.method(concurrency_group="storage")
    def storage(self, packed: bytes) -> Any:
        """Call a saver, store or cache for a worker."""
        return self._storage.answer(packed)

    @ray.method(concurrency_group="references")
    def lay(self, name: str, parcel: Parcel) -> None:
        """Keep references that the caller's process returns with a result of a saver or store."""
        self._storage.references.lay(name, parcel)

    @ray.method(concurrency_group="references")
    def fetch(self, name: str) -> Parcel:
        """Return references in a call of a saver or store of the caller's process."""
        return self._storage.references.fetch(name)

    @ray.method(concurrency_group="watch")
    def watch(self) -> None:
        """Never return: a caller that waits for this call is notified of the driver's death."""
        threading.Event().wait()

    @ray.method(concurrency_group="control")
    def process(self) -> int:
        """Return the id of this process: a sign of life."""
        return os.getpid()

    @ray.method(concurrency_group="control")
    def ping(self) -> str:
        """Return the version of distgraph here.

        Raises:
            UnsupportedClusterError: The driver cannot work here.
        """
        from distgraph import __version__

        check_able(self)
        return __version__

    @ray.method(concurrency_group="control")
    def give_back(self) -> None:
        """Give a worker lease back for another driver, whose attempts wait and which has none."""
        self._shared.leases.give_back()

    @ray.method(concurrency_group="control")
    def statistics(self) -> dict[str, Any]:
        """Return the numbers of runs, graphs, executors and cancelled tasks, all leases, and who is
        silent."""
        with self._changed:
            return {
                "leases": self._shared.leases.statistics(),
                "runs": len(self._runs),
                "graphs": len(self._graphs),
                "executors": self._shared.executors.count,
                "thread_executors": self._shared.threads.count,
                "pool_workers": self._shared.leases.pool_workers,
                "cancelling": self._shared.reaper.count,
                "slow_reducers": self._slow,
                "retired": self._shared.executors.retired,
                "stubborn": self._shared.reaper.stubborn,
                "silent": self._shared.heartbeats.silences(),
                "threads": threading.active_count(),
            }

    @ray.method(concurrency_group="control")
    def load(self) -> DriverLoad:
        """Return what the driver has to do now."""
        present = {metric.name: int(value) for metric, value in self._meter.present()}
        return DriverLoad(
            host=socket.gethostname(),
            pid=os.getpid(),
            runs=present[metrics.RUNS.name],
            queued=present[metrics.QUEUED.name],
            sent=present[metrics.SENT.name],
            executors=self._shared.executors.count + self._shared.threads.count,
            pool_workers=self._shared.leases.pool_workers,
            silent=tuple(map(str, self._shared.heartbeats.silences())),
            workers=workers_load(self._shared.leases.statistics()),
        )

    # --- for runs, in their turns ----------------------------------------------------------------

    def _graph(self, digest: str) -> Graph:
        """Return a registered graph; its registration may be on the way."""
        with self._changed:
            if not self._changed.wait_for(lambda: digest in self._graphs, _REGISTRATION):
                raise RunError(f"graph {digest[:12]} was never registered with the driver")
            graph = self._graphs[digest]
            self._graphs.move_to_end(digest)
        if isinstance(graph, BaseException):
            raise SerializationError(
                f"the driver cannot load the graph's channels and reducers: {graph}"
            ) from graph
        return graph

    def _program(self, digest: str) -> tuple[bytes, tuple[str, ...]]:
        graph = self._graph(digest)
        return graph.program, graph.paths

    def _keep_program(self, digest: str) -> None:
        """Give the broker a graph, which it gives the next driver. Returns once it has it."""
        if digest not in self._programs_kept:
            graph = self._graph(digest)
            kept = (graph.packed_spec, graph.program, graph.paths)
            ray.get(self._broker.keep_program.remote(digest, *kept))
            self._programs_kept.add(digest)

    def _forget(self, run_id: str) -> None:
        """Drop a run that has ended."""
        with self._changed:
            self._runs.pop(run_id, None)


def ask_others(session: str) -> None:
    """Ask other drivers of the cluster, of any session, to give a worker lease back."""
    names = sorted(drivers() - {driver_name(session)})
    for name in random.sample(names, min(len(names), _ASKED)):
        with suppress(ValueError, RayError):  # it ended meanwhile
            ray.get_actor(name, NAMESPACE).give_back.remote()


def _end_process(broker_lost: Any) -> None:
    """End this driver, whose broker is gone."""
    # not within the callback: a thread of Ray that kills an actor waits for itself
    itself = ray.get_runtime_context().current_actor
    timers().after(0.0, partial(ray.kill, itself))
    timers().after(_LEFT, partial(os._exit, 1))


SuperstepDriverActor: Any = remote(
    num_cpus=0,
    max_restarts=0,
    concurrency_groups={
        "runs": 1,
        "programs": 4,
        "packets": 4,
        "watch": CALLERS,
        "control": 2,
        "storage": STORAGE_CALLS,
        "references": 2,
        "calls": 2,
        "results": RESULT_CALLS,
    },
)(SuperstepDriver)
"""The driver as a Ray actor."""
