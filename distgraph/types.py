"""The vocabulary that nodes, edges and callers exchange: ``Send``, ``Command``, ``Interrupt``, …"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args

from distgraph._internal.current import current_task
from distgraph._internal.ids import interrupt_id
from distgraph._internal.keys import INTERRUPT, ROOT
from distgraph._internal.policies import default_cache_key, default_retry_on
from distgraph._internal.schema_objects import object_updates

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

Checkpointer = Any
"""What ``compile(checkpointer=)`` takes: a saver, True, False or None."""

StreamWriter = Callable[[Any], None]
"""Emits its argument in stream mode ``custom``; a no-op when that mode is not streamed.

A node parameter named ``writer`` receives it.
"""

N = TypeVar("N", bound=Hashable)
OutputT = TypeVar("OutputT")


@dataclass(frozen=True, kw_only=True)
class TimeoutPolicy:
    """How long one attempt of a node may take.

    Attributes:
        run_timeout: Seconds, or a ``timedelta``, from its start on.
        idle_timeout: Seconds, or a ``timedelta``, without a sign of progress.
        refresh_on: What is one: with "auto" events that the node emits, calls of LangChain's
            callbacks in it, and ``Runtime.heartbeat()``; with "heartbeat" only the last.
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Return a policy with its times in seconds; None where it limits nothing.

        A number or a ``timedelta`` is a ``run_timeout``.

        Raises:
            ValueError: A time is not above 0, or ``refresh_on`` is unknown.
        """
        if value is None:
            return None
        if isinstance(value, (int, float, timedelta)):
            return cls(run_timeout=_seconds(value, "run_timeout"))
        if value.refresh_on not in ("auto", "heartbeat"):
            raise ValueError(f"refresh_on must be 'auto' or 'heartbeat', got {value.refresh_on!r}")
        run = _seconds(value.run_timeout, "run_timeout")
        idle = _seconds(value.idle_timeout, "idle_timeout")
        if run is None and idle is None:
            return None
        return cls(run_timeout=run, idle_timeout=idle, refresh_on=value.refresh_on)


def _seconds(value: float | timedelta | None, name: str) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds <= 0:
        raise ValueError(f"{name} must be greater than 0, got {seconds:g} s")
    return seconds


class RetryPolicy(NamedTuple):
    """When and how a failed node is tried again.

    Attributes:
        initial_interval: Seconds before the second attempt.
        backoff_factor: By which the time grows with each further attempt.
        max_interval: Seconds that it grows to at most.
        max_attempts: Attempts in all, the first included.
        jitter: Whether up to a second is added, at random.
        retry_on: Exception classes, or a function of the exception. Default: lost connections,
            HTTP 5xx, the death of a worker, and what is none of Python's common errors.
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
    """How a node's result is cached.

    Attributes:
        key_func: Returns the key of the node's input, which is its only argument. It runs on the
            driver. Default: equal inputs have the same key.
        ttl: Seconds that an entry lives, None for ever.
    """

    key_func: Callable[..., str | bytes] = default_cache_key
    ttl: int | None = None


@dataclass(frozen=True, kw_only=True)
class TracePolicy:
    """What tracers are told of a node's input and output, in place of these.

    Attributes:
        process_inputs: Takes the node's input, returns what is recorded.
        process_outputs: The same for the output.
    """

    process_inputs: Callable[[Any], Any] | None = None
    process_outputs: Callable[[Any], Any] | None = None


def omit_payload(value: Any) -> dict[str, Any]:
    """Return nothing of a value: for the fields of ``TracePolicy``."""
    return {}


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
        pairs = object_updates(update)
        return [(ROOT, update)] if pairs is None else pairs


@dataclass(slots=True, init=False)
class Interrupt:
    """A question that a node put to the caller: its value, and the id to answer it by."""

    value: Any
    id: str
    response_schema: Any

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

    @classmethod
    def from_ns(cls, value: Any, ns: str, *, response_schema: Any = None) -> Interrupt:
        """Return the first question of the task with this namespace."""
        return cls(value, interrupt_id(ns, 0), response_schema)


