"""A caller's sessions: each is one driver and one broker, warm and shared by many runs."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import actors.references  # noqa: F401 (registers Ray's references)
from actors import started
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
from actors.connect import check_versions, did_not_start, ensure_ray, lost_at_start
from actors.driver import GRAPHS, SuperstepDriverActor
from actors.entrance import DriverLink
from actors.mirror import from_environment, start_mirror
from actors.runloop import StartRun
from actors.started import RayStarted
from actors.storage import CallerReferences
from actors.transport_ray import RayReads
from actors.warm import cpus_of, start_workers, warm_up
from actors.watched import REPORT, Watched
from distgraph._internal.tracebacks import error_for_one
from distgraph.backends.base import RunPlan
from distgraph.capacity import requests_anything
from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import daemon
from distgraph.concurrency.timers import timers
from distgraph.contract.started import RunTerms
from distgraph.contract.stream import KeepRun
from distgraph.driver.ahead import awaits
from distgraph.driver.caching import caches_of
from distgraph.driver.choosing import Choice, drivers_from_environment, ties
from distgraph.driver.operations import end_blob
from distgraph.errors import (
    BrokerLost,
    DriverLost,
    RunCancelled,
    RunError,
    SerializationError,
    UnsupportedClusterError,
)
from distgraph.metrics import interval_from_environment
from distgraph.persistence import place
from distgraph.persistence.hosting import host
from distgraph.persistence.kept_references import keeps_references
from distgraph.persistence.leaving import refuse_to_leave
from distgraph.persistence.opening import awaiting
from distgraph.serde import references
from distgraph.serde.pickling import dumps_code, dumps_data
from distgraph.serde.program import user_paths
from distgraph.serde.references import Parcel, ReferringBlob, parcel
from distgraph.streaming.limits import limits_from_environment
from distgraph.streaming.receiver import Inbox, Receiver
from distgraph.streaming.transport import ReaderKey

logger = logging.getLogger("distgraph")

_PING = 1.0
"""Seconds between two looks at driver and broker."""

_TOLD = 2.0
"""Seconds for the broker to note that the driver is ended."""

_ASKED = 1024
"""Runs that are remembered whose driver was asked for an end."""

_START = 120.0
"""Seconds for driver and broker to come up, on a cluster that may have to grow first."""

_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try to start driver and broker."""

_T = TypeVar("_T")


