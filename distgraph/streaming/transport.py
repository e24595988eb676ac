"""The transport interface of the event plane, between publishers, broker and readers.

The publisher in a worker knows ``Puts``; the receiver in a calling process knows ``Reads``. Each
transport implements both: ``streaming/transport_wire.py`` over sockets,
``streaming/transport_local.py`` within one process. A further transport is one new file.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from distgraph.contract.stream import Delivery, Segment
from distgraph.errors import BrokerLost, DistgraphError

__all__ = (
    "GONE",
    "Ack",
    "Answered",
    "Fetched",
    "Lead",
    "Puts",
    "ReaderKey",
    "Reads",
    "RunKey",
    "Sink",
)

GONE = -1.0
"""The pause that means that no reader is left; the publisher drops the run's events."""

Answered = Callable[[float | BaseException], object]
"""Takes the broker's answer to a batch of the driver's: a pause in seconds, or why there is none.
Any thread may call it."""


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


class Fetched(NamedTuple):
    """What one reader gets with one push of the broker."""

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


class Sink(Protocol):
    """Where a calling process takes what is pushed. Any thread may call it; it does not wait."""

    @property
    def received(self) -> int:
        """Number of the last push that arrived, 0 for none."""

    @property
    def positions(self) -> Sequence[tuple[ReaderKey, int]]:
        """The ``seq`` up to which each reader has consumed."""

    def take(self, number: int, found: Sequence[Fetched]) -> None:
        """Take a push."""

    def lost(self, error: BrokerLost) -> None:
        """Learn that nothing more comes: the broker cannot be reached any more."""


class Lead(Protocol):
    """Lets threads of readers receive by themselves, so that no other thread has to wake them."""

    def waiter(self) -> tuple[threading.Lock, Callable[[], None]]:
        """Return what a thread waits for by ``wait``, and what ends that: any thread may call the
        latter, and again."""

    def wait(self, waiter: threading.Lock, timeout: float | None) -> None:
        """Wait until ``waiter`` has ended, for ``timeout`` seconds at most, and receive meanwhile.

        It may return earlier.
        """

    def share(self, loops: Sequence[asyncio.AbstractEventLoop]) -> None:
        """Note the event loops of which coroutines wait: threads do not receive for them. One that
        is alone may receive by itself."""


class Reads(Protocol):
    """A calling process's way to the broker. Every method may be called from any thread."""

    @property
    def lead(self) -> Lead | None:
        """Where threads of readers wait; None if what comes is taken on another thread."""

    def listen(self, caller: str, sink: Sink) -> None:
        """Push to ``sink`` what comes for the readers of the process, from now on.

        Each push has a number. Where a connection was lost, the broker pushes again what it pushed
        after ``sink.received``, and learns ``sink.positions``. The broker pushes as much as each
        reader's window has room for.
        """

    def consumed(
        self, caller: str, received: int, positions: Sequence[tuple[ReaderKey, int]]
    ) -> None:
        """Report the number of the last push that arrived, and the ``seq`` up to which readers have
        consumed. Does not wait."""

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

    def leave(self, caller: str, readers: Sequence[ReaderKey], *, soon: bool = True) -> None:
        """Close readers. Does not wait.

        ``soon``: whether the broker has something to end or to free. Otherwise it may get to know
        later, of many readers together.
        """