@dataclass(slots=True)
class Overwrite:
    """A write that replaces a channel's value instead of going through its reducer.

    Two of them for one key in one superstep are an ``InvalidUpdateError``.
    """

    value: Any
    type: Literal["__overwrite__"] = "__overwrite__"


class StateUpdate(NamedTuple):
    """One update of a thread's state, as ``bulk_update_state`` takes them."""

    values: Any
    """What the node would have returned."""
    as_node: str | None = None
    """The node that the update is to come from."""
    task_id: str | None = None
    """The task of that node, where it has several."""


class PregelTask(NamedTuple):
    """One task of a step, as ``get_state`` shows it."""

    id: str
    name: str
    path: tuple[Any, ...]
    """What started it."""
    error: Any = None
    """What it failed with, as the saver keeps exceptions."""
    interrupts: tuple[Interrupt, ...] = ()
    state: Any = None
    """Of a task that is a graph: the config that its state is read by, or, with
    ``subgraphs=True``, its ``StateSnapshot``."""
    result: Any = None
    """What it wrote, None where it has not finished."""


class StateSnapshot(NamedTuple):
    """The state of a thread at one of its checkpoints."""

    values: Any
    """The state: a dict of the keys that are set, or the bare value of a graph with one."""
    next: tuple[str, ...]
    """The nodes that run next."""
    config: Any
    """Names the checkpoint."""
    metadata: Any
    """What the saver keeps with it: ``source``, ``step``, ``parents``, and the run's own."""
    created_at: str | None
    """ISO 8601, UTC."""
    parent_config: Any
    """Names the checkpoint before it, None for the first."""
    tasks: tuple[PregelTask, ...]
    """The tasks of the step behind it."""
    interrupts: tuple[Interrupt, ...]
    """The latest state has those that wait for an answer, a checkpoint that was asked for by its
    id all that were put in its step."""


@dataclass(frozen=True)
class GraphOutput(Generic[OutputT]):
    """What ``invoke(..., version="v2")`` returns.

    Access by key, as to the output of version "v1", is deprecated, as in LangGraph.
    """

    value: OutputT
    interrupts: tuple[Interrupt, ...] = ()

    def __getitem__(self, key: str) -> Any:
        _warn_of_key_access()
        if key == INTERRUPT:
            return self.interrupts
        if isinstance(self.value, dict):
            return self.value[key]
        try:
            return getattr(self.value, key)
        except AttributeError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        _warn_of_key_access()
        if key == INTERRUPT:
            return bool(self.interrupts)
        if isinstance(self.value, dict):
            return key in self.value
        return isinstance(key, str) and hasattr(self.value, key)


def _warn_of_key_access() -> None:
    warnings.warn(
        "access to a GraphOutput by key is deprecated: use .value and .interrupts",
        DeprecationWarning,
        stacklevel=3,
    )


def interrupt(value: Any, *, response_schema: Any = None) -> Any:
    """Put a question to the caller: the run ends here, and goes on with the answer.

    The stream shows it as ``{"__interrupt__": (Interrupt(value, id),)}``. The caller answers by a
    run on the same thread with ``Command(resume=answer)``, or ``Command(resume={id: answer})``
    where several questions are open. The node then starts from its beginning, and each
    ``interrupt`` that was answered returns its answer. Without a checkpointer there is no thread to
    go on with.

    Args:
        value: What the caller is asked.
        response_schema: What the answer must be. A JSON schema is passed on as it is; a pydantic
            model, dataclass or TypedDict is passed on as its JSON schema, and the answer is
            validated by it: what is returned is the validated object.

    Raises:
        GraphInterrupt: There is no answer yet; let it pass.
        pydantic.ValidationError: The answer does not fit. It was not taken: answer again.
        RuntimeError: Outside of a run.
    """
    return current_task("interrupt").interrupt(value, response_schema)
