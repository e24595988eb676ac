"""The stream broker as a Ray actor.

The rules are in ``distgraph.streaming.broker``, the lock is in ``broker_host``, and the sockets, on
which events come and go, are in ``transport_wire``. Ray's calls are for what is rare.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import actors.references  # noqa: F401 (registers Ray's references)
from actors.cluster import (
    NAMESPACE,
    actor_id,
    driver_name,
    node_address,
    remote,
    with_driver,
)
from actors.metrics import export
from actors.mirror import Mirroring, end_of_run
from actors.reaper import cancel_tasks
from actors.signs_of_life import Watched
from actors.unable import check_able, says_if_unable
from distgraph import __version__, logs, metrics
from distgraph._internal.freed_memory import keep_freed_memory
from distgraph._internal.settings import adopt
from distgraph.concurrency.collecting import OWN, collect_less
from distgraph.concurrency.patience import attended
from distgraph.concurrency.threads import daemon
from distgraph.contract.load import BrokerLoad
from distgraph.contract.started_runs import ONGOING, RunState, RunTerms
from distgraph.contract.stream import Journal, KeepRun
from distgraph.errors import DriverLost
from distgraph.metrics import Meter
from distgraph.serde.pickling import loads
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.log import LogStatistics
from distgraph.streaming.mirror import Recorder, recorded
from distgraph.streaming.transport import ReaderKey
from distgraph.streaming.transport_wire import BrokerServer
from distgraph.wire import Address

logger = logging.getLogger("distgraph")

_PROGRAM = "program "
"""Begins the name of the note of a graph."""

_PROGRAMS = 256
"""Graphs that are kept for the next driver."""


class StreamBroker:
    """The broker actor of one session. Methods exchange packed bytes where packing saves time.

    Args:
        limits: What is held.
        session: Id of the session.
        idle: Seconds without a run after which a session that nobody owns ends; None for a session
            that ends with its owner.
        metrics_every: Seconds between two exports of metrics; None for none.
        driver: Arguments of the session's driver after the id, to start another when it is lost.
        silence: Seconds without a sign of life after which a detached driver is ended.
        mirrored: Whether the broker has a mirror, so that it can be started again.
        settings: Settings of the caller.
    """

    @says_if_unable
    def __init__(
        self,
        limits: Limits,
        session: str = "",
        idle: float | None = None,
        metrics_every: float | None = None,
        driver: tuple[Any, ...] = (),
        silence: float = 60.0,
        mirrored: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        adopt(settings or {})
        logs.configure()
        collect_less(OWN)
        keep_freed_memory()
        self._session = session
        self._is_detached = idle is not None
        self._driver: Any = None
        self._driver_arguments = driver
        self._silence = silence
        self._programs: OrderedDict[str, tuple[Any, ...]] = OrderedDict()
        self._replacing = threading.Lock()
        self._replaced: dict[str, list[str]] = {}
        """Drivers that were lost, by id, and the runs that another driver took over."""
        self._silent: set[str] = set()
        """Drivers that were ended, because they gave no sign of life."""
        self._mirroring: Mirroring | None = None
        self._records: Recorder | None = None
        broker, clock, epoch = Broker(limits, end_of_run), attended(time.monotonic), 0
        notes: dict[str, Any] = {}
        if mirrored:
            self._mirroring = Mirroring(
                session, limits, self._end_process, lambda call: self._host.exclusively(call)
            )
            state, clock = self._mirroring.state, self._mirroring.clock
            epoch, notes = state.epoch, state.notes
            self._records = self._mirroring.records
            broker = recorded(state.broker, self._records)
        self._host = BrokerHost(
            broker,
            clock,
            overdue=self._cancel,
            idle=self._leave,
            idle_after=idle,
            follows=epoch > 1,
        )
        after = (lambda call: call()) if self._records is None else self._records.after
        self._server = BrokerServer(self._host, node_address(), after, epoch, mirrored)
        self._continue(notes)
        meter = Meter()
        meter.watch(self._host.present)
        export(meter, metrics_every)

    @ray.method(concurrency_group="control")
    def address(self) -> tuple[Address, bytes]:
        """Return where the broker is reached, and the secret."""
        return self._server.address, self._server.secret

    # --- started runs ---------------------------------------------------------------------------

    @ray.method(concurrency_group="control")
    def announce(self, run_id: str, terms: RunTerms, begin: KeepRun | None = None) -> None:
        """Open the log of a run that no reader owns."""
        self._host.announce(run_id, terms, begin)
        self._watch_driver()  # who starts runs may be gone when their driver dies
        self._settle()

    @ray.method(concurrency_group="control")
    def withdraw(self, run_id: str) -> None:
        """Forget a run that could not be started."""
        self._host.withdraw(run_id)
        self._settle()

    @ray.method(concurrency_group="control")
    def describe(self, run_id: str) -> RunState | None:
        """Return a snapshot of a started run; None for an unknown one."""
        return self._host.describe(run_id)

    @ray.method(concurrency_group="control")
    def describe_all(self) -> list[RunState]:
        """Return a snapshot of each started run."""
        return self._host.describe_all()

    @ray.method(concurrency_group="control")
    def ended(self, run_ids: list[str]) -> list[str]:
        """Return those of started runs that have ended, or are unknown."""
        states = ((run_id, self._host.describe(run_id)) for run_id in run_ids)
        return [run_id for run_id, state in states if state is None or state.status not in ONGOING]

    @ray.method(concurrency_group="control")
    def face(self, run_id: str) -> bytes | None:
        """Return how a started run's events become chunks, pickled."""
        return self._host.face(run_id)

    @ray.method(concurrency_group="watch", max_task_retries=0)
    def watch(self) -> None:
        """Never return: who waits for this call is notified of the broker's death."""
        threading.Event().wait()

    @ray.method(concurrency_group="control")
    def cancel(self, run_ids: list[str]) -> None:
        """End runs for a process that has not started them."""
        with self._replacing:  # a driver that takes runs over is known behind that
            self._cancel(run_ids)

    def _cancel(self, run_ids: list[str]) -> None:
        """End runs that are over their time to live."""
        if self._driver is not None:
            self._driver.cancel.remote(run_ids)

    # --- the mirror -----------------------------------------------------------------------------

    def _note(self, **values: Any) -> None:
        """Keep values for the process that may have to follow this one."""
        if self._records is not None:
            self._records.note(**values)

    def _settle(self) -> None:
        """Wait until the mirror has what happened until now."""
        if self._records is not None:
            self._records.wait()

    def _continue(self, notes: dict[str, Any]) -> None:
        """Go on as the process before this one."""
        self._session = notes.get("session", self._session)
        self._replaced.update(notes.get("replaced", {}))
        self._silent.update(notes.get("silent", ()))
        for name, program in notes.items():
            if name.startswith(_PROGRAM):
                self._programs[name[len(_PROGRAM) :]] = program
        driver = notes.get("driver")
        if driver is None:
            return
        logger.warning("the stream broker died; its successor goes on with the mirrored streams")
        try:
            self._watch_driver()
        except ValueError:  # no actor has that name any more
            daemon(partial(self._replace, driver, "it is gone"), "distgraph-takeover").start()

    def _end_process(self) -> None:
        logger.warning("the stream broker ends: another process is the broker of its session")
        os._exit(1)

    # --- drivers --------------------------------------------------------------------------------

    @ray.method(concurrency_group="control")
    def keep_program(self, digest: str, spec: Any, program: Any, paths: tuple[str, ...]) -> None:
        """Keep a graph for the driver that may have to take its runs over."""
        self._watch_driver()
        self._programs[digest] = (spec, program, paths)
        self._note(**{_PROGRAM + digest: self._programs[digest]})
        self._settle()
        self._programs.move_to_end(digest)
        while len(self._programs) > _PROGRAMS:
            oldest, _ = self._programs.popitem(last=False)
            self._note(**{_PROGRAM + oldest: None})

    @ray.method(concurrency_group="control")
    def successor(
        self, lost: str, caller: str, begin: dict[str, KeepRun]
    ) -> tuple[Any, list[str], list[str]]:
        """Return the driver that follows one that was lost, the runs that it took over, and those
        of ``begin`` that it begins, because the lost one had not; the caller registers their
        graphs.

        None, if there was no run to be taken over.
        """
        self._replace(lost, "it is gone")
        with self._replacing:
            journals = [self._host.begin_again(caller, run_id, begin[run_id]) for run_id in begin]
            found = [journal for journal in journals if journal is not None]
            if found and self._driver is None:
                self._start_driver(found, lost in self._silent)
            elif found:
                self._driver.take_over.remote(found, lost in self._silent)
        self._settle()
        return self._driver, self._replaced[lost], [journal.run_id for journal in found]

    @ray.method(concurrency_group="control")
    def suspect(self, driver: str) -> None:
        """Note that a driver gives no sign of life, before it is ended."""
        self._silent.add(driver)
        self._note(silent=tuple(self._silent))

    @ray.method(concurrency_group="control")
    def end_unbegun(self, lost: str, run_id: str, blob: bytes) -> None:
        """End a started run that did not reach its driver, which is lost, unless another one has
        taken it over."""
        self._replace(lost, "it is gone")
        self._host.end_unbegun(run_id, blob)
        self._settle()

    def _watch_driver(self) -> None:
        with self._replacing:
            if self._driver is None:
                self._attend(ray.get_actor(driver_name(self._session), NAMESPACE))

    def _attend(self, driver: Any) -> None:
        self._driver = driver
        self._note(driver=actor_id(driver), session=self._session)

        def lost(future: Any) -> None:
            why = type(future.exception()).__name__
            daemon(partial(self._replace, actor_id(driver), why), "distgraph-takeover").start()

        driver.watch.remote().future().add_done_callback(lost)
        if self._is_detached:  # its caller, who would look after it, may be gone
            up = driver.ping.remote().future()
            watch = partial(
                Watched(driver).watch,
                "superstep driver",
                self._silence,
                until=lambda: driver is not self._driver,
                ending=lambda: self._silent.add(actor_id(driver)),
            )
            up.add_done_callback(lambda future: watch())

    def _replace(self, lost: str, why: str) -> None:
        """Let another driver go on with the runs of one that is lost; end those that it cannot."""
        with self._replacing:
            if lost in self._replaced:
                return
            self._driver = None
            journals = [j for j in self._host.take_over() if j.program in self._programs]
            taken = self._replaced[lost] = [journal.run_id for journal in journals]
            self._note(replaced=dict(self._replaced), driver=None)
            error = DriverLost(
                "the superstep driver died, and with it the state of its runs "
                f"({why}); start the run again"
            )
            going_on = [s.run_id for s in self._host.describe_all() if s.status in ONGOING]
            left = [run_id for run_id in going_on if run_id not in taken]
            self._host.terminate("", left, end_of_run(error))
            if journals:
                logger.warning(
                    "the superstep driver died (%s); another one takes over %d runs: %s",
                    why,
                    len(taken),
                    ", ".join(taken),
                )
                self._start_driver(journals, lost in self._silent)

    def _start_driver(self, journals: list[Journal], suspects: bool) -> None:
        from actors.driver import SuperstepDriverActor

        here = ray.get_runtime_context().get_node_id()
        options: dict[str, Any] = {"lifetime": "detached"} if self._is_detached else {}
        self._session = with_driver(self._session, len(self._replaced))
        driver = SuperstepDriverActor.options(
            name=driver_name(self._session),
            namespace=NAMESPACE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
            **options,
        ).remote(self._session, *self._driver_arguments, follows=True)
        for digest in {journal.program for journal in journals} & set(self._programs):
            driver.register.remote(digest, *self._programs[digest])
        driver.take_over.remote(journals, suspects)
        self._attend(driver)  # last: what others ask of the driver follows

    def _leave(self) -> None:
        """End a session that nobody uses."""
        with suppress(ValueError, RayError):
            ray.kill(ray.get_actor(driver_name(self._session), NAMESPACE))
        if self._mirroring is not None:
            self._mirroring.end()
        ray.kill(ray.get_runtime_context().current_actor)

    # --- for workers and the driver -------------------------------------------------------------

    @ray.method(concurrency_group="publish")
    def publish(self, run_id: str, packed: bytes) -> float:
        """Accept segments that hold references. Return a pause in seconds, or ``GONE``."""
        pause = self._host.publish(run_id, loads(packed))
        self._settle()
        return pause

    @ray.method(concurrency_group="drive")
    def drive(self, run_id: str, caller: str, batch_no: int, packed: bytes) -> float:
        """Accept a batch that holds references. Return a pause in seconds; 0.0 to continue."""
        pause = self._host.drive(run_id, caller, batch_no, loads(packed))
        self._settle()
        return pause

    @ray.method(concurrency_group="control")
    def terminate(self, caller: str, run_ids: list[str], blob: bytes) -> None:
        """End runs without their driver, which is lost."""
        self._host.terminate(caller, run_ids, blob)
        self._settle()

    @ray.method(concurrency_group="cancel")
    def cancel_tasks(self, refs: list[Any]) -> None:
        """Kill tasks for the driver, which must not do so by itself: see the reaper."""
        cancel_tasks(refs)

    # --- for readers ----------------------------------------------------------------------------

    @ray.method(concurrency_group="control")
    def collect(self, number: int) -> Any:
        """Return the references of events that a caller was sent."""
        return self._server.collect(number)

    @ray.method(concurrency_group="control")
    def open(
        self, caller: str, reader: ReaderKey, after_seq: int | None, only_end: bool = False
    ) -> int:
        """Open a further reader of a run."""
        after = self._host.open(caller, reader, after_seq, only_end)
        self._settle()
        return after

    @ray.method(concurrency_group="control")
    def leave(self, caller: str, readers: list[ReaderKey]) -> None:
        """Close readers. The run of a first reader is closed with it."""
        self._host.leave(caller, readers)

    @ray.method(concurrency_group="control")
    def leave_all(self, caller: str) -> None:
        """Close all readers of a calling process that ends."""
        self._host.leave_all(caller)

    # --- for monitoring -------------------------------------------------------------------------

    @ray.method(concurrency_group="control")
    def statistics(self) -> dict[str, LogStatistics]:
        """Return the statistics of each run's log."""
        return self._host.statistics()

    @ray.method(concurrency_group="control")
    def load(self) -> BrokerLoad:
        """Return what the broker holds now."""
        present = {metric.name: int(value) for metric, value in self._host.present()}
        return BrokerLoad(
            host=socket.gethostname(),
            pid=os.getpid(),
            streams=present[metrics.STREAMS.name],
            readers=present[metrics.READERS.name],
            paused=present[metrics.PAUSED.name],
            buffered=present[metrics.BUFFERED.name],
            unread=present[metrics.UNREAD.name],
            events=present[metrics.EVENTS.name],
        )

    @ray.method(concurrency_group="life")
    def process(self) -> int:
        """Return the id of this process: a sign of life."""
        return os.getpid()

    @ray.method(concurrency_group="control")
    def ping(self) -> str:
        """Return the version of distgraph here.

        Raises:
            UnsupportedClusterError: The broker cannot work here.
        """
        check_able(self)
        return __version__


StreamBrokerActor: Any = remote(
    num_cpus=0,
    max_restarts=0,
    concurrency_groups={
        "publish": 1,
        "drive": 1,
        "control": 4,
        "cancel": 1,
        "watch": 3,
        "life": 1,  # alone: calls of the others may wait for the mirror
    },
)(StreamBroker)
"""The broker as a Ray actor: threads by concern, so that none waits for another."""
