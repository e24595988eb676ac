"""The way to a session's broker: Ray tells where it is, sockets carry the events.

What holds references of Ray goes by calls of the broker's actor: Ray has to see them travel.
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors import cluster
from actors.cluster import NAMESPACE, broker_name, get
from actors.patient import answer_within
from actors.persistent import persistent
from distgraph.errors import BrokerLost
from distgraph.serde.references import Parcel
from distgraph.streaming.transport import ReaderKey, RunKey
from distgraph.streaming.transport_wire import WireReads
from distgraph.wire import Address

__all__ = ("RayReads", "locate", "publish_referring")


_ANSWER = 60.0
"""Seconds for the broker to tell where it is."""

_get_actor: Any = getattr(ray.get_actor, "__wrapped__", ray.get_actor)
"""``ray.get_actor``, which quietly starts another Ray where there is none any more; this one
fails."""


def _broker(session: str) -> Any:
    try:
        return _get_actor(broker_name(session), NAMESPACE)
    except Exception as error:  # no actor has that name any more, or Ray was shut down
        raise _lost(error) from error


def locate(session: str) -> tuple[Address, bytes]:
    """Return where the broker of a session is reached, and the secret.

    Raises:
        BrokerLost: It has died.
    """
    if not ray.is_initialized():
        raise BrokerLost("this process has left the Ray cluster, and with it the stream broker")
    try:
        asked = persistent(_broker(session).address.remote)
        found: tuple[Address, bytes] = answer_within(_ANSWER, asked)
    except RayError as error:
        raise _lost(error) from error
    except FutureTimeout as error:  # code of users may have cut this process off from Ray
        raise BrokerLost(f"the stream broker was not found within {_ANSWER:g} s") from error
    return found


_brokers: dict[str, Any] = {}


def publish_referring(run: RunKey, packed: Parcel) -> Future[float]:
    """Send segments that hold references to the broker of a session."""
    broker = _brokers.get(run.session)
    if broker is None:
        broker = _brokers[run.session] = _broker(run.session)
    return persistent(lambda: broker.publish.remote(run.run_id, packed))


class RayReads(WireReads):
    """Implements ``Reads`` for one session.

    Args:
        session: Id of the session.
        broker: Handle of the session's ``StreamBroker``.
    """

    def __init__(self, session: str, broker: Any) -> None:
        super().__init__(lambda: locate(session), lambda number: get(broker.collect.remote(number)))
        self._broker = broker
        self._job = cluster.job()

    def open(
        self, caller: str, reader: ReaderKey, after_seq: int | None, only_end: bool = False
    ) -> int:
        self._check_connected()
        try:
            after: int = get(self._broker.open.remote(caller, reader, after_seq, only_end))
            return after
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise _lost(error) from error

    def _tell_left(self, caller: str) -> None:
        if cluster.job() == self._job:
            super()._tell_left(caller)

    def _check_connected(self) -> None:
        if cluster.job() != self._job:  # a call would start another Ray, or go to another one
            raise BrokerLost(
                "this process has left the Ray cluster of the run (ray.shutdown() was called): "
                "join the cluster again, and attach to runs that go on"
            )


def _lost(cause: BaseException) -> BrokerLost:
    return BrokerLost(
        "the stream broker died, and with it what it had not delivered "
        f"({type(cause).__name__}); start the run again"
    )
