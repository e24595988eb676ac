"""The transport within one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distgraph.contract.stream import Segment
from distgraph.errors import BrokerLost
from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.transport import RunKey, Sink


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


class LocalReads:
    """Implements ``Reads``.

    Args:
        broker: The broker of the session.
    """

    def __init__(self, broker: BrokerHost) -> None:
        self._broker = broker
        self.open = broker.open
        self.consumed = broker.consumed
        self.leave = broker.leave

    def listen(self, caller: str, sink: Sink) -> None:
        self._broker.listen(caller, sink.received, sink.positions, sink.take)
