"""The mirror of a session's broker: an actor, on another machine where there is one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import actors.references  # noqa: F401 (registers Ray's references)
from actors.cluster import alive_nodes, mirror_name, node_address, remote
from actors.persistent import persistent
from distgraph import logs
from distgraph.contract.stream import Blob
from distgraph.driver.operations import end_blob
from distgraph.errors import BrokerLost
from distgraph.serde.pickling import loads
from distgraph.serde.references import Parcel
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.mirror import MirrorServer, Recorder, Replica, ReplicaState
from distgraph.wire import Address

__all__ = (
    "clock_from",
    "end_of_run",
    "from_environment",
    "recorder",
    "start_mirror",
    "state_of",
)

logger = logging.getLogger("distgraph")


def from_environment() -> bool:
    """Return whether brokers of this process have mirrors."""
    return os.environ.get("DISTGRAPH_MIRROR", "0") != "0"


def end_of_run(error: BaseException) -> Blob:
    """Return the terminal event of a run that the broker ends. Its driver knows nothing of it."""
    return end_blob("error", error=error, orphan=True)


class BrokerMirror:
    """The mirror actor of one session."""

    def __init__(self, limits: Limits) -> None:
        logs.configure()
        self._replica = Replica(Broker(limits, end_of_run))
        self._server = MirrorServer(self._replica, node_address())

    def address(self) -> tuple[Address, bytes]:
        """Return where the mirror is reached, and the secret."""
        return self._server.address, self._server.secret

    def begin(self) -> Any:
        """Return what a broker begins with; see ``Replica.begin``."""
        return self._replica.begin()

    def apply(self, epoch: int, first: int, packed: Parcel) -> bool:
        """Apply records that hold references; see ``Replica.apply``."""
        return self._replica.apply(epoch, first, *loads(packed))


_BrokerMirrorActor: Any = remote(num_cpus=0, max_restarts=0)(BrokerMirror)


def start_mirror(session: str, limits: Limits, options: dict[str, Any]) -> Any:
    """Start the mirror of a session, on another machine than this one where there is one."""
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in alive_nodes() if node != here]
    there = NodeAffinitySchedulingStrategy(others[0] if others else here, soft=True)
    options = {**options, "scheduling_strategy": there}
    return _BrokerMirrorActor.options(name=mirror_name(session), **options).remote(limits)


def state_of(mirror: Any) -> ReplicaState:
    """Return what a broker begins with.

    Raises:
        BrokerLost: The mirror is lost, and the broker that it had mirrored.
    """
    try:
        return ReplicaState(*loads(ray.get(mirror.begin.remote())))
    except RayError as error:
        raise BrokerLost(
            f"the stream broker cannot begin, because its mirror is lost ({type(error).__name__})"
        ) from error


def recorder(
    mirror: Any, state: ReplicaState, clock: Callable[[], float], ended: Callable[[], object]
) -> Recorder:
    """Return what sends a broker's records to its mirror."""

    def refer(epoch: int, first: int, packed: Parcel) -> Future[bool]:
        return persistent(lambda: mirror.apply.remote(epoch, first, packed))

    def locate() -> tuple[Address, bytes]:
        found: tuple[Address, bytes] = persistent(mirror.address.remote).result()
        return found

    return Recorder(locate, refer, clock, partial(_lost, mirror), ended, state)


def _lost(mirror: Any, error: BaseException) -> None:
    logger.warning(
        "the mirror of the stream broker is lost (%s: %s): from now on the death of the broker "
        "ends its runs",
        type(error).__name__,
        error,
    )
    ray.kill(mirror)  # it lacks what follows, and must not be begun with


def clock_from(state: ReplicaState) -> Callable[[], float]:
    """Return the clock of a broker, which continues that of the one before it."""
    if not state.applied:
        return time.monotonic
    ahead = state.now - time.monotonic()
    return lambda: time.monotonic() + ahead
