"""The transport within one process. ``BrokerHost`` itself is its ``Reads``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distgraph.contract.stream import Segment
from distgraph.errors import BrokerLost
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.transport import RunKey


class LocalPuts:
    """Implements ``Puts``.

    Args:
        brokers: The broker of each session.
    """

    def __init__(self, brokers: Mapping[str, BrokerHost]) -> None:
        self._brokers = brokers

    def put(self, run: RunKey, segments: Sequence[Segment]) -> float:
        broker = self._brokers.get(run.session)
        if broker is None:
            raise BrokerLost(f"session {run.session} has no stream broker")
        return broker.publish(run.run_id, segments)
