"""The transport by Ray: each put and each fetch is a call of the broker's actor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.cluster import NAMESPACE, broker_name, get
from actors.persistent import AGAIN, PATIENCE, is_passing, persistent
from distgraph.contract.stream import Segment
from distgraph.errors import BrokerLost
from distgraph.serde.pickling import dumps_parcel, loads
from distgraph.streaming.transport import Fetch, Fetched, ReaderKey, RunKey


class RayPuts:
    """Implements ``Puts`` for all sessions whose attempts this worker process runs."""

    def __init__(self) -> None:
        self._brokers: dict[str, Any] = {}

    def put(self, run: RunKey, segments: Sequence[Segment]) -> Future[float]:
        broker = self._broker(run.session)
        packed = dumps_parcel(segments)
        return persistent(lambda: broker.publish.remote(run.run_id, packed))

    def _broker(self, session: str) -> Any:
        broker = self._brokers.get(session)
        if broker is None:
            try:
                broker = ray.get_actor(broker_name(session), NAMESPACE)
            except (ValueError, RayError) as error:  # no actor has that name any more
                raise _lost(error) from error
            self._brokers[session] = broker
        return broker


class RayReads:
    """Implements ``Reads`` for one session.

    Args:
        broker: Handle of the session's ``StreamBroker``.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    def fetch(self, request: Fetch) -> Sequence[Fetched]:
        until: float | None = None
        while True:
            try:
                packed = get(self._broker.fetch.remote(request))
                return loads(packed) if packed else ()
            except Exception as error:
                running = ray.is_initialized()
                if running and not isinstance(error, RayError):  # of the calling thread's own code
                    raise
                until = until or time.monotonic() + PATIENCE
                if not (running and is_passing(error) and time.monotonic() < until):
                    raise _lost(error) from error
            time.sleep(AGAIN)

    def open(
        self, caller: str, reader: ReaderKey, after_seq: int | None, only_end: bool = False
    ) -> int:
        try:
            after: int = get(self._broker.open.remote(caller, reader, after_seq, only_end))
            return after
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise _lost(error) from error

    def acknowledge(self, caller: str, reader: ReaderKey, seq: int) -> None:
        self._broker.acknowledge.remote(caller, reader, seq)

    def leave(self, caller: str, readers: Sequence[ReaderKey]) -> None:
        self._broker.leave.remote(caller, list(readers))


def _lost(cause: BaseException) -> BrokerLost:
    return BrokerLost(
        "the stream broker died, and with it what it had not delivered "
        f"({type(cause).__name__}); start the run again"
    )
