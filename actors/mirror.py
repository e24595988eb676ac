"""The mirror of a session's broker: an actor, on another machine where there is one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import actors.references  # noqa: F401 (registers Ray's references)
from actors.cluster import (
    NAMESPACE,
    alive_nodes,
    broker_name,
    mirror_name,
    node_address,
    number_of_mirror,
    remote,
)
from actors.patient import answer_within
from actors.persistent import persistent
from actors.signs_of_life import when_lost
from distgraph import logs
from distgraph._internal.settings import adopt, carried, setting
from distgraph.concurrency.threads import daemon
from distgraph.concurrency.timers import timers
from distgraph.contract.stream import Blob
from distgraph.driver.operations import end_blob
from distgraph.errors import BrokerLost
from distgraph.serde.pickling import loads
from distgraph.serde.references import Parcel
from distgraph.streaming.broker import Broker, Limits
from distgraph.streaming.mirror import (
    Mirror,
    MirrorServer,
    Recorder,
    Replica,
    ReplicaState,
    clock_from,
)
from distgraph.wire import Address

__all__ = ("Mirroring", "end_of_run", "from_environment", "start_mirror")

logger = logging.getLogger("distgraph")

_LONGEST_PAUSE = 10
"""Seconds before another mirror is started after many, or after one that could not be started."""


_START = 120.0
"""Seconds for the process of a mirror to start."""

_BEGIN = 30.0
"""Seconds for a mirror to give a broker that begins what it has."""


def from_environment() -> bool:
    """Return whether brokers of this process have mirrors."""
    return setting("DISTGRAPH_MIRROR", False)


def end_of_run(error: BaseException) -> Blob:
    """Return the terminal event of a run that the broker ends. Its driver knows nothing of it."""
    return end_blob("error", error=error, orphan=True)


class BrokerMirror:
    """The mirror actor of one session.

    Args:
        limits: Of the broker.
        settings: Of the caller, which hold in this process.
        broker: Names the broker for a mirror that follows one that was lost, and that ends with
            its broker. "" for the first mirror, which ends with its session.
    """

    def __init__(self, limits: Limits, settings: dict[str, str], broker: str = "") -> None:
        adopt(settings)
        logs.configure()
        self._replica = Replica(Broker(limits, end_of_run), follows=bool(broker))
        self._server = MirrorServer(self._replica, node_address())
        if broker:
            when_lost(ray.get_actor(broker, NAMESPACE), lambda future: os._exit(0))

    def address(self) -> tuple[Address, bytes]:
        """Return where the mirror is reached, and the secret."""
        return self._server.address, self._server.secret

    def is_complete(self) -> bool:
        """Return whether a broker may begin with this mirror."""
        return self._replica.is_complete

    def begin(self) -> Any:
        """Return what a broker begins with; see ``Replica.begin``."""
        return self._replica.begin()

    def copy(self, packed: Parcel) -> bool:
        """Begin with a state that holds references; see ``Replica.copy``."""
        return self._replica.copy(ReplicaState(*loads(packed)))

    def apply(self, epoch: int, first: int, packed: Parcel) -> bool:
        """Apply records that hold references; see ``Replica.apply``."""
        return self._replica.apply(epoch, first, *loads(packed))


_BrokerMirrorActor: Any = remote(num_cpus=0, max_restarts=0)(BrokerMirror)


def start_mirror(session: str, limits: Limits, options: dict[str, Any]) -> Any:
    """Start the mirror of a session, on another machine than this one where there is one."""
    return _BrokerMirrorActor.options(
        name=mirror_name(session), **options | {"scheduling_strategy": _elsewhere(0)}
    ).remote(limits, carried())


def _elsewhere(number: int) -> NodeAffinitySchedulingStrategy:
    """Return the place of a session's mirror. Each is on another machine than the one before."""
    here = ray.get_runtime_context().get_node_id()
    others = sorted(node for node in alive_nodes() if node != here) or [here]
    # not soft: Ray then takes any machine at times, also where this one is there
    return NodeAffinitySchedulingStrategy(others[number % len(others)], soft=False)


