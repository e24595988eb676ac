"""Small makers of segments, and the reading of a log to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distgraph.concurrency.timers import Timers
from distgraph.contract.stream import DRIVER, END_MODE, Event, Segment, StreamEvent
from distgraph.streaming.codec import encode_events
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import RunLog
from distgraph.streaming.transport import Ack, RunKey

RUN = RunKey("session", "run")

END_BLOB = encode_events([Event((), END_MODE, "done")])


def segment(task: str, first: int, count: int = 1, *, attempt: int = 1, step: int = 1) -> Segment:
    """Events ``first`` … of a task; the payload of each is (task, attempt, pub_seq)."""
    events = [Event((), "custom", (task, attempt, first + i)) for i in range(count)]
    return Segment(task, attempt, step, first, count, encode_events(events))


def driver_segment(*payloads: object, step: int = 1, first: int = 1) -> Segment:
    """Events of the driver in mode ``updates``."""
    events = [Event((), "updates", payload) for payload in payloads]
    return Segment(DRIVER, 1, step, first, len(events), encode_events(events))


def read_all(log: RunLog, after_seq: int = 0) -> list[StreamEvent]:
    """Read a log to its present end, as a consumer does."""
    reader = Reassembler("run", after_seq)
    events: list[StreamEvent] = []
    while deliveries := log.read(reader.position, 1000):
        events.extend(reader.feed(deliveries))
    return events


def payloads(events: Sequence[StreamEvent]) -> list[object]:
    return [event.payload for event in events]


class PutsTo:
    """A transport of which a test supplies the one function."""

    def __init__(self, put: Callable[[RunKey, Sequence[Segment]], Ack | float]) -> None:
        self.put = put


def by_hand(clock: Callable[[], float]) -> Timers:
    """Timers without a thread: the test calls ``run_due``."""
    return Timers("by hand", clock, spawn=lambda body: None)
