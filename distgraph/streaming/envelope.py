"""The envelope of the event plane: what workers and the driver publish and the caller reads.

Events travel in *segments*: a run of events of one attempt, pickled by its publisher and unpickled
by the consumer. Whoever carries a segment (publisher, log, broker) reads only its header, which is
why a broker moves hundreds of thousands of events a second.
"""

from __future__ import annotations

from typing import Any, NamedTuple

DRIVER = ""
"""The task id under which the driver publishes its own events."""

CALLBACK_MODE = "callbacks"
"""The mode of calls to the caller's LangChain callbacks. No caller can ask for it as a stream."""

END_MODE = "end"
"""The mode of a run's terminal event, the last of every stream. No caller can ask for it."""


class Event(NamedTuple):
    """One event as its publisher emits it."""

    ns: tuple[str, ...]
    """Namespace: () at the root, one ``node:task_id`` per enclosing subgraph."""
    mode: str
    payload: Any


Blob = bytes | list[Event]
"""A segment's events: as ``streaming.codec`` writes them or, where publisher and consumer share a
process and need no snapshot, as they are."""


class Segment(NamedTuple):
    """Consecutive events of one attempt."""

    task_id: str
    attempt: int
    """From 1."""
    step: int
    first: int
    """``pub_seq`` of the first event within the attempt, from 1."""
    count: int  # type: ignore[assignment]
    """Events in the blob, at least 1."""
    blob: Blob
    """``count`` events."""


class Delivery(NamedTuple):
    """A segment in its final place in a run's stream."""

    seq: int
    """Number of its first event within the run, from 1, gap-free."""
    segment: Segment
    end: bool = False
    """Whether this is the terminal event (one event of mode ``END_MODE``): nothing follows it."""


class StreamEvent(NamedTuple):
    """One event in its final place: what a consumer of the raw stream sees."""

    run_id: str
    seq: int
    ns: tuple[str, ...]
    step: int
    task_id: str
    attempt: int
    pub_seq: int
    mode: str
    payload: Any
