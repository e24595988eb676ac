"""What crosses between the driver and a worker: one attempt's request and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from distgraph.engine.spec import Write
from distgraph.serde.exceptions import ShippedError
from distgraph.streaming.envelope import Segment


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What the caller wants to see of a run: workers publish nothing else."""

    modes: frozenset[str]
    subgraphs: bool = False


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """One attempt of one task."""

    task_id: str
    attempt: int
    graph_path: tuple[str, ...]
    """Names of the subgraph nodes that lead from the root graph to the node's graph."""
    node: str
    ns: tuple[str, ...]
    """Namespace of the graph that the node belongs to."""
    step: int
    stop: int
    """The step at which the recursion limit ends the run."""
    kind: Literal["node", "part", "writers"]
    """``part``: ``input`` is one piece of the node's work. ``writers``: what the node returned is
    known, as ``input``; only its writers, with their conditional edges, are left."""
    input: Any
    """What the node is called with where ``reads`` is None: the argument of a ``Send``, or a
    subgraph's output."""
    reads: tuple[str, ...] | str | None
    """State keys that make up the input: a tuple gives a dict of those that are set, a str gives
    that key's bare value. The node's ``mapper`` applies."""
    state: Mapping[str, Any]
    """Values of the channels in ``reads``, and of those that the conditional edges read."""
    managed: Mapping[str, Any]
    """Managed values (``IsLastStep``, …) that the input holds."""
    metadata: Mapping[str, Any]
    """``langgraph_step``, ``langgraph_node``, … of this task, with node and user metadata."""
    is_async: bool = False
    """Whether the function to call is a coroutine function."""
    timeout: float | None = None
    """Seconds after which the attempt is ended."""
    part: tuple[int, int] = (0, 1)
    """Which part of its node's work it is, from 0, and of how many."""


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one attempt ended."""

    task_id: str
    attempt: int
    status: Literal["ok", "error", "interrupt", "command", "cancelled", "timeout"]
    writes: tuple[Write, ...] = ()
    value: Any = None
    """Status ``command``: the ``Command`` addressed to the parent graph. A part: its result."""
    error: ShippedError | None = None
    interrupts: tuple[Any, ...] = ()
    published: int = 0
    """Events that the attempt emitted, those in ``tail`` included: the commit waits for them."""
    tail: tuple[Segment, ...] = ()
    """Events that were not sent yet when the attempt ended."""
    message_ids: frozenset[str] = frozenset()
    """Ids of the messages that were streamed or were in the input: not to be emitted again."""
    host: str = ""
    pid: int = 0
    started_at: float = 0.0
    """Seconds since the epoch, by the worker's clock."""
    duration: float = 0.0
    """Seconds."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunInfo:
    """What every attempt of a run needs to know of it; sent once, however many tasks there are."""

    run_id: str
    stream: StreamRequest
    configurable: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    run_name: str | None = None
    recursion_limit: int = 10_007
    max_concurrency: int | None = None
    capture: bool = False
    """Whether tokens are captured, here or in the graph around this one: models then stream."""
    context: Any = None
