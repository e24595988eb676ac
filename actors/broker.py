"""The stream broker as a Ray actor.

The rules are in ``distgraph.streaming.broker``, the lock is in ``broker_host``, and the sockets, on
which events come and go, are in ``transport_wire``. Ray's calls are for what is rare.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

import actors.references  # noqa: F401 (registers Ray's references)
from actors.cluster import NAMESPACE, driver_name, node_address, remote
from actors.metrics import export
from actors.reaper import cancel_tasks
from distgraph import __version__, logs, metrics
from distgraph.contract.load import BrokerLoad
from distgraph.contract.started import ONGOING, RunState, RunTerms
from distgraph.contract.stream import Blob
from distgraph.driver.operations import end_blob
from distgraph.errors import DriverLost
from distgraph.metrics import Meter
from distgraph.serde.pickling import loads
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.log import LogStatistics
from distgraph.streaming.transport import ReaderKey
from distgraph.streaming.transport_wire import BrokerServer
from distgraph.wire import Address


def _end(error: BaseException) -> Blob:
    """Return the terminal event of a run that the broker ends. Its driver knows nothing of it."""
    return end_blob("error", error=error, orphan=True)


class StreamBroker:
    """The broker actor of one session. Methods exchange packed bytes where packing saves time.

    Args:
        limits: What is held.
        session: Id of the session.
        idle: Seconds without a run after which a session that nobody owns ends; None for a session
            that ends with its owner.
        metrics_every: Seconds between two exports of metrics; None for none.
    """

    def __init__(
        self,
        limits: Limits,
        session: str = "",
        idle: float | None = None,
        metrics_every: float | None = None,
    ) -> None:
        logs.configure()
        self._session = session
        self._driver: Any = None
        self._host = BrokerHost(
            Broker(limits, _end), overdue=self._cancel, idle=self._leave, idle_after=idle
        )
        self._server = BrokerServer(self._host, node_address())
        meter = Meter()
        meter.watch(self._host.present)
        export(meter, metrics_every)

    @ray.method(concurrency_group="control")
    def address(self) -> tuple[Address, bytes]:
        """Return where the broker is reached, and the secret."""
        return self._server.address, self._server.secret

    # --- started runs ---------------------------------------------------------------------------

    @ray.method(concurrency_group="control")
    def announce(self, run_id: str, terms: RunTerms) -> None:
        """Open the log of a run that no reader owns."""
        self._host.announce(run_id, terms)
        if self._driver is None:  # who starts runs may be gone when their driver dies
            self._driver = ray.get_actor(driver_name(self._session), NAMESPACE)
            self._driver.watch.remote().future().add_done_callback(self._driver_lost)

    @ray.method(concurrency_group="control")
    def withdraw(self, run_id: str) -> None:
        """Forget a run that could not be started."""
        self._host.withdraw(run_id)

    @ray.method(concurrency_group="control")
    def describe(self, run_id: str) -> RunState | None:
        """Return a snapshot of a started run; None for an unknown one."""
        return self._host.describe(run_id)

    @ray.method(concurrency_group="control")
    def describe_all(self) -> list[RunState]:
        """Return a snapshot of each started run."""
        return self._host.describe_all()

    @ray.method(concurrency_group="control")
    def face(self, run_id: str) -> bytes | None:
        """Return how a started run's events become chunks, pickled."""
        return self._host.face(run_id)

    @ray.method(concurrency_group="watch")
    def watch(self) -> None:
        """Never return: who waits for this call is notified of the broker's death."""
        threading.Event().wait()

    def _cancel(self, run_ids: list[str]) -> None:
        """End runs that are over their time to live."""
        if self._driver is not None:
            self._driver.cancel.remote(run_ids)

    def _driver_lost(self, future: Any) -> None:
        self._driver = None
        error = DriverLost(
            "the superstep driver died, and with it the state of its runs "
            f"({type(future.exception()).__name__}); start the run again"
        )
        going_on = [s.run_id for s in self._host.describe_all() if s.status in ONGOING]
        self._host.terminate("", going_on, _end(error))

    def _leave(self) -> None:
        """End a session that nobody uses."""
        with suppress(ValueError, RayError):
            ray.kill(ray.get_actor(driver_name(self._session), NAMESPACE))
        ray.kill(ray.get_runtime_context().current_actor)

    # --- for workers and the driver -------------------------------------------------------------

    @ray.method(concurrency_group="publish")
    def publish(self, run_id: str, packed: bytes) -> float:
        """Accept segments that hold references. Return a pause in seconds, or ``GONE``."""
        return self._host.publish(run_id, loads(packed))

    @ray.method(concurrency_group="drive")
    def drive(self, run_id: str, caller: str, batch_no: int, packed: bytes) -> float:
        """Accept a batch that holds references. Return a pause in seconds; 0.0 to continue."""
        return self._host.drive(run_id, caller, batch_no, loads(packed))

    @ray.method(concurrency_group="control")
    def terminate(self, caller: str, run_ids: list[str], blob: bytes) -> None:
        """End runs without their driver, which is lost."""
        self._host.terminate(caller, run_ids, blob)

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
        return self._host.open(caller, reader, after_seq, only_end)

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

    @ray.method(concurrency_group="control")
    def process(self) -> int:
        """Return the id of this process: a sign of life."""
        return os.getpid()

    @ray.method(concurrency_group="control")
    def ping(self) -> str:
        """Return the version of distgraph here."""
        return __version__


StreamBrokerActor: Any = remote(
    num_cpus=0,
    max_restarts=0,
    concurrency_groups={
        "publish": 1,
        "drive": 1,
        "control": 4,
        "cancel": 1,
        "watch": 2,
    },
)(StreamBroker)
"""The broker as a Ray actor: threads by concern, so that none waits for another."""
