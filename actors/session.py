"""A caller's session: one driver and one broker, warm and shared by all of its runs."""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import threading
import time
import uuid
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.broker import StreamBrokerActor
from actors.connect import check_versions, did_not_start, ensure_ray
from actors.driver import GRAPHS, StartRun, SuperstepDriverActor
from actors.mailbox import Mailbox
from actors.names import NAMESPACE, broker_name, driver_name
from actors.persistent import AGAIN, PATIENCE, is_passing
from actors.untyped import get
from distgraph.backends.base import RunPlan
from distgraph.backends.caching import caches_of
from distgraph.backends.coordinator import end_blob
from distgraph.errors import BrokerLost, DriverLost, RunError, SerializationError
from distgraph.persistence import place
from distgraph.persistence.hosting import host
from distgraph.serde.pickling import dumps_code, dumps_data
from distgraph.serde.program import user_paths

logger = logging.getLogger("distgraph")

_DRAIN = 5.0
"""Seconds that one question to the broker may wait for events."""

_LEAVE = 1.0
"""Seconds that a process which exits waits for threads that ask the broker."""

_START = 120.0
"""Seconds for driver and broker to come up, on a cluster that may have to grow first."""


def _limit(name: str, default: int) -> int:
    return int(os.environ.get(f"DISTGRAPH_STREAM_{name}", default))


