"""The readers' half of the transport within one process: publishers there call the broker."""

from __future__ import annotations

from distgraph.streaming.broker_host import BrokerHost
from distgraph.streaming.transport import Sink


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

    lead = None

    def listen(self, caller: str, sink: Sink) -> None:
        self._broker.listen(caller, sink.received, sink.positions, sink.take)
