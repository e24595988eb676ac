"""The request for one attempt, which the driver sends to a worker, and the outcome of the
attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from distgraph._internal.records import pickled_by_fields
from distgraph.contract.callbacks import CallbackInfo
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import Write
from distgraph.contract.stream import (
    AttemptId,
    Segment,
    StreamRequest,
    attempt_id_of,
    shown_attempt,
)
from distgraph.contract.surroundings import Surroundings
from distgraph.loss_policy import LossPolicy

if TYPE_CHECKING:
    from distgraph.runtime import RunControl
    from distgraph.types import RetryPolicy, TimeoutPolicy


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Standing:
    """The position of a task in its thread, and the resume values for its interrupts."""

    checkpoint_id: str
    checkpoint_map: Mapping[str, str]
    """Checkpoints of the task's graph and those around it, by namespace."""
    durability: Literal["sync", "async", "exit"] = "async"
    resume_values: tuple[Any, ...] = ()
    """Resume values of the task's interrupts, in the order in which the task raises the
    interrupts."""
    null_resume: tuple[Any, ...] = ()
    """A resume value without an id, for the task's next interrupt, or ()."""
    resume_map: Mapping[str, Any] = field(default_factory=dict)
    """Resume values by interrupt id: for graphs that the task's code invokes, and for parts."""
    matched_id: str | None = None
    resuming: bool | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True)
class NodeFailure:
    """A node's failure, in the form that the node's error handler receives."""

    node: str
    error: ShippedError


@pickled_by_fields
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
    """The node's argument if ``reads`` is None: the argument of a ``Send``, or the output of a
    subgraph."""
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
    """Whether the async form of the node or part runs."""
    timeout: float | None = None
    """Seconds after which a part is ended, which its node then makes a result of."""
    limit: TimeoutPolicy | None = None
    """Time limits of the attempt, in seconds; an attempt that exceeds a limit fails. None for no
    limit."""
    tries: int = 1
    """Number of the attempt within the node's retries, from 1; the node's runtime info shows the
    number. ``attempt`` also counts attempts before a retry of a surrounding subgraph."""
    losses: int = 0
    """Attempts before this one that were lost with their process, within the same try."""
    first_attempt_at: float | None = None
    """When the task's first attempt started, in seconds since the epoch. None: this is it."""
    failed: NodeFailure | None = None
    """For an error handler: what it is to handle."""
    drain: str | None = None
    """Reason of the drain request; None if no drain was requested."""
    part: tuple[int, int] = (0, 1)
    """Index of the part within its node's work, from 0, and the number of parts."""
    standing: Standing | None = None
    """Position in the thread and resume values. None if nothing is saved and no resume value
    exists."""
    called: Called | None = None
    """The function that a call runs; ``input`` holds the arguments. None for a node."""
    around: str | None = None
    """Callback run id of the parent run. None: the parent is the run of the root graph."""
    trace: Mapping[str, str] | None = None
    """OpenTelemetry's span of the superstep, as W3C trace context; None: no spans are wanted."""
    reports: ProgressReports | None = None
    """Reports of progress that graphs around the node, with an idle limit, wait for."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt to run."""
        return attempt_id_of((self.task_id, self.attempt))

    @property
    def shown_attempt(self) -> int:
        """The number of the attempt as users see it: from 1, whichever driver started it."""
        return shown_attempt(self.attempt)


class Called(NamedTuple):
    """The function that a call runs, in place of a node of the graph."""

    slot: str
    """Key of the function in the request's ``state``."""
    retry: tuple[RetryPolicy, ...] = ()
    around: str | None = None
    """Callback run id of the parent of the call."""


class ProgressReports(NamedTuple):
    """The reports of progress that an attempt is to send to the engine."""

    every: float
    """Seconds between two reports of one kind, at least."""
    events: bool
    """Whether events and callbacks are reported, not only heartbeats."""


class Lateness(NamedTuple):
    """The time limit of the node that an attempt has reached."""

    kind: Literal["run", "idle"]
    elapsed: float
    """Seconds since it started."""


