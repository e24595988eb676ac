"""What the driver tells a run's log, in order: its half of the stream's contract.

The driver numbers its batches of ops from 1. The log carries them out in that order, one by one,
whatever order the batches arrive in. An attempt's own events reach the log by another way, straight
from the worker; ``Admit``, ``Commit`` and ``Fence`` tell where among the ops they belong.
"""

from __future__ import annotations

from typing import NamedTuple

from distgraph.streaming.envelope import Blob, Segment


class Admit(NamedTuple):
    """Lets an attempt's events into the stream from here on.

    Behind the commits of step N, it is what keeps events of step N+1 from preceding them.
    """

    task_id: str
    attempt: int
    step: int


class Publish(NamedTuple):
    """Puts the driver's own events into the stream."""

    segment: Segment


class Commit(NamedTuple):
    """A gate: later ops wait until exactly ``published`` events of the attempt are in the log."""

    task_id: str
    attempt: int
    published: int
    """Events that the attempt emitted, those of ``tail`` included."""
    tail: tuple[Segment, ...] = ()
    """Events that the worker had not sent when the attempt ended."""


class Fence(NamedTuple):
    """Cuts an attempt off: whatever of it has not arrived yet is dropped, its gate is opened.

    It acts on arrival, so that it also frees ops that already wait at the attempt's ``Commit``.
    An attempt that was interrupted (cancelled, timed out, its worker lost) is fenced, never
    committed.
    """

    task_id: str
    attempt: int


class Finish(NamedTuple):
    """Ends the stream with its terminal event."""

    blob: Blob
    """The terminal event, one of mode ``END_MODE``."""
    force: bool = False
    """Open all gates: what is missing then stays missing. The driver's own events stay."""


Op = Admit | Publish | Commit | Fence | Finish