class Mirroring:
    """What a broker has to do with its mirror. Another one is started where the mirror is lost.

    Args:
        session: Id of the session.
        limits: Of the broker.
        ended: Ends the broker: another process is the broker of its session.
        exclusively: Makes a call during which the broker does not change.

    Raises:
        BrokerLost: The mirror is lost, and the broker that it had mirrored.
    """

    def __init__(
        self,
        session: str,
        limits: Limits,
        ended: Callable[[], object],
        exclusively: Callable[[Callable[[], object]], None],
    ) -> None:
        self._session = session
        self._limits = limits
        self._exclusively = exclusively
        self._has_ended = False
        self._number, self._mirror = _found(session)
        try:
            begun = answer_within(_BEGIN, self._mirror.begin.remote().future())
            self.state = ReplicaState(*loads(begun))
        except RayTaskError as error:
            raise error.cause from None
        except (RayError, FutureTimeout) as error:
            raise _begins_with_nothing(type(error).__name__) from error
        self.clock = clock_from(self.state)
        self.records = Recorder(_reached(self._mirror), self.clock, self._lost, ended, self.state)

    def end(self) -> None:
        """End the mirror."""
        self._has_ended = True
        ray.kill(self._mirror)

    def _lost(self, error: BaseException) -> None:
        if self._has_ended:
            return
        logger.warning(
            "the mirror of the stream broker is lost (%s: %s): until another one has its place, "
            "the death of the broker ends its runs",
            type(error).__name__,
            error,
        )
        ray.kill(self._mirror)  # it lacks what follows, and must not be begun with
        self._start_later(float(min(self._number, _LONGEST_PAUSE)))

    def _start_later(self, seconds: float) -> None:
        timers().after(seconds, lambda: daemon(self._start, "distgraph-mirror").start())

    def _start(self) -> None:
        self._number += 1
        try:
            mirror = self._mirror = _BrokerMirrorActor.options(
                name=mirror_name(self._session, self._number),
                namespace=NAMESPACE,
                lifetime="detached",  # else it would end with this process
                scheduling_strategy=_elsewhere(self._number),
            ).remote(self._limits, carried(), broker_name(self._session))
            ray.get(mirror.address.remote(), timeout=_START)
        except (RayError, ValueError) as error:
            logger.warning("another mirror of the stream broker could not be started: %s", error)
            with suppress(RayError):
                ray.kill(self._mirror)
            self._start_later(_LONGEST_PAUSE)
            return
        self.records.replace(_reached(mirror), self._exclusively, _is_there)


def _is_there() -> None:
    logger.warning(
        "another mirror of the stream broker is there: the death of the broker ends no run"
    )


def _found(session: str) -> tuple[int, Any]:
    """Return the number of a session's last mirror, and the mirror."""
    named: list[dict[str, str]] = ray.util.list_named_actors(all_namespaces=True)
    ours = {actor["name"] for actor in named if actor["namespace"] == NAMESPACE}
    numbers = [number_of_mirror(name, session) for name in ours]
    found = [number for number in numbers if number is not None]
    if not found:
        raise _begins_with_nothing("it has ended")
    last = max(found)
    return last, ray.get_actor(mirror_name(session, last), NAMESPACE)


def _begins_with_nothing(why: str) -> BrokerLost:
    return BrokerLost(f"the stream broker cannot begin, because its mirror is lost ({why})")


def _reached(mirror: Any) -> Mirror:
    def locate() -> tuple[Address, bytes]:
        found: tuple[Address, bytes] = persistent(mirror.address.remote).result()
        return found

    def apply(epoch: int, first: int, packed: Parcel) -> Future[bool]:
        return persistent(lambda: mirror.apply.remote(epoch, first, packed))

    def copy(packed: Parcel) -> Future[bool]:
        return persistent(lambda: mirror.copy.remote(packed))

    return Mirror(locate, apply, copy)
