"""The vocabulary that nodes, edges and callers exchange: ``Send``, ``Command``, ``Interrupt``, …"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from distgraph._keys import ROOT

__all__ = (
    "All",
    "CachePolicy",
    "Command",
    "GraphOutput",
    "Interrupt",
    "Overwrite",
    "RetryPolicy",
    "Send",
    "StreamMode",
    "StreamWriter",
    "TimeoutPolicy",
    "interrupt",
)

All = Literal["*"]
"""Every node (of ``interrupt_before`` and ``interrupt_after``)."""

StreamMode = Literal["values", "updates", "custom", "messages", "debug", "tasks", "checkpoints"]
STREAM_MODES: tuple[str, ...] = (
    "values",
    "updates",
    "custom",
    "messages",
    "debug",
    "tasks",
    "checkpoints",
)

StreamWriter = Callable[[Any], None]
"""Emits its argument in stream mode ``custom``; a no-op when that mode is not streamed.

A node parameter named ``writer`` receives it.
"""

N = TypeVar("N", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class TimeoutPolicy:
    """How long one attempt of a node may take, in seconds."""

    run_timeout: float | None = None
    idle_timeout: float | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Turn a number of seconds or a ``timedelta`` into a policy with that ``run_timeout``."""
        if value is None or isinstance(value, TimeoutPolicy):
            return value
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
        if seconds <= 0:
            raise ValueError(f"a timeout must be above 0 s, got {seconds}")
        return cls(run_timeout=seconds)


class RetryPolicy(NamedTuple):
    """When and how a failed node is tried again. Times are in seconds."""

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: Any = None


@dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """How a node's result is cached: the key of an input, and a time to live in seconds."""

    key_func: Callable[..., str | bytes] | None = None
    ttl: int | None = None


class Send:
    """Starts ``node`` in the next superstep with ``arg`` as its input, whatever the state is.

    Source: the map-reduce pattern of LangGraph's graph API.
    """

    __slots__ = ("arg", "node", "timeout")

    def __init__(
        self, /, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None
    ) -> None:
        self.node = node
        self.arg = arg
        self.timeout = TimeoutPolicy.coerce(timeout)

    def __hash__(self) -> int:
        return hash((self.node, self.arg, self.timeout))

    def __repr__(self) -> str:
        timeout = "" if self.timeout is None else f", timeout={self.timeout!r}"
        return f"Send(node={self.node!r}, arg={self.arg!r}{timeout})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Send)
            and self.node == other.node
            and self.arg == other.arg
            and self.timeout == other.timeout
        )


@dataclass(frozen=True, kw_only=True)
class Command(Generic[N]):
    """Updates the state and names what runs next, in one return value of a node.

    Args:
        graph: None for the node's own graph, ``Command.PARENT`` for the closest parent.
        update: State update: a dict, a list of (key, value) pairs, or a schema object.
        resume: Answer to an interrupt, or a map of interrupt ids to answers.
        goto: A node's name, a ``Send``, or a sequence of these.
    """

    graph: str | None = None
    update: Any | None = None
    resume: Any | None = None
    goto: Send | Sequence[Send | N] | N = ()

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    def __repr__(self) -> str:
        shown = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return f"Command({', '.join(f'{k}={v!r}' for k, v in shown if v)})"

    def update_as_tuples(self) -> list[tuple[str, Any]]:
        """Return the update as (state key, value) pairs."""
        update = self.update
        if update is None:
            return []
        if isinstance(update, Mapping):
            return list(update.items())
        if isinstance(update, (list, tuple)) and all(
            isinstance(t, tuple) and len(t) == 2 and isinstance(t[0], str) for t in update
        ):
            return list(update)
        from distgraph.graph.schema import object_updates

        pairs = object_updates(update)
        return [(ROOT, update)] if pairs is None else pairs


@dataclass(slots=True)
class Interrupt:
    """A question that a node put to the caller: its value, and the id to answer it by."""

    value: Any
    id: str = "placeholder-id"
    response_schema: Any = None


@dataclass(slots=True)
class Overwrite:
    """A write that replaces a channel's value instead of going through its reducer.

    Two of them for one key in one superstep are an ``InvalidUpdateError``.
    """

    value: Any
    type: Literal["__overwrite__"] = "__overwrite__"


@dataclass(frozen=True)
class GraphOutput:
    """What ``invoke(..., version="v2")`` returns."""

    value: Any
    interrupts: tuple[Interrupt, ...] = ()


def interrupt(value: Any, *, response_schema: dict[str, Any] | None = None) -> Any:
    """Put a question to the caller and end the run here.

    The stream shows it as ``{"__interrupt__": (Interrupt(value, id),)}``. Answering it, by a run
    that starts from where this one ended, needs a checkpointer, which this version does not have.

    Args:
        value: What the caller is asked.
        response_schema: JSON schema of the answer, for the caller's use.

    Raises:
        GraphInterrupt: Always; let it pass.
        RuntimeError: Outside of a run.
    """
    from distgraph.engine.ids import interrupt_id
    from distgraph.errors import GraphInterrupt
    from distgraph.worker.context import current_task

    task = current_task("interrupt")
    raise GraphInterrupt((Interrupt(value, interrupt_id(task.task_ns, 0), response_schema),))
