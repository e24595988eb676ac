"""Started runs: runs that no reader owns, and what is kept of their streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

RunStatus = Literal["pending", "running", "success", "error", "interrupted", "cancelled"]
"""State of a run. "interrupted": the run ended at an interrupt or a breakpoint, and its thread can
be continued. The words are those of LangGraph's SDK, where a cancelled run is "interrupted" too."""

SlowReader = Literal["truncate", "wait"]
"""Policy for a reader that is slower than its run. "truncate": the run never waits; a reader that
is further behind than what is kept gets ``Truncated``. "wait": the run pauses while an open reader
is behind."""

ONGOING: frozenset[RunStatus] = frozenset({"pending", "running"})
"""The statuses of runs that have not ended."""

ENDS: dict[str, RunStatus] = {
    "done": "success",
    "error": "error",
    "command": "error",
    "interrupted": "interrupted",
    "cancelled": "cancelled",
}
"""The status of a run, by the status of its terminal event."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a started run's stream is kept for readers.

    Beyond any of the three limits, the oldest events are dropped. The terminal event is kept as
    long as the run is known: until ``seconds`` after its end.
    """

    events: int = 1_000_000
    """Events of one run."""
    bytes: int = 64 << 20
    """Bytes of one run."""
    seconds: float = 3600.0
    """Age of an event, and the time for which a run is known after its end."""

    def __post_init__(self) -> None:
        for name in ("events", "bytes", "seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise ValueError(f"Retention.{name} must be a number from 0, got {value!r}")


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What the stream broker has to know of a started run."""

    retention: Retention = field(default_factory=Retention)
    slow_reader: SlowReader = "truncate"
    lease: float = 30.0
    """Policy "wait": seconds without a fetch after which the run no longer waits for a reader."""
    time_to_live: float | None = None
    """Seconds after which a run that has not ended is cancelled; None for no limit."""
    record: bytes = b""
    """Pickled ``RunRecord``."""
    face: bytes = b""
    """Pickled: how the events of the run become chunks. Holds the user's classes."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Where a started run came from."""

    graph: str
    """Name of the graph."""
    thread_id: str | None
    started_at: float
    """Seconds since the epoch."""
    host: str
    """Host of the process that started the run."""
    pid: int
    """Process that started the run."""
    detached: bool


class RunState(NamedTuple):
    """A snapshot of a started run, as its stream broker knows the run."""

    run_id: str
    status: RunStatus
    last: int
    """Number of the last event; 0 without events."""
    oldest: int
    """Number of the oldest event that is kept; ``last + 1`` without events."""
    record: bytes
    """Pickled ``RunRecord``."""
