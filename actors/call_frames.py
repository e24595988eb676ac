"""Messages between driver and worker processes about calls of tasks, on any connection."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ("CALL", "CALLS", "RETURNED", "CallHead", "ReturnedHead")

CALLS = "calls"
"""Role of the connections of processes that have no other: those of Ray tasks of their own."""

CALL = 64
"""Worker to driver: a ``TaskCall``, ``DroppedCall`` or ``ProgressMade`` behind a ``CallHead``. None
follows where it holds references: it comes through Ray, and its results come here."""

RETURNED = 64
"""Driver to worker: a ``CallResult`` behind a ``ReturnedHead``. None follows where it holds
references: it is to be fetched through Ray."""


class CallHead(NamedTuple):
    """The attempt whose code makes a call."""

    run_id: str
    task_id: str
    attempt: int


class ReturnedHead(NamedTuple):
    """The call that a result belongs to."""

    run_id: str
    task_id: str
    attempt: int
    seq: int
