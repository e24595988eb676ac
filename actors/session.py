"""A session of a caller: one driver and one broker, warm and shared by many runs."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import actors.references  # noqa: F401 (registers Ray's references)
from actors.broker import StreamBrokerActor
from actors.capacity import check_capacity
from actors.cluster import (
    NAMESPACE,
    actor_id,
    broker_name,
    driver_name,
    get,
    job,
    node_address,
)
from actors.driver import GRAPHS, SuperstepDriverActor
from actors.entrance import DriverLink
from actors.mirror import from_environment, start_mirror
from actors.prestart import cpus_of, start_workers, warm_up
from actors.signs_of_life import REPORT, Watched, when_lost
from actors.start_message import packed
from actors.started_runs import RayStarted
from actors.storage import CallerReferences
from actors.transport_ray import RayReads
from distgraph._internal.settings import carried, setting
from distgraph._internal.tracebacks import error_for_one
from distgraph.backends.base import RunPlan
from distgraph.capacity import requests_anything
from distgraph.concurrency.timers import timers
from distgraph.contract.spec import GraphSpec
from distgraph.contract.started_runs import RunTerms
from distgraph.contract.stream import KeepRun
from distgraph.driver.broker_plane import only_delivery
from distgraph.driver.operations import end_blob
from distgraph.driver.prestart import awaits
from distgraph.driver.startup import (
    check_versions,
    did_not_start,
    is_stillbirth,
    lost_at_start,
)
from distgraph.driver.succession import EndRequest, GivenRuns, SentRun
from distgraph.errors import (
    BrokerLost,
    DriverLost,
    RunCancelled,
    RunError,
    UnsupportedClusterError,
)
from distgraph.metrics import interval_from_environment
from distgraph.persistence.hosting import host
from distgraph.persistence.placing import any_elsewhere
from distgraph.serde.program import dumps_spec, user_paths
from distgraph.serde.references import parcel
from distgraph.streaming.limits import limits_from_environment
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import Fetched, ReaderKey
from distgraph.wire import check_room

logger = logging.getLogger("distgraph")

_PING = 1.0
"""Seconds between two looks at driver and broker."""

_TOLD = 2.0
"""Seconds for the broker to note that the driver is ended."""

_START = 120.0
"""Seconds for driver and broker to come up, on a cluster that may have to grow first."""


class Session:
    """Driver, broker, and what receives their events. Made when needed.

    Args:
        detached: Whether driver and broker outlive this process, until they have been idle for a
            while. A process has such sessions besides its own once it starts a detached run.
        number: Number of the session among those of its kind in this process, from 0.
        of: How many there are.
    """

    def __init__(self, detached: bool = False, number: int = 0, of: int = 1) -> None:
        self.is_detached = detached
        self._is_first, self._has_siblings = number == 0, of > 1
        self.runs: set[str] = set()
        """Runs that were given to this session, and have not been left."""
        self._unowned: set[str] = set()
        """Runs of this process that no reader owns, and that went on at the last look."""
        self.has_launched = False
        """Whether a run was started here that no reader owns."""
        self.id = uuid.uuid4().hex[:12]
        self.job: str | None = job()
        self.caller = f"{self.job}-{os.getpid()}-{self.id}"
        self.failure: BaseException | None = None
        self.is_stillborn = False
        """Whether Ray gave up driver or broker before both ran: others may come up."""
        self._lock = threading.RLock()
        self._has_driver = threading.Event()
        """Cleared while another driver takes the place of one that is lost."""
        self._has_driver.set()
        self._given = GivenRuns(graphs=GRAPHS // 2)  # the driver forgets no sooner than we do
        # on the caller's own machine: what is lost with another one is never the run itself
        here = ray.get_runtime_context().get_node_id()
        near = NodeAffinitySchedulingStrategy(here, soft=False)
        options = {"namespace": NAMESPACE, "scheduling_strategy": near}
        if detached:
            options["lifetime"] = "detached"
        idle = setting("DISTGRAPH_DETACHED_IDLE", 600.0) if detached else None
        self._silence = setting("DISTGRAPH_SILENCE", 60.0)
        self._takeover = setting("DISTGRAPH_TAKEOVER_BYTES", 64 << 20)
        self._kept: dict[str, None] = {}
        """Graphs of started runs that the broker has for the next driver."""
        metrics_every = interval_from_environment()
        self._port = host().listen(node_address())
        is_mirrored = from_environment()
        check_room(node_address(), 3 if is_mirrored else 2)
        driver = (
            setting("DISTGRAPH_POOL_IDLE", 60.0),
            setting("DISTGRAPH_AFFINITY_IDLE", 300.0),
            setting("DISTGRAPH_WORKER_IDLE", 10.0),
            self._port.ticket,
            setting("DISTGRAPH_LEASES", True),
            detached,
            setting("DISTGRAPH_REDUCER_TIMEOUT", 300.0),
            metrics_every,
            self._takeover,
            self._silence,
            carried(),
        )
        limits = limits_from_environment()
        self._mirror: Any = None
        broker = dict(options)
        if is_mirrored:  # a broker that has one is started again
            self._mirror = start_mirror(self.id, limits, options)
            broker |= {"max_restarts": -1, "max_task_retries": -1}
            if detached:  # the caller's machine may be lost: then another one will do
                broker["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=True)
        self.broker: Any = StreamBrokerActor.options(name=broker_name(self.id), **broker).remote(
            limits,
            self.id,
            idle,
            metrics_every,
            driver,
            self._silence,
            self._mirror is not None,
            carried(),
        )
        host().carrier = CallerReferences()
        self.driver: Any = SuperstepDriverActor.options(
            name=driver_name(self.id), **options
        ).remote(self.id, *driver)
        self._way = DriverLink(self.driver, self._take_end)
        self._by_calls = False
        """Whether requests go by calls of the driver's actor."""
        self._starting = [self.broker.ping.remote(), self.driver.ping.remote()]
        self._near = near
        self._cpus = cpus_of(here)
        if self._is_first:
            # one CPU is left to driver and broker, for which the first event waits
            start_workers(near, self._cpus - 1 or self._cpus)
        self._watch: Any = None
        self._ended_for_silence = ""
        self._actors = {
            "superstep driver": Watched(self.driver),
            "stream broker": Watched(self.broker, restarts=self._mirror is not None),
        }
        for actor in self._actors.values():
            actor.silent()  # the first sign of life comes when its process has started
        self._reads = RayReads(self.id, self.broker)
        self._reads.lead.also(lambda: self._way.connection)
        self._receives = False
        """Whether there is a receiver: the broker may be lost before."""
        self.receiver = Receiver(self._reads, self.caller, self._broker_lost)
        self._receives = True

    def wait_until_up(self) -> None:
        """Wait until driver and broker run; what the caller does before that goes on meanwhile.

        Raises:
            UnsupportedClusterError: One cannot import distgraph there, has another version, or was
                given up by Ray before it ran.
        """
        if self._watch is not None:
            self._has_driver.wait(_START)
            return
        versions, errors = dict[str, str](), dict[str, RayError]()
        until = time.monotonic() + _START
        for name, ping in zip(("stream broker", "superstep driver"), self._starting, strict=True):
            try:
                versions[name] = get(ping, max(0.0, until - time.monotonic()))
            except RayError as error:
                errors[name] = error
        first = next(iter(errors.values()), None)  # without a broker, no driver comes up
        try:
            if first is not None:
                raise did_not_start(first) or lost_at_start(errors, _START) from first
            check_versions({name: versions[name] for name in reversed(versions)})
        except UnsupportedClusterError as error:
            self.is_stillborn = first is not None and is_stillbirth(first)
            self.failure = error
            self._kill()
            raise error_for_one(error) from error.__cause__
        with self._lock:
            if self._watch is None:
                self._watch_driver()
                when_lost(self.broker, self._broker_died)
                timers().after(_PING, self._look)

    def come_up(self) -> None:
        """As ``wait_until_up``, for a thread of its own: a failure is that of the next run."""
        with suppress(RunError, RayError, UnsupportedClusterError):
            self.wait_until_up()

    def _watch_driver(self) -> None:
        self._watch = self.driver.watch.remote()
        self._watch.future().add_done_callback(partial(self._driver_lost, self.driver))

    # --- silence --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask driver and broker for a sign of life, and end one that gives none for too long."""
        if self.failure is not None or not ray.is_initialized():
            return
        for name, actor in list(self._actors.items()):
            seconds = actor.silent()
            if seconds >= self._silence:
                self._ended_for_silence = (
                    f"; it was ended after {seconds:.0f} s without a sign of life: its process was "
                    "stopped, or a reducer held the interpreter lock"
                )
                self._end_silent(name, actor)
            elif seconds >= REPORT:
                actor.report(name, seconds, self._silence)
        self._given.forget_begun()
        if self._unowned and self._has_siblings:
            with suppress(RayError):
                asked = self.broker.ended.remote(list(self._unowned)).future()
                asked.add_done_callback(self._forget_ended)
        timers().after(_PING, self._look)

    def _forget_ended(self, future: Any) -> None:
        if future.exception() is None:
            self._unowned.difference_update(future.result())

    @property
    def live(self) -> int:
        """Runs of this process that go on."""
        return len(self.runs) + len(self._unowned)

    def _end_silent(self, name: str, actor: Watched) -> None:
        if name != "superstep driver":
            actor.end()
            return
        timers().after(_TOLD, actor.end)  # the broker may be silent as well
        with suppress(RayError):
            told = self.broker.suspect.remote(actor_id(self.driver)).future()
            # not within the callback: a thread of Ray that kills an actor waits for itself
            told.add_done_callback(lambda future: timers().after(0.0, actor.end))

    @property
    def broker_seen(self) -> float:
        """A time at which the broker lived: no later sign of life of it is known."""
        return self._actors["stream broker"].seen

    # --- runs -----------------------------------------------------------------------------------

    def start(self, plan: RunPlan, inbox: Inbox, *, is_async: bool) -> Future[None]:
        """Start a run whose deliveries go to ``inbox``. ``is_async``: its caller awaits it.

        The result comes once the driver has the run.

        Raises:
            SerializationError: The graph, the input or the context cannot travel.
            UnsupportedError: The saver cannot be used any more.
        """
        blob, digest = plan.graph.blob.get()
        request = packed(plan, digest, self.caller, is_async=is_async)
        self.wait_until_up()
        check_capacity(plan.graph.spec)
        run_id = plan.options.shared.run_id
        while True:
            with self._lock:
                if self.failure is not None:
                    raise error_for_one(self.failure)
                if self._has_driver.is_set():
                    self.receiver.open(inbox)
                    sent = self._send(plan, blob, digest, request)
                    break
            self.wait_until_up()
        begin = self._begin(plan, digest, request)
        if begin is not None:
            self._given.sent(run_id, SentRun(plan.graph.spec, blob, begin, inbox))
        sent.add_done_callback(lambda future: self._refused(run_id, future))
        return sent

    def launch(
        self, plan: RunPlan, terms: RunTerms, blob: bytes, digest: str, request: Any
    ) -> RayStarted:
        """Start a run that no reader owns.

        Raises:
            RunError: A run of that id is known already; or the session is lost.
            UnsupportedClusterError: No machine has what a node requests, and this is an error.
        """
        run_id = plan.options.shared.run_id
        self.wait_until_up()
        check_capacity(plan.graph.spec)
        self.has_launched = True
        if self.failure is not None:
            raise error_for_one(self.failure)
        try:
            begin = self._begin(plan, digest, request)
            if begin is not None and digest not in self._kept:
                self._kept[digest] = None
                code = _packed(plan.graph.spec), parcel(blob), user_paths()
                get(self.broker.keep_program.remote(digest, *code), _START)
            get(self.broker.announce.remote(run_id, terms, begin), _START)
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            self.failure = lost = BrokerLost(
                f"run {run_id} was not started: the stream broker is gone"
            )
            raise lost from error
        driver = actor_id(self.driver)
        if self._has_siblings:
            self._unowned.add(run_id)
        self._send(plan, blob, digest, request).add_done_callback(
            lambda future: self._not_started(run_id, driver, future)
        )
        if plan.info.control is not None:
            plan.info.control.listen(partial(self.drain, run_id))
        return RayStarted(self, run_id)

    def _begin(self, plan: RunPlan, digest: str, request: Any) -> KeepRun | None:
        """Return what begins a run if its driver dies before it does; None without a journal."""
        can = self._takeover and plan.info.saver is not None and isinstance(request, bytes)
        return KeepRun(request, digest) if can else None

    def _send(self, plan: RunPlan, blob: bytes, digest: str, request: Any) -> Future[None]:
        """Send a run to the driver, and its graph where the driver may not have it."""
        self._register(plan.graph.spec, blob, digest)
        if type(request) is bytes and not self._by_calls:
            return self._way.start(plan.options.shared.run_id, request)
        self._by_calls = True  # Ray has to see references travel; what follows stays behind it
        sent: Future[None] = self.driver.start.remote(request).future()
        return sent

    def _register(self, spec: GraphSpec, blob: bytes, digest: str) -> None:
        with self._lock:
            if not self._given.knows(digest):
                paths, is_first = user_paths(), not self._given.has_graphs
                awaited = is_first and awaits(spec)
                registered = self.driver.register.remote(
                    digest, _packed(spec), parcel(blob), paths, awaited
                )
                # a process that has loaded the graph may see no GPU any more
                plain = not requests_anything(spec) and type(blob) is bytes
                if self._is_first and is_first and plain:
                    # One for each CPU: they delay the first event, but later nodes need them.
                    warm = partial(self._warm_up, digest, blob, paths)
                    registered.future().add_done_callback(warm)
            self._given.registered(digest)

    def _warm_up(self, digest: str, blob: bytes, paths: tuple[str, ...], registered: Any) -> None:
        """Let worker processes load the first graph, once its executor has its process."""
        if registered.exception() is None and self.alive():
            warm_up(self._near, self._cpus, digest, blob, paths)

    def drain(self, run_id: str, reason: str) -> None:
        """Stop a run gracefully after its current superstep."""
        self._ask(EndRequest(run_id, "drain", (reason,)))

    def cancel(self, run_id: str) -> None:
        """End a run whose reader stays to see its end."""
        self._ask(EndRequest(run_id, "cancel", ()))

    def _ask(self, request: EndRequest) -> None:
        """Ask the driver, and the one that follows it, for the end of a run."""
        if self.failure is not None or not ray.is_initialized():
            return
        with self._lock:
            self._given.asked(request)
            driver, way = self.driver, self._way
        if self._by_calls:
            _ask_driver(driver, request)
        else:
            getattr(way, request.method)(request.run_id, *request.given)

    def _take_end(self, run_id: str, blob: bytes) -> None:
        """Take the end of a run of which nothing is streamed, from the driver."""
        self.receiver.take(0, [Fetched(ReaderKey(run_id), [only_delivery(blob)])])

    def leave(self, run_id: str, *, ended: bool, soon: bool) -> None:
        """Forget a run, and end it if it has not ended. ``soon``: see ``Reads.leave``."""
        reader = ReaderKey(run_id)
        self.receiver.close(reader)
        self.runs.discard(run_id)
        self._given.forget(run_id)
        if self.failure is None and ray.is_initialized():
            if not ended:
                self.cancel(run_id)
                self._given.forget(run_id)
            self._reads.leave(self.caller, [reader], soon=soon or not ended)

    def alive(self) -> bool:
        """Whether the session can start new runs."""
        return self.failure is None and self._is_connected()

    def _is_connected(self) -> bool:
        """Whether this process is still in the Ray job that the session belongs to."""
        return job() == self.job

    def shut(self) -> None:
        """End all activity and make no further call, because the process is exiting."""
        lost = self.failure
        error = self.failure = lost or RunError("the process is exiting")
        runs = [reader.run_id for reader in self.receiver.readers]
        self.receiver.stop(error)
        self._reads.close()
        self._way.close()
        if lost is not None or not self._is_connected():
            return
        with suppress(RayError):
            if self.is_detached:
                self.broker.leave_all.remote(self.caller)
            elif runs:
                self.driver.cancel.remote(runs)

    def end(self) -> None:
        """End what goes on, and the actors; what they started goes with them."""
        self.failure = self.failure or RunCancelled("the session was ended by end_session()")
        self.receiver.stop(self.failure)
        self._reads.close()
        self._way.close()
        self._kill()
        self.hide()

    def _kill(self) -> None:
        if ray.is_initialized():
            for actor in (self.driver, self.broker, self._mirror):
                with suppress(RayError):
                    if actor is not None:
                        ray.kill(actor)

    def hide(self) -> None:
        """Give nobody access to objects of this process any more, such as savers."""
        self._port.close()

    # --- what is lost ---------------------------------------------------------------------------

    def _refused(self, run_id: str, future: Any) -> None:
        error = _why_not_started(run_id, future)
        if error is not None and not isinstance(error, DriverLost):  # else who watches it, knows
            self.receiver.fail(ReaderKey(run_id), error)

    def _not_started(self, run_id: str, driver: str, future: Any) -> None:
        error = _why_not_started(run_id, future)
        if error is None or not ray.is_initialized():
            return
        blob = end_blob("error", error=error)
        with suppress(RayError):
            if isinstance(error, DriverLost):  # another driver may have it
                self.broker.end_unbegun.remote(driver, run_id, blob)
            else:
                self.broker.terminate.remote("", [run_id], blob)

    def _driver_lost(self, driver: Any, future: Any) -> None:
        """Ask the broker, which has the journals, who goes on with the driver's runs."""
        if not ray.is_initialized():
            return
        with self._lock:
            if self.failure is not None:
                return
            self._has_driver.clear()
            runs = [reader.run_id for reader in self.receiver.readers]
        error = DriverLost(
            "the superstep driver died, and with it the state of its runs "
            f"({type(future.exception()).__name__}){self._ended_for_silence}; start the run again"
        )
        try:
            begin = self._given.unbegun()
            asked = self.broker.successor.remote(actor_id(driver), self.caller, begin).future()
        except RayError:
            self._driver_replaced(error, runs, None, (), ())
            return

        def answered(future: Any) -> None:
            found = (None, (), ()) if future.exception() is not None else future.result()
            self._driver_replaced(error, runs, *found)

        asked.add_done_callback(answered)

    def _driver_replaced(
        self,
        error: DriverLost,
        runs: Sequence[str],
        driver: Any,
        taken: Sequence[str],
        begun: Sequence[str],
    ) -> None:
        """Go on with another driver, or without any. End the runs of the one that is lost, after
        the events that it had already sent to the broker, unless another has taken them over."""
        with self._lock:
            follows = self._given.succeed(
                runs, has_driver=driver is not None, taken=taken, begun=begun
            )
            if driver is None:
                self.failure = self.failure or error
            else:
                self.driver = driver
                self._way.close()
                self._way = DriverLink(driver, self._take_end)
                self._ended_for_silence = ""
                self._actors.pop("superstep driver", None)
                driver.ping.remote().future().add_done_callback(partial(self._is_up, driver))
                self._watch_driver()
                for run in follows.graphs:
                    self._register(run.spec, run.blob, run.begin.program)
                for request in follows.requests:
                    _ask_driver(driver, request)
            self._has_driver.set()
        if follows.ended and not (self.is_detached and driver is None):  # its broker saw it too
            with suppress(RayError):  # the broker may be lost as well: its own reader tells
                blob = end_blob("error", error=error)
                self.broker.terminate.remote(self.caller, follows.ended, blob)

    def _is_up(self, driver: Any, future: Any) -> None:
        """Expect signs of life of another driver, once its process has started."""
        if future.exception() is None:
            watched = self._actors["superstep driver"] = Watched(driver)
            watched.silent()

    def _broker_died(self, future: Any) -> None:
        """Note the broker's death also while nothing is read: the next run gets another one."""
        if self.failure is None and ray.is_initialized():
            why = type(future.exception()).__name__
            self._broker_lost(
                BrokerLost(
                    f"the stream broker died ({why}){self._ended_for_silence}; start the run again"
                )
            )

    def _broker_lost(self, error: BrokerLost) -> None:
        self.failure = self.failure or error
        if self._receives and self._is_connected():
            with suppress(RayError):
                self.driver.cancel.remote([reader.run_id for reader in self.receiver.readers])


def _packed(spec: GraphSpec) -> Any:
    return parcel(dumps_spec(spec, with_classes=any_elsewhere()))


def _ask_driver(driver: Any, request: EndRequest) -> None:
    runs = [request.run_id] if request.method == "cancel" else request.run_id
    getattr(driver, request.method).remote(runs, *request.given)


def _why_not_started(run_id: str, future: Any) -> RunError | None:
    error = future.exception()
    if isinstance(error, RayActorError):
        return DriverLost(f"the superstep driver died before it had started run {run_id}")
    return error and RunError(f"the driver could not start run {run_id}: {error}")
