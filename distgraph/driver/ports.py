"""Events that a backend reports to the driver of a run, and the interfaces that a backend provides.

A backend provides ``Workers``, which run attempts, and an ``EventPlane``, which takes the
operations on the run's log. Both report back to the driver by events.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import CallResult
from distgraph.contract.events import InputEvent, StartTask, Storage
from distgraph.contract.stream import AttemptId, Op
from distgraph.errors import WorkerDied

__all__ = (
    "Acked",
    "AttemptOverdue",
    "BackendFailed",
    "DriverEvent",
    "EventPlane",
    "Fenced",
    "Group",
    "GroupEnded",
    "GroupRecalled",
    "NotTaken",
    "Relieved",
    "Store",
    "Workers",
)


class Group:
    """Attempts of one node that are sent together. The driver alone changes it."""

    __slots__ = ("calls", "ids", "node", "starts")

    def __init__(self, node: Hashable, starts: Sequence[StartTask]) -> None:
        self.node = node
        self.starts = starts
        self.ids = [start.request.attempt_id for start in starts]
        self.calls: set[tuple[AttemptId, int]] = set()
        """Calls of its attempts' code that have no result yet."""


class NotTaken(WorkerDied):
    """An attempt was given up before its process began it: none of its code has run."""


# --- events, besides those of the engine --------------------------------------------------------


class GroupEnded(NamedTuple):
    """A group came back. Each group that was submitted does so exactly once, cancelled or not."""

    group: Group
    outcomes: Sequence[AttemptOutcome] = ()
    lost: Mapping[AttemptId, BaseException] = MappingProxyType({})
    """Why attempts have no outcome: their process is gone."""


class GroupRecalled(NamedTuple):
    """Attempts of a group have not begun, and are given back: one before them takes long.

    ``GroupEnded`` follows, with the outcomes of the others.
    """

    group: Group
    outcomes: Sequence[AttemptOutcome]
    """Of attempts that have ended."""
    first: int
    """Position of the first attempt that is given back."""


@dataclass(frozen=True, slots=True)
class AttemptOverdue:
    """An attempt goes on behind its limit of time: its process does not end it."""

    attempt_id: AttemptId
    stack: str = ""
    """The Python stacks of its process, "" where they are not known."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """The log accepts no more events of a lost attempt."""

    attempt_id: AttemptId
    arrived: int
    """Events of the attempt that are in the stream."""


@dataclass(frozen=True, slots=True)
class Acked:
    """A batch of operations has arrived. ``congested``: the log is over its limit."""

    congested: bool = False


@dataclass(frozen=True, slots=True)
class Relieved:
    """A log that was over its limit has room again."""


@dataclass(frozen=True, slots=True)
class BackendFailed:
    """The backend cannot go on: the run ends with this error."""

    error: BaseException


DriverEvent = (
    InputEvent
    | GroupEnded
    | GroupRecalled
    | AttemptOverdue
    | Fenced
    | Acked
    | Relieved
    | BackendFailed
)


# --- what a backend supplies --------------------------------------------------------------------


class Workers(Protocol):
    """The executor of attempts."""

    def batches(self, start: StartTask) -> bool:
        """Whether the attempt may share a group with other attempts of its node."""

    def submit(self, groups: Sequence[Group]) -> Mapping[Group, Exception]:
        """Send groups. Return those that cannot be sent, and why: then none was sent.

        Each group that was sent ends with one ``GroupEnded``.
        """

    def cancel(self, group: Group) -> bool:
        """Cancel a group; the driver ignores its outcomes from now on.

        Return whether the group's code receives the cancellation and ends by itself: the end of a
        run waits for such groups.
        """

    def past_limit(self, attempt_id: AttemptId) -> bool:
        """Whether an attempt that is lost had reached its limit of time in its process."""

    def deliver(self, results: Sequence[tuple[Group, CallResult]]) -> None:
        """Hand results of calls to the code of attempts that made them."""


class EventPlane(Protocol):
    """The connection to the run's log, for the driver's operations."""

    def drive(self, batch_no: int, ops: Sequence[Op], *, awaited: bool) -> Acked | None:
        """Send a batch of operations; batches are numbered from 1.

        Return the acknowledgement, or None if the acknowledgement follows as an event. After an
        acknowledgement that reports a congested log, ``Relieved`` follows once the log has room.

        Args:
            batch_no: Number of the batch.
            ops: The operations.
            awaited: Whether something waits for the acknowledgement. Otherwise it may come late,
                unless the log is congested.
        """

    def fence(self, attempt_id: AttemptId) -> int | None:
        """Accept no more events of a lost attempt.

        Return how many of its events are in the stream, or None if ``Fenced`` follows.
        """

    def terminate(self, error: BaseException) -> None:
        """End the stream without the engine, which has failed."""


class Store(Protocol):
    """Storage of the run's checkpoints; results come back as events of the engine."""

    def do(self, instruction: Storage) -> None:
        """Carry out an instruction, after all earlier instructions."""

    def close(self) -> None:
        """Accept no more instructions; the instructions already accepted are carried out."""
