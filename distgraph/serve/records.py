"""What the registry keeps: assistants, threads and runs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from uuid import UUID

__all__ = (
    "ACTIVE",
    "Assistant",
    "Cron",
    "Page",
    "Run",
    "RunStatus",
    "Thread",
    "ThreadStatus",
    "new_id",
    "now",
)

RunStatus = Literal["pending", "running", "success", "error", "interrupted", "timeout"]
ThreadStatus = Literal["idle", "busy", "interrupted", "error"]

ACTIVE: tuple[RunStatus, ...] = ("pending", "running")
"""The statuses of runs that have not ended."""


def now() -> str:
    """Return the time: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat()


def new_id() -> str:
    """Return a UUID of version 7: later ones are greater."""
    stamp = time.time_ns() // 1_000_000
    data = bytearray(stamp.to_bytes(6, "big") + os.urandom(10))
    data[6] = data[6] & 0x0F | 0x70
    data[8] = data[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(data)))


@dataclass(frozen=True, slots=True)
class Assistant:
    """A graph with a configuration."""

    assistant_id: str
    graph_id: str
    name: str
    created_at: str
    updated_at: str
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None
    version: int = 1

    def shown(self) -> dict[str, Any]:
        """Return the assistant as clients see it."""
        return {
            "assistant_id": self.assistant_id,
            "graph_id": self.graph_id,
            "config": self.config,
            "context": self.context,
            "metadata": self.metadata,
            "name": self.name,
            "description": self.description,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation: what its runs have left, and what happens to it now."""

    thread_id: str
    created_at: str
    updated_at: str
    state_updated_at: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    status: ThreadStatus = "idle"
    values: Any = None
    """The state, as JSON has it; None before the first run."""
    interrupts: Mapping[str, Any] | None = None
    """``{task_id: [{"id", "value"}]}``; None before the first run."""
    error: Mapping[str, Any] | None = None
    next_number: int = 1
    """The number of the thread's log at which its next run begins."""
    temporary: bool = False
    """Whether the thread belongs to a run without a thread."""
    version: int = 0
    """Grows with each change of the thread's runs."""
    ttl: float | None = None
    """Minutes without a change after which the time of the thread has passed; None: never."""
    ttl_strategy: Literal["delete", "keep_latest"] = "delete"
    """What is deleted then: the thread, or its checkpoints but the newest."""
    shortened_at: str | None = None
    """The last change of the thread when its checkpoints were deleted; None: they never were."""

    def shown(self) -> dict[str, Any]:
        """Return the thread as clients see it."""
        return {
            "thread_id": self.thread_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "state_updated_at": self.state_updated_at,
            "metadata": self.metadata,
            "status": self.status,
            "config": self.config,
            "values": self.values,
            "error": self.error,
            "interrupts": self.interrupts or {},
        }

    def shown_ttl(self) -> dict[str, Any] | None:
        """Return the time to live as clients see it."""
        if self.ttl is None:
            return None
        expires = datetime.fromisoformat(self.updated_at) + timedelta(minutes=self.ttl)
        return {
            "strategy": self.ttl_strategy,
            "ttl_minutes": self.ttl,
            "expires_at": expires.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an assistant on a thread."""

    run_id: str
    thread_id: str
    assistant_id: str
    graph_id: str
    created_at: str
    updated_at: str
    status: RunStatus = "pending"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """The request, as JSON."""
    multitask_strategy: str = "enqueue"
    ordinal: int = 0
    """Place among the runs of the thread."""
    base: int | None = None
    """Number of the thread's log at which the run begins; None before its start."""
    last: int | None = None
    """Number of the run's last event within the run, once it has ended."""
    owner: str | None = None
    """The server process that starts the run and notes its end."""
    start_at: float = 0.0
    """Seconds since the epoch before which the run does not start."""
    ends: Literal["", "interrupt", "rollback"] = ""
    """How the run is to end, where that was requested."""
    error: Mapping[str, Any] | None = None

    @property
    def is_active(self) -> bool:
        """Whether the run has not ended."""
        return self.status in ACTIVE

    def shown(self) -> dict[str, Any]:
        """Return the run as clients see it."""
        return {
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "assistant_id": self.assistant_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "metadata": self.metadata,
            "status": self.status,
            # what is known of the user is for the graph
            "kwargs": {k: v for k, v in self.kwargs.items() if k not in ("user", "headers")},
            "multitask_strategy": self.multitask_strategy,
        }


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule by which runs start."""

    cron_id: str
    assistant_id: str
    schedule: str
    """As cron has it: minute, hour, day, month, weekday; optionally second."""
    created_at: str
    updated_at: str
    thread_id: str | None = None
    """The thread of the runs; None: each run has one of its own."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """The body of the requests for its runs."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    timezone: str | None = None
    """Name of the IANA database; None: UTC."""
    end_time: str | None = None
    """ISO 8601, UTC: no run starts later."""
    next_run_date: str | None = None
    """ISO 8601, UTC; None: no run is to come."""
    on_run_completed: str = "delete"
    enabled: bool = True
    user_id: str | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Who made it, and under which conditions on thread and assistant: for the runs."""

    def shown(self) -> dict[str, Any]:
        """Return the cron as clients see it."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "origin"}


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list a client wants, and in which order."""

    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True