NO_IDS: frozenset[str] = frozenset()


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one attempt ended."""

    task_id: str
    attempt: int
    status: Literal["ok", "error", "interrupt", "command", "cancelled", "timeout", "drained"]
    writes: tuple[Write, ...] = ()
    host: str = ""
    pid: int = 0
    started_at: float = 0.0
    """Seconds since the epoch, by the worker's clock."""
    duration: float = 0.0
    """Seconds."""
    cpu: float = 0.0
    """CPU seconds: of the process, where no other attempt ran in it meanwhile, else of the thread.
    0 on an event loop that attempts share."""
    value: Any = None
    """Status ``command``: the ``Command`` addressed to the parent graph. A part: its result."""
    error: ShippedError | None = None
    handed: bool = False
    """Whether the writes come from a ``Command(graph=PARENT)`` that a graph invoked inside the node
    addressed to the node's graph: the node itself has returned nothing."""
    verdicts: tuple[int | None, ...] = ()
    """For the node, then for each surrounding graph outwards: the index of the retry policy that
    matches the error, or None. Empty if no policy was evaluated."""
    late: Lateness | None = None
    """Status ``timeout``: None where it was the part's own."""
    drain: str | None = None
    """Reason of a drain request that the node made; None if the node made none."""
    interrupts: tuple[Any, ...] = ()
    resume_values: tuple[Any, ...] = ()
    """The values that the task's interrupts returned, those of earlier runs included."""
    null_resume_taken: bool = False
    """Whether the task, or a graph that the task's code invoked, consumed the resume value without
    an interrupt id."""
    published: int = 0
    """Events that the attempt emitted, those in ``tail`` included: the commit waits for them."""
    tail: tuple[Segment, ...] = ()
    """Events that were not sent yet when the attempt ended."""
    message_ids: frozenset[str] = NO_IDS
    """Ids of the messages that were streamed or were in the input: not to be emitted again."""
    messages: tuple[Any, ...] | None = None
    """The messages that the node returned, where these are not the ones in ``writes``."""
    calls: int = 0
    """Calls of tasks that the attempt made: it has not ended before they are known."""
    stack: str = ""
    """Python stacks of an attempt that its process did not end at its limit of time."""
    again: bool = False
    """Whether the attempt was lost with its process, and another one follows at once."""
    begun: bool = True
    """Whether a lost attempt counts as such: its process had begun it."""
    void: int | None = None
    """Events of a lost attempt that are in the stream and void; None if no event reports them."""
    lost: bool = False
    """Whether the driver made the outcome: the attempt's process is gone, or it never began."""
    ignored: tuple[str, ...] = ()
    """Messages about writes of the node that the graph ignores, such as an unknown state key."""

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt that ended."""
        return attempt_id_of((self.task_id, self.attempt))


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class SharedRunOptions:
    """The options of a run that its driver and its workers both use."""

    run_id: str
    stream: StreamRequest
    """The events that are published: what the caller and the runs around this one look at."""
    recursion_limit: int = 10_007
    max_concurrency: int | None = None
    """Groups of attempts in flight at once, None for no bound."""
    tags: tuple[str, ...] = ()
    configurable: Mapping[str, Any] = field(default_factory=dict)
    """The caller's, without the keys that belong to the task around the run."""
    losses: LossPolicy = field(default_factory=LossPolicy)
    """What follows when attempts are lost, unless a node's own options say otherwise."""
    callbacks: CallbackInfo | None = None
    """Set if the caller's callback handlers receive events of the run."""
    awaits: bool = False
    """Whether the caller awaits the run: code with a sync and an async form then runs in the async
    form, as in LangGraph."""
    trace: Mapping[str, str] | None = None
    """OpenTelemetry's current span of the caller, as W3C trace context; None: no spans are
    wanted."""

    @property
    def callback_info(self) -> CallbackInfo:
        """What callbacks of the run receive, also if the caller has none."""
        return self.callbacks or CallbackInfo(self.run_id, (), self.tags)


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class RunInfo:
    """The data about a run that all its attempts share; a driver sends the data once per worker,
    not once per task."""

    shared: SharedRunOptions
    capture: bool = False
    """Whether tokens are captured, here or in the graph around this one: models then stream."""
    context: Any = None
    control: RunControl | None = None
    """The handle by which a node requests a drain. In another process the handle sees only requests
    made in that process; the attempt's outcome reports them to the driver, and the end of the run
    reports them to the caller."""
    saver: Any = None
    """The saver of the run, None where nothing is saved. Graphs that nodes invoke themselves use
    it too: the caller's own saver, or its ``Placed``."""
    surroundings: Surroundings | None = None
    """The caller's context, for other processes. None: the attempt runs in a copy of it."""