class Session:
    """Driver, broker, and the threads that listen to them. One a process, made when needed."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.job = ray.get_runtime_context().get_job_id()
        self.caller = f"{self.job}-{os.getpid()}-{self.id}"
        self.failure: BaseException | None = None
        self._closed = False
        self._leading = False
        """Whether a thread is asking the broker for events."""
        self._question: Any = None
        self._answer_lost = False
        self._out_of_reach: float | None = None
        """Since when the broker cannot be reached."""
        self._changed = threading.Condition()
        self._boxes: dict[str, Mailbox] = {}
        self._acks: dict[str, int] = {}
        self._registered: OrderedDict[str, None] = OrderedDict()
        # on the caller's own machine: what is lost with another one is never the run itself
        here = ray.get_runtime_context().get_node_id()
        near = NodeAffinitySchedulingStrategy(here, soft=False)
        self.broker: Any = StreamBrokerActor.options(
            name=broker_name(self.id), namespace=NAMESPACE, scheduling_strategy=near
        ).remote(
            _limit("BYTES", 16 << 20), _limit("EVENTS", 100_000), _limit("RETAINED_BYTES", 1 << 20)
        )
        self.driver: Any = SuperstepDriverActor.options(
            name=driver_name(self.id), namespace=NAMESPACE, scheduling_strategy=near
        ).remote(self.id, float(os.environ.get("DISTGRAPH_POOL_IDLE", "60")), host().ticket)
        try:
            pings = [self.driver.ping.remote(), self.broker.ping.remote()]
            versions = ray.get(pings, timeout=_START)
        except RayError as error:
            unfit = did_not_start(error)
            if unfit is None:
                raise
            raise unfit from error
        check_versions(dict(zip(("superstep driver", "stream broker"), versions, strict=True)))
        self._watch = self.driver.watch.remote()
        self._watch.future().add_done_callback(self._driver_lost)
        threading.Thread(target=self._listen, name="distgraph-stream", daemon=True).start()

    # --- runs -----------------------------------------------------------------------------------

    def start(self, plan: RunPlan, box: Mailbox) -> None:
        """Start a run whose deliveries go to ``box``.

        Raises:
            SerializationError: The graph, the input or the context cannot travel.
            UnsupportedError: The saver cannot be used any more.
        """
        blob, digest = plan.graph.blob.get()
        packed = self._packed(plan, digest)
        run_id = plan.options.run_id
        with self._changed:
            if self.failure is not None:
                raise self.failure
            if run_id in self._boxes:
                raise ValueError(f"config['run_id']: run {run_id} is still going on")
            self._boxes[run_id] = box
            self._changed.notify_all()
            if digest not in self._registered:
                self.driver.register.remote(digest, dumps_code(plan.graph.spec), blob, user_paths())
            self._registered[digest] = None
            self._registered.move_to_end(digest)
            if len(self._registered) > GRAPHS // 2:  # the driver forgets no sooner than we do
                self._registered.popitem(last=False)
        started = self.driver.start.remote(packed)
        started.future().add_done_callback(lambda future: self._refused(run_id, future))

    def _packed(self, plan: RunPlan, digest: str) -> bytes:
        info, parts = plan.info, {}
        for name, value in (
            ("input", plan.input),
            ("context", info.context),
            ("config", (info.configurable, info.tags, plan.options.metadata)),
        ):
            try:
                parts[name] = dumps_data(value)
            except SerializationError as error:
                raise SerializationError(
                    f"graph {plan.graph.name!r}: the run's {name} cannot be sent to the driver: "
                    f"{error}"
                ) from error
        caches = caches_of(plan.graph.program)
        if plan.saver is not None:
            place(plan.saver)  # tells of a connection that was closed meanwhile
        start = StartRun(
            run_id=plan.options.run_id,
            caller=self.caller,
            program=digest,
            options=plan.options,
            info=dumps_data(info),
            input=parts["input"],
            want_output=plan.want_output,
            max_concurrency=info.max_concurrency,
            saver=None if plan.saver is None else dumps_data(plan.saver),
            caches=dumps_data(caches) if caches else None,
            drain=None if info.control is None else info.control.drain_reason,
        )
        return dumps_data(tuple(start))

    def drain(self, run_id: str, reason: str) -> None:
        """Let a run stop behind its current superstep."""
        if self.failure is None and ray.is_initialized():
            self.driver.drain.remote(run_id, reason)

    def consumed(self, run_id: str, seq: int, *, at_once: bool) -> None:
        """Note that a run was consumed up to ``seq``; ``at_once`` where publishers may wait."""
        if at_once:
            self.broker.ack.remote(self.caller, run_id, seq)
        else:
            with self._changed:
                self._acks[run_id] = seq

    def leave(self, run_id: str, *, ended: bool) -> None:
        """Forget a run, and end it if it has not ended."""
        with self._changed:
            self._boxes.pop(run_id, None)
            self._acks.pop(run_id, None)
            self._changed.notify_all()
            others = list(self._boxes.values())
        for box in others:  # the only one left asks the broker itself
            box.kick()
        if self.failure is None and ray.is_initialized():
            if not ended:
                self.driver.cancel.remote([run_id])
            self.broker.close.remote([run_id])

    def alive(self) -> bool:
        """Whether new runs can be started here."""
        return (
            self.failure is None
            and ray.is_initialized()
            and ray.get_runtime_context().get_job_id() == self.job
        )

    def shut(self) -> None:
        """End what goes on and make no further call: the process is exiting.

        A thread that asks the broker is answered: it is not to be within Ray when that shuts down.
        """
        self._closed = True
        lost, self.failure = self.failure, self.failure or RunError("the process is exiting")
        runs = list(self._boxes)
        if lost is not None or not (runs or self._leading) or not ray.is_initialized():
            return
        with suppress(Exception):
            self.driver.cancel.remote(runs)
            # one more than there are: the end of any run is an answer
            blob = end_blob("error", error=self.failure)
            self.broker.terminate.remote(self.caller, [*runs, f"{self.id}-exit"], blob)
        if self._changed.acquire(timeout=_LEAVE):
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._leading, _LEAVE)
            self._changed.release()

    # --- what is lost ---------------------------------------------------------------------------

    def _refused(self, run_id: str, future: Any) -> None:
        error = future.exception()
        if isinstance(error, RayActorError):
            error = DriverLost(f"the superstep driver died before it had started run {run_id}")
        elif error is not None:
            error = RunError(f"the driver could not start run {run_id}: {error}")
        if error is not None:
            self._fail(run_id, error)

    def _fail(self, run_id: str, error: BaseException) -> None:
        box = self._boxes.get(run_id)
        if box is not None:
            box.fail(error)

    def _driver_lost(self, future: Any) -> None:
        """End what the driver had going, behind what it had already told the broker."""
        if self.failure is not None or not ray.is_initialized():
            return
        error = DriverLost(
            "the superstep driver died, and with it the state of its runs "
            f"({type(future.exception()).__name__}); start the run again"
        )
        self.failure = error
        with self._changed:
            runs = list(self._boxes)
            self._changed.notify_all()
        with suppress(Exception):  # the broker may be lost as well: its own listener tells
            blob = end_blob("error", error=error)
            self.broker.terminate.remote(self.caller, runs, blob)

    # --- listening ------------------------------------------------------------------------------

    def wait(self, box: Mailbox) -> None:
        """Wait, in a synchronous reader, for something to have come for ``box``.

        The only reader there is asks the broker itself: no other thread is in the path of its
        events. As soon as there are more runs, or async ones, the listener asks for all.
        """
        with self._changed:
            lead = self._alone() and not self._leading
            self._leading = self._leading or lead
        if not lead:
            box.wait()
            return
        try:
            self._ask()
        finally:
            self._follow()

    def _alone(self) -> bool:
        """Whether the only run has a synchronous reader. The lock is held."""
        return len(self._boxes) == 1 and next(iter(self._boxes.values())).is_sync

    def _follow(self) -> None:
        with self._changed:
            self._leading = False
            self._changed.notify_all()
            boxes = list(self._boxes.values())
        for box in boxes:
            box.kick()

    def _listen(self) -> None:
        """Body of the thread that waits for events of several runs, or async ones."""
        while True:
            with self._changed:
                while not self._boxes or self._leading or self._alone():
                    if self._closed or (self.failure is not None and not self._boxes):
                        return
                    self._changed.wait()
                self._leading = True
            try:
                if self._closed or not self._ask():
                    return
            except SystemExit:  # how Ray ends a thread that waits when it is shut down
                return
            finally:
                self._follow()

    def _ask(self) -> bool:
        """Ask the broker once and hand out what came. Return False where it is lost.

        A question that an interrupt cut short is not asked again, but waited for: its answer may
        hold what came for other runs.
        """
        try:
            if self._closed or not ray.is_initialized():
                raise RunError("the process is exiting" if self._closed else "Ray was shut down")
            if self._question is None:
                with self._changed:
                    acks, self._acks = self._acks, {}
                    received = {name: box.received for name, box in self._boxes.items()}
                lost = received if self._answer_lost else None
                self._question = self.broker.drain.remote(self.caller, acks, _DRAIN, lost)
            packed = get(self._question)
            self._answer_lost, self._out_of_reach = False, None
        except Exception as error:
            self._question = None
            if is_passing(error) and self._may_ask_again():
                return True
            self._broker_lost(error)
            return False
        self._question = None
        for run_id, deliveries in (pickle.loads(packed) if packed else {}).items():
            box = self._boxes.get(run_id)
            if box is not None:
                box.put(deliveries)
        return True

    def _may_ask_again(self) -> bool:
        """The broker is out of reach: wait a moment, unless it has been for too long."""
        now = time.monotonic()
        self._answer_lost = True
        self._out_of_reach = self._out_of_reach or now
        time.sleep(AGAIN)
        return now < self._out_of_reach + PATIENCE

    def _broker_lost(self, cause: BaseException) -> None:
        error = BrokerLost(
            "the stream broker died, and with it what it had not delivered "
            f"({type(cause).__name__}); start the run again"
        )
        error.__cause__ = cause
        self.failure = self.failure or error
        with self._changed:
            boxes = dict(self._boxes)
        for box in boxes.values():
            box.fail(self.failure if self._closed else error)
        if self._closed or not ray.is_initialized():
            return
        with suppress(Exception):
            self.driver.cancel.remote(list(boxes))


_lock = threading.Lock()
_session: Session | None = None


@atexit.register
def _close() -> None:
    """Before Ray's own exit handler: no thread of ours may call Ray from here on."""
    if _session is not None:
        _session.shut()


def current() -> Session:
    """Return this process's session; a new one where there is none, or the last one was lost."""
    global _session
    with _lock:
        if _session is None or not _session.alive():
            ensure_ray()
            if _session is not None and _session.failure is not None:
                _retire(_session)
            _session = Session()
        return _session


def end() -> None:
    """End this process's session: its driver, broker, executors and pools, and runs still going.

    The next run starts another one. Ray itself stays as it is.
    """
    global _session
    with _lock:
        if _session is not None:
            _session.failure = _session.failure or RunError("the session was ended")
            if ray.is_initialized():
                _retire(_session)
            _session = None


def _retire(session: Session) -> None:
    """Kill a session's actors; what they started goes with them."""
    for actor in (session.driver, session.broker):
        with suppress(Exception):
            ray.kill(actor)
