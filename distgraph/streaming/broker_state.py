"""What the stream broker knows: limits, runs, their readers, and the processes that read."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from distgraph.contract.started_runs import ENDS, RunState, RunTerms
from distgraph.contract.stream import Delivery
from distgraph.errors import InvalidTransition
from distgraph.streaming.log import Gate, RunLog
from distgraph.streaming.transport import ReaderKey

__all__ = (
    "GATE",
    "WINDOW",
    "Caller",
    "Cursor",
    "HeldRun",
    "Lifetime",
    "Limits",
    "ReaderStatistics",
)

WINDOW = 4 << 20
"""Bytes on their way to a reader that it has not consumed yet."""

GATE = 10.0
"""Seconds that a commit may wait for events that its worker has sent."""


@dataclass(frozen=True)
class Limits:
    """The limits of a broker: bytes, events and seconds."""

    max_bytes: int = 16 << 20
    """Unread bytes of a run above which its publishers pause."""
    max_events: int = 100_000
    """Unread events of a run above which its publishers pause."""
    retain_bytes: int = 1 << 20
    """Consumed bytes of a run that are kept for a reader that comes back."""
    retain_events: int = 100_000
    """Consumed events of a run that are kept for a reader that comes back."""
    started_bytes: int = 1 << 30
    """Bytes of all started runs. Beyond, the runs that ended first are forgotten."""
    window: int = WINDOW
    gate: float = GATE


class ReaderStatistics(NamedTuple):
    """A snapshot of one reader."""

    caller: str
    reader: ReaderKey
    sent: int
    """``seq`` of the last event that was handed out."""
    consumed: int
    """``seq`` up to which the reader has consumed."""
    in_flight: int
    """Bytes that were handed out and not consumed."""


class Cursor:
    """Where one reader is in the log of its run, and what is on its way to the reader."""

    def __init__(
        self,
        key: ReaderKey,
        caller: Caller,
        run: HeldRun,
        after_seq: int,
        lease: float | None,
        only_end: bool = False,
    ) -> None:
        self.key = key
        self.caller = caller
        self.run = run
        self.lease = lease
        self.only_end = only_end
        """Whether the reader gets the terminal event only. The run waits for no such reader."""
        self.opened = self.sent = self.reached = self.consumed = after_seq
        self.unconsumed: deque[tuple[int, int]] = deque()
        """(last seq, bytes) of each delivered response that the reader has not consumed."""
        self.in_flight = 0

    def hand_out(self, deliveries: Sequence[Delivery]) -> None:
        """Advance behind deliveries that are on their way to the reader."""
        last = deliveries[-1]
        size = sum(len(delivery.segment.blob) for delivery in deliveries)
        self.sent = last.seq + last.segment.count - 1
        self.reached = max(self.reached, self.sent)
        self.unconsumed.append((self.sent, size))
        self.in_flight += size

    def consume(self, seq: int) -> bool:
        """Advance to ``seq``; return whether that is news."""
        if seq > self.reached:
            raise InvalidTransition(
                f"run {self.key.run_id}: seq {seq} acknowledged, {self.reached} handed out"
            )
        if seq <= self.consumed:
            return False
        self.consumed = seq
        self.sent = max(self.sent, seq)
        while self.unconsumed and self.unconsumed[0][0] <= seq:
            self.in_flight -= self.unconsumed.popleft()[1]
        return True

    def hand_out_again(self, after_seq: int) -> None:
        """Set the cursor back to ``after_seq``, because a response was lost."""
        self.sent = max(after_seq, self.consumed)
        while self.unconsumed and self.unconsumed[-1][0] > self.sent:
            self.in_flight -= self.unconsumed.pop()[1]

    def is_live(self, now: float) -> bool:
        """Whether the run waits for the reader."""
        return self.lease is None or now <= self.caller.seen + self.lease

    @property
    def next_after(self) -> int | None:
        """``seq`` after which the reader goes on; None if nothing is there for the reader."""
        log = self.run.log
        if log.last_seq <= self.sent:
            return None
        if self.only_end:
            return log.last_seq - 1 if log.ended else None
        return self.sent


class HeldRun:
    """One run's log and readers."""

    def __init__(self, run_id: str, log: RunLog) -> None:
        self.run_id = run_id
        self.log = log
        self.started: Lifetime | None = None
        """Set for a run that no reader owns."""
        self.owner: Cursor | None = None
        self.readers: list[Cursor] = []
        self.leased = 0
        """Readers with a lease."""
        self.closed = False
        """Whether the owner has left; publishers are then refused."""
        self.drivers_lost = 0
        """Drivers that were lost since the run last went on."""
        self.notes_before = 0
        """Events in the journal when the last driver was lost."""
        self.gate: Gate | None = None
        """The gate that the log waited at when it was last looked at, and since when."""
        self.gate_since = 0.0
        self.counted = 0
        """Events that ``Broker`` has counted."""

    @property
    def state(self) -> RunState:
        """A snapshot of a started run."""
        log, started = self.log, self.started
        assert started is not None
        status = ENDS[log.status] if log.ended else "running" if started.is_driven else "pending"
        return RunState(self.run_id, status, log.last_seq, log.oldest, started.terms.record)


@dataclass
class Lifetime:
    """The terms of a started run, and its times."""

    terms: RunTerms
    since: float
    """When the run was announced."""
    is_driven: bool = False
    """Whether the driver has sent a batch."""
    ended_at: float | None = None
    is_overdue: bool = False
    """Whether the run was reported as one that is over its time to live."""
    marks: deque[tuple[int, float]] = field(default_factory=deque)
    """Events up to a ``seq`` had entered at a time: by these, events age."""

    def is_over(self, now: float) -> bool:
        """Return whether a run that goes on is over its time to live, and was not reported."""
        limit = self.terms.time_to_live
        return limit is not None and not self.is_overdue and now > self.since + limit


@dataclass(eq=False)
class Caller:
    """One calling process."""

    name: str
    readers: dict[ReaderKey, Cursor] = field(default_factory=dict)
    news: dict[Cursor, None] = field(default_factory=dict)
    """Readers that ``take`` must look at: a caller may have thousands, and few have news."""
    pushed: int = 0
    """Number of the last push."""
    pushes: deque[tuple[int, dict[Cursor, int]]] = field(default_factory=deque)
    """Pushes that may not have arrived: the number, and where each reader was before."""
    seen: float = float("-inf")
    looked: float = float("-inf")