class _Sent(NamedTuple):
    """A run that was sent to the driver."""

    plan: RunPlan
    blob: bytes
    begin: KeepRun
    inbox: Inbox


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
        self._asked: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        """Of runs whose driver was asked for an end: the method, and what it was given."""
        self._sent: dict[str, _Sent] = {}
        """Saved runs of which nothing is known but that they were sent to the driver."""
        self._registered: OrderedDict[str, None] = OrderedDict()
        # on the caller's own machine: what is lost with another one is never the run itself
        here = ray.get_runtime_context().get_node_id()
        near = NodeAffinitySchedulingStrategy(here, soft=False)
        options = {"namespace": NAMESPACE, "scheduling_strategy": near}
        if detached:
            options["lifetime"] = "detached"
        idle = float(os.environ.get("DISTGRAPH_DETACHED_IDLE", "600")) if detached else None
        self._silence = float(os.environ.get("DISTGRAPH_SILENCE", "60"))
        self._takeover = int(os.environ.get("DISTGRAPH_TAKEOVER_BYTES", str(64 << 20)))
        self._kept: dict[str, None] = {}
        """Graphs of started runs that the broker has for the next driver."""
        metrics_every = interval_from_environment()
        self._port = host().listen(node_address())
        driver = (
            float(os.environ.get("DISTGRAPH_POOL_IDLE", "60")),
            float(os.environ.get("DISTGRAPH_AFFINITY_IDLE", "300")),
            self._port.ticket,
            os.environ.get("DISTGRAPH_LEASES", "1") != "0",
            detached,
            float(os.environ.get("DISTGRAPH_REDUCER_TIMEOUT", "300")),
            metrics_every,
            self._takeover,
            self._silence,
        )
        limits = limits_from_environment()
        self._mirror: Any = None
        broker = dict(options)
        if from_environment():  # a broker that has one is started again
            self._mirror = start_mirror(self.id, limits, options)
            broker |= {"max_restarts": -1, "max_task_retries": -1}
            if detached:  # the caller's machine may be lost: then another one will do
                broker["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=True)
        self.broker: Any = StreamBrokerActor.options(name=broker_name(self.id), **broker).remote(
            limits, self.id, idle, metrics_every, driver, self._silence, self._mirror is not None
        )
        host().carrier = CallerReferences()
        self.driver: Any = SuperstepDriverActor.options(
            name=driver_name(self.id), **options
        ).remote(self.id, *driver)
        self._way = DriverLink(self.driver)
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
        self._reads = RayReads(self.id, self.broker)
        self.receiver = Receiver(self._reads, self.caller, self._broker_lost)

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
            self.is_stillborn = first is not None and _is_stillbirth(first)
            self.failure = error
            self._kill()
            raise error_for_one(error) from error.__cause__
        with self._lock:
            if self._watch is None:
                self._watch_driver()
                self.broker.watch.remote().future().add_done_callback(self._broker_died)
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
        self._forget_begun()
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

    # --- runs -----------------------------------------------------------------------------------

    def start(self, plan: RunPlan, inbox: Inbox, *, is_async: bool) -> None:
        """Start a run whose deliveries go to ``inbox``. ``is_async``: its caller awaits it.

        Raises:
            SerializationError: The graph, the input or the context cannot travel.
            UnsupportedError: The saver cannot be used any more.
        """
        blob, digest = plan.graph.blob.get()
        packed = _packed(plan, digest, self.caller, is_async=is_async)
        self.wait_until_up()
        check_capacity(plan.graph.spec)
        run_id = plan.options.shared.run_id
        while True:
            with self._lock:
                if self.failure is not None:
                    raise error_for_one(self.failure)
                if self._has_driver.is_set():
                    self.receiver.open(inbox)
                    sent = self._send(plan, blob, digest, packed)
                    break
            self.wait_until_up()
        begin = self._begin(plan, digest, packed)
        if begin is not None:
            self._sent[run_id] = _Sent(plan, blob, begin, inbox)
        sent.add_done_callback(lambda future: self._refused(run_id, future))

    def launch(
        self, plan: RunPlan, terms: RunTerms, blob: bytes, digest: str, packed: Any
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
            begin = self._begin(plan, digest, packed)
            if begin is not None and digest not in self._kept:
                self._kept[digest] = None
                code = parcel(dumps_code(plan.graph.spec)), parcel(blob), user_paths()
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
        self._send(plan, blob, digest, packed).add_done_callback(
            lambda future: self._not_started(run_id, driver, future)
        )
        if plan.info.control is not None:
            plan.info.control.listen(partial(self.drain, run_id))
        return RayStarted(self, run_id)

    def _begin(self, plan: RunPlan, digest: str, packed: Any) -> KeepRun | None:
        """Return what begins a run if its driver dies before it does; None without a journal."""
        can = self._takeover and plan.info.saver is not None and isinstance(packed, bytes)
        return KeepRun(packed, digest) if can else None

    def _send(self, plan: RunPlan, blob: bytes, digest: str, packed: Any) -> Future[None]:
        """Send a run to the driver, and its graph where the driver may not have it."""
        self._register(plan, blob, digest)
        if type(packed) is bytes and not self._by_calls:
            return self._way.start(plan.options.shared.run_id, packed)
        self._by_calls = True  # Ray has to see references travel; what follows stays behind it
        sent: Future[None] = self.driver.start.remote(packed).future()
        return sent

    def _register(self, plan: RunPlan, blob: bytes, digest: str) -> None:
        with self._lock:
            if digest not in self._registered:
                spec, paths, is_first = plan.graph.spec, user_paths(), not self._registered
                awaited = is_first and awaits(spec)
                registered = self.driver.register.remote(
                    digest, parcel(dumps_code(spec)), parcel(blob), paths, awaited
                )
                # a process that has loaded the graph may see no GPU any more
                plain = not requests_anything(spec) and type(blob) is bytes
                if self._is_first and is_first and plain:
                    # One for each CPU: they delay the first event, but later nodes need them.
                    warm = partial(self._warm_up, digest, blob, paths)
                    registered.future().add_done_callback(warm)
            self._registered[digest] = None
            self._registered.move_to_end(digest)
            if len(self._registered) > GRAPHS // 2:  # the driver forgets no sooner than we do
                self._registered.popitem(last=False)

    def _warm_up(self, digest: str, blob: bytes, paths: tuple[str, ...], registered: Any) -> None:
        """Let worker processes load the first graph, once its executor has its process."""
        if registered.exception() is None and self.alive():
            warm_up(self._near, self._cpus, digest, blob, paths)

    def drain(self, run_id: str, reason: str) -> None:
        """Stop a run gracefully after its current superstep."""
        self._ask(run_id, "drain", reason)

    def cancel(self, run_id: str) -> None:
        """End a run whose reader stays to see its end."""
        self._ask(run_id, "cancel")

    def _ask(self, run_id: str, method: str, *given: Any) -> None:
        """Ask the driver, and the one that follows it, for the end of a run."""
        if self.failure is not None or not ray.is_initialized():
            return
        with self._lock:
            self._asked[run_id] = method, given
            while len(self._asked) > _ASKED:
                self._asked.popitem(last=False)
            driver, way = self.driver, self._way
        if self._by_calls:
            getattr(driver, method).remote([run_id] if method == "cancel" else run_id, *given)
        else:
            getattr(way, method)(run_id, *given)

    def leave(self, run_id: str, *, ended: bool) -> None:
        """Forget a run, and end it if it has not ended."""
        reader = ReaderKey(run_id)
        self.receiver.close(reader)
        self.runs.discard(run_id)
        self._sent.pop(run_id, None)
        if self.failure is None and ray.is_initialized():
            if not ended:
                self.cancel(run_id)
            self._asked.pop(run_id, None)
            self._reads.leave(self.caller, [reader])

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
            self._forget_begun()
            begin = {run_id: sent.begin for run_id, sent in self._sent.items()}
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
            if driver is None:
                self.failure = self.failure or error
            else:
                self.driver = driver
                self._way.close()
                self._way = DriverLink(driver)
                self._registered.clear()
                self._ended_for_silence = ""
                self._actors.pop("superstep driver", None)
                driver.ping.remote().future().add_done_callback(partial(self._is_up, driver))
                self._watch_driver()
                for run_id in begun:
                    if (sent := self._sent.get(run_id)) is not None:
                        self._register(sent.plan, sent.blob, sent.begin.program)
                for run_id, (method, given) in self._asked.items():
                    getattr(driver, method).remote(
                        [run_id] if method == "cancel" else run_id, *given
                    )
            self._has_driver.set()
        left = [run_id for run_id in runs if run_id not in taken and run_id not in begun]
        if left and not (self.is_detached and driver is None):  # its broker has seen it too
            with suppress(RayError):  # the broker may be lost as well: its own reader tells
                blob = end_blob("error", error=error, begun=False)
                self.broker.terminate.remote(self.caller, left, blob)

    def _forget_begun(self) -> None:
        """Forget what was sent of runs that are known to have begun."""
        for run_id, sent in list(self._sent.items()):
            if sent.inbox.is_used:
                self._sent.pop(run_id, None)

    def _is_up(self, driver: Any, future: Any) -> None:
        """Expect signs of life of another driver, once its process has started."""
        if future.exception() is None:
            self._actors["superstep driver"] = Watched(driver)

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
        if self._is_connected():
            with suppress(RayError):
                self.driver.cancel.remote([reader.run_id for reader in self.receiver.readers])


def _packed(plan: RunPlan, digest: str, caller: str, *, is_async: bool = False) -> Any:
    info, options, parts = plan.info, plan.options, {}
    for name, value in (
        ("input", plan.input),
        ("context", info.context),
        (
            "config",
            {"configurable": options.shared.configurable, "metadata": options.metadata},
        ),
    ):
        try:
            parts[name] = dumps_data(value, name=name)
        except SerializationError as error:
            raise SerializationError(
                f"graph {plan.graph.name!r}: the run's {name} cannot be sent to the driver: {error}"
            ) from error
    saved = info.saver is not None and not keeps_references(info.saver)
    if saved and isinstance(parts["input"], ReferringBlob):
        raise SerializationError(
            f"graph {plan.graph.name!r}: the run's input holds a reference to an object of the "
            "Ray cluster, and the thread is saved by a checkpointer, which would outlive the "
            "object. Pass the value itself or the path of a file, or run without a checkpointer"
        )
    caches = caches_of(plan.graph.program)
    if info.saver is not None:
        place(info.saver)  # raises if the connection was closed meanwhile
    saver, saves = info.saver, info.saver is not None or bool(caches)
    if is_async:
        saver = None if saver is None else awaiting(saver)
        caches = {path: awaiting(cache) for path, cache in caches.items()}
    start = StartRun(
        caller=caller,
        program=digest,
        options=options,
        packed_info=dumps_data(info),
        packed_input=parts["input"],
        packed_storage=dumps_data((saver, caches)) if saves else None,
        drain=None if info.control is None else info.control.drain_reason,
    )
    return parcel(dumps_data(tuple(start)))


def _is_stillbirth(error: RayError) -> bool:
    """Whether Ray gave up an actor, and not the caller: another one may come up."""
    return not isinstance(error, GetTimeoutError) and did_not_start(error) is None


def _why_not_started(run_id: str, future: Any) -> RunError | None:
    error = future.exception()
    if isinstance(error, RayActorError):
        return DriverLost(f"the superstep driver died before it had started run {run_id}")
    return error and RunError(f"the driver could not start run {run_id}: {error}")


class _Sessions:
    """The sessions of this process of one kind, each with a driver and a broker of its own.

    All of them start with the first run. One that is lost is replaced; the others go on.
    """

    def __init__(self, *, detached: bool) -> None:
        self._detached = detached
        self._choice = Choice()
        self._lock = threading.Lock()
        self.all: list[Session] = []

    def first(self) -> Session:
        """Return the session of the first driver; new sessions where some are missing or lost."""
        with self._lock:
            if not self.all:
                ensure_ray()
                of = drivers_from_environment()
                self.all = [self._new(number, of) for number in range(of)]
            for number, session in enumerate(self.all):
                if not session.alive():
                    ensure_ray()
                    _leave(session)
                    self.all[number] = self._new(number, len(self.all))
            return self.all[0]

    def _new(self, number: int, of: int) -> Session:
        session = Session(self._detached, number, of)
        if number > 0:  # it is watched also if no run is given to it for long
            daemon(session.come_up, "distgraph-connect").start()
        return session

    def choose(self, plan: RunPlan) -> Session:
        """Return the session of a new run, which counts as live from now on.

        ``Session.leave`` ends that, or ``Session.launch``, which counts the run on its own.
        """
        first, tied = self.first(), list[Hashable]()
        if len(self.all) > 1:
            shared, (_, digest) = plan.options.shared, plan.graph.blob.get()
            thread = shared.configurable.get("thread_id")
            tied = ties(shared.run_id, thread, plan.graph.spec, digest)
        with self._lock:
            known = self.all or [first]  # none, if they were ended meanwhile
            session = known[self._choice.choose([s.live for s in known], tied)]
            session.runs.add(plan.options.shared.run_id)
            return session

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            for session in self.all:
                session.end()
            self.all = []


_own = _Sessions(detached=False)
_outliving = _Sessions(detached=True)
_set_asides: list[Session] = []
"""Sessions whose driver died, and whose broker still keeps streams of started runs."""
_inherited: list[Session] = []
"""Sessions of the process from which this one was forked: they are neither used nor ended here."""


def _everything() -> list[Session]:
    return [*_own.all, *_outliving.all, *_set_asides]


@in_forked_process
def _forget_sessions() -> None:
    global _own, _outliving
    _inherited.extend(_everything())
    _own, _outliving = _Sessions(detached=False), _Sessions(detached=True)
    _set_asides.clear()


@atexit.register
def _close() -> None:
    """Before Ray's own exit handler: no thread of distgraph may call Ray from here on."""
    started.shut()
    for session in _everything():
        session.shut()


def sessions() -> list[Session]:
    """Return the sessions of this process that can be used."""
    return [session for session in (*_own.all, *_outliving.all) if session.alive()]


def launch(plan: RunPlan, terms: RunTerms, *, detached: bool) -> RayStarted:
    """Start a run that no reader owns; ``detached`` for one that outlives this process.

    Raises:
        SerializationError: The graph, the input or the context cannot travel.
        UnsupportedError: The saver cannot be used any more, or a detached run needs what ends with
            this process.
        RunError: A run of that id is known already; or the session is lost.
    """
    with references.staying() as staying:
        blob, digest = plan.graph.blob.get()
        packed = _packed(plan, digest, "")

    def start(session: Session) -> RayStarted:
        try:
            return session.launch(plan, terms, blob, digest, packed)
        finally:
            session.runs.discard(plan.options.shared.run_id)

    if not detached:
        find = partial(_own.choose, plan)
        return repeated(find, start)
    referring = any(isinstance(b, (ReferringBlob, Parcel)) for b in (blob, packed))
    refuse_to_leave(plan.graph.name, [*plan.graph.blob.staying, *staying], referring)

    find = partial(_outliving.choose, plan)
    try:
        return repeated(find, start)
    except BrokerLost:  # it has ended, having been idle for long
        return repeated(find, start)


def repeated(find: Callable[[], Session], use: Callable[[Session], _T]) -> _T:
    """Use a session, and another one while Ray gives up driver or broker before they run.

    Ray does so where the process or the machine of an actor ends while the actor is created, or is
    not known everywhere: on a cluster that has just started, or that lacks memory.

    Raises:
        UnsupportedClusterError: They did not come up in the last try either.
    """
    for pause in _PAUSES:
        session = find()
        try:
            return use(session)
        except UnsupportedClusterError as error:
            if not session.is_stillborn:
                raise
            logger.warning("%s. They are started again", error.args[0].partition(". If ")[0])
        time.sleep(pause)
    return use(find())


def current_detached() -> Session:
    """Return this process's first session of detached runs; a new one where there is none alive."""
    return _outliving.first()


def current() -> Session:
    """Return this process's first session; a new one where there is none, or it was lost."""
    return _own.first()


def enter(plan: RunPlan) -> Session:
    """Return the session of a run that is read here. The run is live until ``Session.leave``."""
    return _own.choose(plan)


def connect() -> None:
    """Start the sessions of this process, and wait until their drivers and brokers run.

    Raises:
        UnsupportedClusterError: The first ones did not come up.
    """
    repeated(current, Session.wait_until_up)
    for session in list(_own.all)[1:]:
        session.come_up()


def _leave(session: Session) -> None:
    """Leave a session that cannot be used. The broker of one that is lost stays where it keeps the
    streams of started runs."""
    if session.is_detached or session.failure is None:  # or the process has left its cluster
        session.hide()
    elif session.has_launched and isinstance(session.failure, DriverLost):
        _set_asides.append(session)
    else:
        session.end()


def exists() -> bool:
    """Return whether ``current`` has a session to return, and starts none."""
    return any(session.alive() for session in list(_own.all))


def end() -> None:
    """End this process's sessions: drivers, brokers, executors and pools, and runs still going.

    The next run starts others. Ray itself stays as it is, and so do detached runs.
    """
    _own.end()
    while _set_asides:
        _set_asides.pop().end()
