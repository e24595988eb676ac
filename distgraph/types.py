"""The vocabulary that nodes, edges and callers exchange: ``Send``, ``Command``, ``Interrupt``, …"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args

from distgraph._internal.counts_as import counts_as_langgraphs
from distgraph._internal.current import current_task
from distgraph._internal.ids import interrupt_id
from distgraph._internal.keys import INTERRUPT, ROOT
from distgraph._internal.policies import default_cache_key, default_retry_on
from distgraph._internal.schema_objects import object_updates
from distgraph.warnings import LangGraphDeprecatedSinceV10, LangGraphDeprecatedSinceV11

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = (
    "All",
    "CachePolicy",
    "Checkpointer",
    "Command",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "Overwrite",
    "PregelTask",
    "RetryPolicy",
    "Send",
    "StateSnapshot",
    "StateUpdate",
    "StreamMode",
    "StreamWriter",
    "TimeoutPolicy",
    "TracePolicy",
    "interrupt",
    "omit_payload",
)

All = Literal["*"]
"""Every node (of ``interrupt_before`` and ``interrupt_after``)."""

StreamMode = Literal[
    "values", "updates", "custom", "messages", "tools", "debug", "tasks", "checkpoints"
]
STREAM_MODES: tuple[str, ...] = get_args(StreamMode)

Durability = Literal["sync", "async", "exit"]
"""When a checkpoint is saved: before the next step, beside it, or at the end of the run."""

OnLostAttempt = Literal["raise", "reset", "buffer"]
"""What follows when an attempt is lost of which events were delivered already: the error
``WorkerDied``; an ``AttemptReset`` in the stream, and another attempt; or no event is delivered
before its attempt has succeeded, so that another attempt always can follow."""


class AttemptReset(NamedTuple):
    """A chunk of the stream: an attempt was lost with its process, and what it had emitted is void.

    It precedes everything of the next attempt. It comes with ``on_lost_attempt="reset"`` only: bare
    with one stream mode, as ``("reset", AttemptReset(...))`` with a list of modes, and with type
    ``reset`` in version "v2".
    """

    node: str
    task_id: str
    step: int
    attempt: int
    """Number of the attempt whose events are void, from 1."""
    events: int
    """Events of the attempt that the stream contains."""
    error: str
    """Why the attempt was lost."""


if TYPE_CHECKING:
    Checkpointer = BaseCheckpointSaver[Any] | bool | None
else:
    Checkpointer = Any
"""Values for ``compile(checkpointer=)``: a saver, True, False or None."""

StreamWriter = Callable[[Any], None]
"""Emits its argument in stream mode ``custom``; a no-op when that mode is not streamed.

