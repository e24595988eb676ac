"""Calls of tasks (functional API) that the code of a running attempt makes, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distgraph.contract.failure import ShippedError
from distgraph.contract.stream import AttemptId, Position

if TYPE_CHECKING:
    from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy


@dataclass(frozen=True, slots=True)
class TaskCall:
    """A call of a task of the functional API, made by the code of a running attempt."""

    task_id: str
    """Task id of the attempt that makes the call."""
    attempt: int
    seq: int
    """Numbers the calls of that attempt, from 0."""
    number: int
    """Names the call among those of the caller's task, whichever of its parts makes it."""
    name: str
    input: tuple[tuple[Any, ...], Mapping[str, Any]]
    """Arguments."""
    target: Any
    """The function: between processes, its pickle."""
    key: str
    """Tells functions of one name apart: a hash of the pickle."""
    is_async: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    retry: tuple[RetryPolicy, ...] = ()
    timeout: TimeoutPolicy | None = None
    cache: CachePolicy | None = None
    identity: str = "__dynamic__"
    """Identity of the function: the namespace of its cached results."""
    around: str | None = None
    """Callback run id of the caller."""
    emitted: int = 0
    """Events that the attempt had emitted when it made the call: they precede those of the
    task."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt that makes the call."""
        return AttemptId(self.task_id, self.attempt)

    @property
    def position(self) -> Position | None:
        """What the code had emitted; None without events."""
        return Position(self.task_id, self.attempt, self.emitted) if self.emitted else None


@dataclass(frozen=True, slots=True)
class DroppedCall:
    """A call whose future was cancelled: nobody wants its result."""

    task_id: str
    """Task id of the attempt that made the call."""
    attempt: int
    seq: int

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt that made the call."""
        return AttemptId(self.task_id, self.attempt)


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a call, sent to the attempt that made the call."""

    task_id: str
    attempt: int
    seq: int
    value: Any = None
    error: ShippedError | BaseException | None = None
    interrupts: tuple[Any, ...] | None = None
    """Questions that it put: its caller stops there as well."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt that made the call."""
        return AttemptId(self.task_id, self.attempt)
