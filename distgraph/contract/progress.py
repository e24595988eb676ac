"""Events about the attempts of a run, for views of its progress.

They travel in the run's stream in ``PROGRESS_MODE``, only where a view asks for them. The driver
reports what it decides; the worker reports that an attempt has begun. Times are seconds since the
epoch by the clock of the machine that reports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = (
    "PROGRESS_MODE",
    "AttemptEnded",
    "AttemptEvent",
    "AttemptQueued",
    "AttemptStarted",
    "RetryScheduled",
    "TaskCached",
)

PROGRESS_MODE = "progress"
"""Stream mode of ``AttemptEvent`` payloads. Callers cannot request this mode."""


@dataclass(frozen=True, slots=True)
class AttemptQueued:
    """The driver wants an attempt to run; it waits for a worker."""

    task_id: str
    attempt: int
    path: tuple[str, ...]
    """Names of the subgraph nodes that lead to the node, and the node's own name."""
    part: str
    """Name of the tool, where the attempt is one call of a node's work; "" for the node itself."""
    kind: str
    """As in ``AttemptRequest``: ``node``, ``part``, or ``writers``."""
    step: int
    at: float
    resources: Mapping[str, float] = field(default_factory=dict)
    """Resources that the attempt reserves, by Ray's names: ``CPU``, ``GPU``, …"""
    max_concurrency: int | None = None
    """Attempts of this part that may run at once; None for no bound."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A worker has begun an attempt."""

    task_id: str
    attempt: int
    host: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt has ended, or is not wanted any more."""

    task_id: str
    attempt: int
    status: str
    """As in ``AttemptOutcome``; ``lost`` where its worker is gone."""
    at: float
    host: str = ""
    pid: int = 0
    started_at: float | None = None
    """None: not known, because no worker returned an outcome."""
    duration: float = 0.0
    cpu: float = 0.0
    """As in ``AttemptOutcome``."""
    error: str = ""
    """Class and message of the exception that ended the attempt; "" if there is none."""


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """Another attempt of a task follows after a delay."""

    task_id: str
    path: tuple[str, ...]
    seconds: float
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskCached:
    """A task does not run: its writes come from a cache."""

    task_id: str
    path: tuple[str, ...]
    step: int
    at: float = 0.0


AttemptEvent = AttemptQueued | AttemptStarted | AttemptEnded | RetryScheduled | TaskCached
