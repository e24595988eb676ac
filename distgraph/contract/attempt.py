"""What crosses between the driver and a worker: one attempt's request and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from distgraph.contract.callbacks import CallbackInfo
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import Write
from distgraph.contract.stream import AttemptId, Segment, StreamRequest
from distgraph.contract.surroundings import Surroundings

if TYPE_CHECKING:
    from distgraph.runtime import RunControl
    from distgraph.types import RetryPolicy, TimeoutPolicy


@dataclass(frozen=True, slots=True)
class Standing:
    """The position of a task in its thread, and the resume values for its interrupts."""

    checkpoint_id: str
    checkpoint_map: Mapping[str, str]
    """Checkpoints of the task's graph and those around it, by namespace."""
    durability: Literal["sync", "async", "exit"] = "async"
    resume_values: tuple[Any, ...] = ()
    """Of the task's interrupts, in the order in which it raises them."""
    null_resume: tuple[Any, ...] = ()
    """A resume value without an id, for the task's next interrupt, or ()."""
    resume_map: Mapping[str, Any] = field(default_factory=dict)
    """Resume values by interrupt id: for graphs that the task's code invokes, and for parts."""
    matched_id: str | None = None
    resuming: bool | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """A node's failure, as its error handler is told of it."""

    node: str
    error: ShippedError


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
    task_ns: str
    """Checkpoint namespace of the task: ids of its interrupts derive from it, and the namespaces of
    graphs that its code invokes."""
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
    """Seconds after which a part is ended, which its node then makes a result of."""
    limit: TimeoutPolicy | None = None
    """How long the attempt may take, which is its node's failure otherwise. In seconds."""
    tries: int = 1
    """Which attempt of the node it is, from 1, as the node is told. ``attempt`` goes on counting
    where a graph around it was started again."""
    first_attempt_at: float | None = None
    """When the task's first attempt started, in seconds since the epoch. None: this is it."""
    failed: NodeFailure | None = None
    """For an error handler: what it is to handle."""
    drain: str | None = None
    """Why the run was asked to stop behind this step, None where it was not."""
    part: tuple[int, int] = (0, 1)
    """Which part of its node's work it is, from 0, and of how many."""
    standing: Standing | None = None
    """None where nothing is saved, and nothing was answered."""
    called: Called | None = None
    """Of a call: what is called. Its arguments are the ``input``."""
    around: str | None = None
    """Id of the run, as callbacks are told of it, that the attempt is a part of. None: that of the
    root graph."""

    @property
    def attempt_id(self) -> AttemptId:
        """Of the attempt to run."""
        return AttemptId(self.task_id, self.attempt)


class Called(NamedTuple):
    """What a call runs, in place of a node of the graph."""

    slot: str
    """Where in the state of the request the function is."""
    retry: tuple[RetryPolicy, ...] = ()
    around: str | None = None
    """Id of the run, as callbacks are told of it, that the call is a part of."""


class Lateness(NamedTuple):
    """Which limit of its node an attempt has reached."""

    kind: Literal["run", "idle"]
    elapsed: float
    """Seconds since it started."""


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one attempt ended."""

    task_id: str
    attempt: int
    status: Literal["ok", "error", "interrupt", "command", "cancelled", "timeout", "drained"]
    writes: tuple[Write, ...] = ()
    value: Any = None
    """Status ``command``: the ``Command`` addressed to the parent graph. A part: its result."""
    error: ShippedError | None = None
    handed: bool = False
    """Whether the writes are those of a ``Command`` that a graph inside the node addressed to the
    node: the node itself has returned nothing."""
    verdicts: tuple[int | None, ...] = ()
    """Which of the node's retry policies names the error, then which of those of the graph around
    it, and so on outwards. Empty where no policy was asked."""
    late: Lateness | None = None
    """Status ``timeout``: None where it was the part's own."""
    drain: str | None = None
    """Why the node asked for the run to stop behind this step, None where it did not."""
    interrupts: tuple[Any, ...] = ()
    resume_values: tuple[Any, ...] = ()
    """The values that the task's interrupts returned, those of earlier runs included."""
    null_resume_taken: bool = False
    """Whether the task, or a graph that its code invoked, took the answer without an id."""
    published: int = 0
    """Events that the attempt emitted, those in ``tail`` included: the commit waits for them."""
    tail: tuple[Segment, ...] = ()
    """Events that were not sent yet when the attempt ended."""
    message_ids: frozenset[str] = frozenset()
    """Ids of the messages that were streamed or were in the input: not to be emitted again."""
    messages: tuple[Any, ...] | None = None
    """The messages that the node returned, where these are not the ones in ``writes``."""
    calls: int = 0
    """Calls of tasks that the attempt made: it has not ended before they are known."""
    host: str = ""
    pid: int = 0
    started_at: float = 0.0
    """Seconds since the epoch, by the worker's clock."""
    duration: float = 0.0
    """Seconds."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attempt_id(self) -> AttemptId:
        """Of the attempt that ended."""
        return AttemptId(self.task_id, self.attempt)


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
    control: RunControl | None = None
    """By which the run is asked to stop. In another process it hears only of requests made there;
    an outcome tells the driver of them, and the run's end tells the caller."""
    saver: Any = None
    """For graphs that nodes invoke themselves: the caller's own saver, or its ``Placed``."""
    callbacks: CallbackInfo | None = None
    """Set where the caller's handlers are to hear of what happens."""
    surroundings: Surroundings | None = None
    """The caller's context, for other processes. None: the attempt runs in a copy of it."""
