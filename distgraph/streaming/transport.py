"""The transport interface of the event plane, between publishers, broker and readers.

The publisher in a worker knows ``Puts``; the receiver in a calling process knows ``Reads``. Each
transport implements both: ``actors/transport_ray.py`` by calls of the broker's actor,
``streaming/transport_local.py`` within one process. A further transport is one new file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from distgraph.contract.stream import Delivery, Segment
from distgraph.errors import DistgraphError

__all__ = ("GONE", "Ack", "Fetch", "Fetched", "Puts", "ReaderKey", "Reads", "RunKey")

GONE = -1.0
"""The pause that means that no reader is left; the publisher drops the run's events."""


class RunKey(NamedTuple):
    """A run among all runs whose events pass through one worker process."""

    session: str
    """Id of the session of the process that started the run."""
    run_id: str

    def __str__(self) -> str:
        return self.run_id


class ReaderKey(NamedTuple):
    """A reader among all readers of one calling process."""

    run_id: str
    number: int = 0
    """0 for the first reader of the process that started the run. The driver opens it."""


class Fetch(NamedTuple):
    """A request for the events of all readers of a calling process."""

    caller: str
    """Name of the calling process."""
    number: int
    """Number of this request, from 1. A request cancels all requests with lower numbers."""
    received: int = 0
    """Number of the last request whose response arrived complete; 0 for none. The broker sends
    again the content of later responses."""
    consumed: tuple[tuple[ReaderKey, int], ...] = ()
    """Readers that have moved, and the ``seq`` up to which each has consumed."""
    wait: float = 0.0
    """Maximum seconds to wait for events; after that the response is empty."""


class Fetched(NamedTuple):
    """The part of a ``Fetch`` response for one reader."""

    reader: ReaderKey
    deliveries: list[Delivery]
    error: DistgraphError | None = None
    """Why the reader gets no more events; the broker has closed the reader."""


class Ack(Protocol):
    """The acknowledgement of a put that is on its way, such as a ``concurrent.futures.Future``."""

    def result(self) -> float: ...

    def exception(self) -> BaseException | None: ...

    def add_done_callback(self, fn: Callable[[Ack], object], /) -> object: ...


class Puts(Protocol):
    """A worker's way to the broker."""

    def put(self, run: RunKey, segments: Sequence[Segment]) -> Ack | float:
        """Send segments into the log of a run; none to ask for the pause only.

        Does not block on the readers of the run. The acknowledgement is a pause in seconds: 0.0 to
        continue, ``GONE`` if the run has no reader. Above 0.0 the log is over its limit: the
        publisher asks again after the pause and sends no events before.

        Raises:
            BrokerLost: The broker cannot be reached; an ``Ack.exception`` means the same. Every
                other exception of ``put`` was raised by the code of the calling thread, such as a
                signal handler.
        """


class Reads(Protocol):
    """A calling process's way to the broker. Every method may be called from any thread."""

    def fetch(self, request: Fetch) -> Sequence[Fetched]:
        """Wait for events, and return them.

        Raises:
            BrokerLost: The broker cannot be reached. Every other exception was raised by the code
                of the calling thread, such as a signal handler: the request may be sent again
                under the next number.
        """

    def open(
        self,
        caller: str,
        reader: ReaderKey,
        after_seq: int | None,
        only_end: bool = False,
    ) -> int:
        """Open another reader, which begins after ``after_seq``, besides the run's first reader.

        Return the number after which the reader begins.

        Args:
            caller: Name of the calling process.
            reader: Key of the reader, unique within the process.
            after_seq: Number of the last event that the reader knows; None for the last one there
                is, to read what comes from now on.
            only_end: Whether the reader gets the terminal event only.

        Raises:
            Truncated: The broker no longer holds what follows ``after_seq``.
            ValueError: The run has ended before ``after_seq``.
            RunNotFound: The broker does not know the run.
            BrokerLost: The broker cannot be reached.
        """

    def acknowledge(self, caller: str, reader: ReaderKey, seq: int) -> None:
        """Report that a reader has consumed everything up to ``seq``. Does not wait."""

    def leave(self, caller: str, readers: Sequence[ReaderKey]) -> None:
        """Close readers. Does not wait."""