A node parameter named ``writer`` receives it.
"""

N = TypeVar("N", bound=str)
OutputT = TypeVar("OutputT")


@dataclass(frozen=True, kw_only=True)
class TimeoutPolicy:
    """The time limits of one attempt of a node.

    Attributes:
        run_timeout: Seconds, or a ``timedelta``, from the attempt's start.
        idle_timeout: Seconds, or a ``timedelta``, without progress.
        refresh_on: Signs of progress. "auto": events that the node emits, calls of LangChain's
            callbacks in the node, and ``Runtime.heartbeat()``. "heartbeat": only the last.
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    __class__ = property(counts_as_langgraphs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_fields, (type(self), vars(self))

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Return a policy with its times in seconds; None where it limits nothing.

        A number or a ``timedelta`` is a ``run_timeout``.

        Raises:
            TypeError: It is none of these.
            ValueError: A time is not above 0, or ``refresh_on`` is unknown.
        """
        if value is None:
            return None
        if isinstance(value, (int, float, timedelta)):
            return cls(run_timeout=_seconds(value, "run_timeout"))
        if not hasattr(value, "refresh_on"):
            raise TypeError(
                "timeout must be a number of seconds, a timedelta or a TimeoutPolicy, got "
                f"{value!r}"
            )
        if value.refresh_on not in ("auto", "heartbeat"):
            raise ValueError(f"refresh_on must be 'auto' or 'heartbeat', got {value.refresh_on!r}")
        run = _seconds(value.run_timeout, "run_timeout")
        idle = _seconds(value.idle_timeout, "idle_timeout")
        if run is None and idle is None:
            return None
        return cls(run_timeout=run, idle_timeout=idle, refresh_on=value.refresh_on)


def _with_fields(cls: Callable[..., Any], fields: dict[str, Any]) -> Any:
    return cls(**fields)


def _seconds(value: float | timedelta | None, name: str) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds <= 0:
        raise ValueError(f"{name} must be greater than 0, got {seconds:g} s")
    return seconds


class RetryPolicy(NamedTuple):
    """The retry rule for failed attempts of a node.

    Attributes:
        initial_interval: Seconds before the second attempt.
        backoff_factor: Factor by which the interval grows with each further attempt.
        max_interval: Maximum interval in seconds.
        max_attempts: Maximum number of attempts, including the first.
        jitter: Whether a random time of up to one second is added.
        retry_on: Exception classes, or a function of the exception. Default: lost connections,
            HTTP 5xx, the death of a worker, and all exceptions but those that another attempt
            would most likely meet again: ``ValueError``, ``TypeError``, ``RuntimeError``,
            ``OSError`` and others of Python, as in LangGraph.
    """

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool] = (
        default_retry_on
    )


@dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """The cache rule for results of a node.

    Attributes:
        key_func: Function that returns the cache key of the node's input; runs on the
            driver. Default: equal inputs have the same key.
        ttl: Seconds until an entry expires; None for no limit.
    """

    key_func: Callable[..., str | bytes] = default_cache_key
    ttl: int | None = None


@dataclass(frozen=True, kw_only=True)
class TracePolicy:
    """Replacements for a node's input and output in tracers.

    Attributes:
        process_inputs: Function of the node's input that returns the recorded value.
        process_outputs: Function of the node's output that returns the recorded value.
    """

    process_inputs: Callable[[Any], Any] | None = None
    process_outputs: Callable[[Any], Any] | None = None


def omit_payload(value: Any) -> dict[str, Any]:
    """Return an empty dict: a function for the fields of ``TracePolicy``."""
    return {}


class Send:
    """Starts ``node`` in the next superstep with ``arg`` as its input, whatever the state is.

    Source: the map-reduce pattern of LangGraph's graph API.
    """

    __slots__ = ("arg", "node", "timeout")
    __class__ = property(counts_as_langgraphs)

    def __init__(
        self, /, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None
    ) -> None:
        self.node = node
        self.arg = arg
        self.timeout = TimeoutPolicy.coerce(timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        return _send, (type(self), self.node, self.arg, self.timeout)

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


def _send(cls: type[Send], node: str, arg: Any, timeout: TimeoutPolicy | None) -> Send:
    return cls(node, arg, timeout=timeout)


@dataclass(frozen=True, kw_only=True)
class Command(Generic[N]):
    """A state update and the next nodes, in one return value of a node.

    Args:
        graph: None for the node's own graph, ``Command.PARENT`` for the closest parent.
        update: State update: a dict, a list of (key, value) pairs, or a schema object.
        resume: Resume value for an interrupt, or a map of interrupt ids to resume values.
        goto: A node's name, a ``Send``, or a sequence of these.
    """

    graph: str | None = None
    update: Any | None = None
    resume: Any | None = None
    goto: Send | Sequence[Send | N] | N = ()

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    __class__ = property(counts_as_langgraphs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_fields, (type(self), vars(self))

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
        pairs = object_updates(update)
        return [(ROOT, update)] if pairs is None else pairs


@dataclass(slots=True, init=False)
class Interrupt:
    """A request of a node for a value from the caller: its payload, and the id for the resume
    value."""

    value: Any
    id: str
    response_schema: Any

    __class__ = property(counts_as_langgraphs)

    def __init__(
        self,
        value: Any,
        id: str = "placeholder-id",
        response_schema: Any = None,
        *,
        ns: Sequence[str] | None = None,
        **legacy: Any,
    ) -> None:
        """``ns``, ``when``, ``resumable``: of LangGraph before 0.6. The id is made of ``ns``."""
        if unknown := legacy.keys() - {"when", "resumable", "interrupt_id"}:
            raise TypeError(f"Interrupt has no {', '.join(sorted(unknown))}")
        if ns is not None and id == "placeholder-id":
            id = interrupt_id("|".join(ns), 0)
        self.value = value
        self.id = id
        self.response_schema = response_schema

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.value, self.id, self.response_schema)

    @property
    def interrupt_id(self) -> str:
        """Deprecated: use ``id``."""
        warnings.warn(
            "`interrupt_id` is deprecated. Use `id` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self.id

    @classmethod
    def from_ns(cls, value: Any, ns: str, *, response_schema: Any = None) -> Interrupt:
        """Return the first interrupt of the task with this namespace."""
        return cls(value, interrupt_id(ns, 0), response_schema)


@dataclass(slots=True)
class Overwrite:
    """A write that replaces a channel's value instead of going through its reducer.

    Two ``Overwrite`` for one key in one superstep raise ``InvalidUpdateError``.
    """

    value: Any
    type: Literal["__overwrite__"] = "__overwrite__"

    __class__ = property(counts_as_langgraphs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Overwrite, (self.value, self.type)


class StateUpdate(NamedTuple):
    """One state update of a thread, for ``bulk_update_state``."""

    values: Any
    """The return value of the node."""
    as_node: str | None = None
    """The node that the update is to come from."""
    task_id: str | None = None
    """The task of that node, where it has several."""


class PregelTask(NamedTuple):
    """One task of a superstep, as ``get_state`` shows the task."""

    id: str
    name: str
    path: tuple[Any, ...]
    """The origin of the task: for example the node's name, or the ``Send`` that created the
    task."""
    error: Any = None
    """The error of the task, as the saver stores exceptions."""
    interrupts: tuple[Interrupt, ...] = ()
    state: Any = None
    """For a task that is a subgraph: the config for reading the subgraph's state, or, with
    ``subgraphs=True``, its ``StateSnapshot``."""
    result: Any = None
    """The writes of the task; None if the task has not finished."""


class StateSnapshot(NamedTuple):
    """The state of a thread at one of its checkpoints."""

    values: Any
    """The state: a dict of the keys that are set, or the bare value of a graph with one."""
    next: tuple[str, ...]
    """The nodes that run next."""
    config: Any
    """Names the checkpoint."""
    metadata: Any
    """Metadata that the saver stores with the checkpoint: ``source``, ``step``, ``parents``, and
    the metadata of the run."""
    created_at: str | None
    """ISO 8601, UTC."""
    parent_config: Any
    """Names the checkpoint before it, None for the first."""
    tasks: tuple[PregelTask, ...]
    """The tasks of the superstep that follows the checkpoint."""
    interrupts: tuple[Interrupt, ...]
    """In the latest state: the pending interrupts. In a checkpoint read by its id: all interrupts
    of its superstep."""


@dataclass(frozen=True)
class GraphOutput(Generic[OutputT]):
    """The return value of ``invoke(..., version="v2")``.

    Access by key, as to the output of version "v1", is deprecated, as in LangGraph.
    """

    value: OutputT
    interrupts: tuple[Interrupt, ...] = ()

    def __getitem__(self, key: str) -> Any:
        _warn_of_key_access("result[key]")
        if key == INTERRUPT:
            return self.interrupts
        if isinstance(self.value, dict):
            return self.value[key]
        try:
            return getattr(self.value, key)
        except AttributeError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        _warn_of_key_access("key in result")
        if key == INTERRUPT:
            return bool(self.interrupts)
        if isinstance(self.value, dict):
            return key in self.value
        return isinstance(key, str) and hasattr(self.value, key)


def _warn_of_key_access(how: str) -> None:
    warnings.warn(
        f"Accessing GraphOutput via `{how}` is deprecated. Use `result.value` to access the output "
        "value directly, or `result.interrupts` for interrupts.",
        LangGraphDeprecatedSinceV11,
        stacklevel=3,
    )


def interrupt(value: Any, *, response_schema: Any = None) -> Any:
    """Pause the run and request a value from the caller; return the resume value after the resume.

    The stream shows the interrupt as ``{"__interrupt__": (Interrupt(value, id),)}``. The caller
    resumes by a run on the same thread with ``Command(resume=value)``, or with
    ``Command(resume={id: value})`` if several interrupts are pending. The node then runs again from
    its beginning, and each ``interrupt`` with a resume value returns this value. Resuming requires
    a checkpointer.

    Args:
        value: Payload for the caller, such as the text of the request.
        response_schema: Schema of the resume value. A JSON schema is passed on unchanged; a
            pydantic model, dataclass or TypedDict is passed on as its JSON schema and validates the
            resume value; ``interrupt`` returns the validated object.

    Raises:
        GraphInterrupt: No resume value exists yet. Do not catch this exception.
        pydantic.ValidationError: The resume value does not fit the schema; resume again.
        RuntimeError: Outside of a run.
    """
    return current_task("interrupt").interrupt(value, response_schema)
