"""Events, the input of the engine, and instructions, the output of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from distgraph._internal.records import pickled_by_fields
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest, SharedRunOptions
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.checkpoint import Saved
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import NodeSpec, PartOptions, Write
from distgraph.contract.stream import AttemptId, Position
from distgraph.types import Durability

CHECKPOINT_KEYS = ("checkpoint_ns", "checkpoint_id", "checkpoint_map")
"""Keys of ``configurable`` that name a checkpoint of a thread."""


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class ThreadOptions:
    """The checkpoint from which a run starts, and the resume values."""

    saves: bool = False
    """Whether the graph has a checkpointer."""
    durability: Durability = "async"
    checkpoint_id: str | None = None
    """The root graph's checkpoint to start from, None for the thread's latest."""
    checkpoint_map: Mapping[str, str] = field(default_factory=dict)
    """Checkpoints to start from, or that the graphs around this one stand at, by namespace."""
    strict_resume: bool = False
    """Whether a resume value for an interrupt that is not pending is an error."""
    resuming: bool | None = None
    """Whether the surrounding graph resumes from its checkpoint. None: there is no surrounding
    graph."""
    replay: str | None = None
    """The checkpoint that the graph around went back to: subgraphs start from their last before."""
    resume_map: Mapping[str, Any] = field(default_factory=dict)
    """Resume values by interrupt id."""
    matched_id: str | None = None
    """The id in ``resume_map`` that a resume value without an id was matched with."""
    null_resume: tuple[Any, ...] = ()
    """A resume value without an id that is not matched yet, or ()."""


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of one run, as far as engine and driver need them."""

    shared: SharedRunOptions
    output_keys: tuple[str, ...] | str | None = None
    result_keys: tuple[str, ...] | str | None = None
    """State keys of the output in the terminal event; None for ``output_keys``."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The caller's own metadata: every task's metadata starts from it."""
    ns: tuple[str, ...] = ()
    """Namespace of the root graph: not () where the run was started inside a node."""
    has_parent: bool = False
    """Whether a parent graph exists for ``Command(graph=Command.PARENT)`` at the root."""
    interrupt_before: tuple[str, ...] | Literal["*"] | None = None
    interrupt_after: tuple[str, ...] | Literal["*"] | None = None
    thread: ThreadOptions = field(default_factory=ThreadOptions)
    want_output: bool = False
    """Whether the terminal event carries the graph's output."""

    @property
    def thread_configurable(self) -> dict[str, Any]:
        """The caller's ``configurable`` without the keys that name a checkpoint.

        The saver gets it, and events of mode ``checkpoints`` show it.
        """
        given = self.shared.configurable
        kept = {key: value for key, value in given.items() if key not in CHECKPOINT_KEYS}
        if "thread_id" in kept:
            kept["thread_id"] = str(kept["thread_id"])
        return kept


CacheKey = tuple[tuple[str, ...], str]
"""Key of a cache entry: its namespace, and its name in the namespace."""

# --- events in ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The caller's input is here."""

    input: Any


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt came back, whatever became of it."""

    outcome: AttemptOutcome


@dataclass(frozen=True, slots=True)
class TaskCalled:
    """The code of an attempt that is on a worker called a task."""

    call: TaskCall


@dataclass(frozen=True, slots=True)
class CallDropped:
    """The code of an attempt that is on a worker cancelled a call."""

    call: DroppedCall


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """The code of an attempt that is on a worker makes progress."""

    task_id: str
    attempt: int
    kind: Literal["begun", "events", "heartbeat"]

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt."""
        return AttemptId(self.task_id, self.attempt)


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The caller cancelled the run, or left."""


@dataclass(frozen=True, slots=True)
class CheckpointLoaded:
    """The saver has loaded the checkpoint from which a graph starts; None if there is no
    checkpoint."""

    key: str
    saved: Saved | None


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything that was to be saved before this ``Sync`` is durable."""

    key: str


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """The saver failed: no later operation was saved."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Woken:
    """The time of a ``Wake`` is over."""

    key: str


@dataclass(frozen=True, slots=True)
class Found:
    """The entries that a cache contains for a ``LookUp``."""

    key: str
    values: Mapping[CacheKey, Sequence[Write]]


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """The run is to stop after the current superstep."""

    reason: str


@dataclass(frozen=True, slots=True)
class DriverReplaced:
    """Another driver has taken the run over. Attempts of its own have numbers of their own."""

    generation: int
    """From 1."""


InputEvent = (
    RunStarted
    | AttemptEnded
    | TaskCalled
    | CallDropped
    | ProgressMade
    | CancelRequested
    | CheckpointLoaded
    | Synced
    | StorageFailed
    | Woken
    | Found
    | DrainRequested
    | DriverReplaced
)


# --- instructions out ---------------------------------------------------------------------------


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class StartTask:
    """Run this attempt on a worker."""

    request: AttemptRequest
    node: NodeSpec
    versions: Mapping[str, Any]
    """Versions of the state values, for caches on the way."""
    key: str = ""
    """Key of a part within its node; "" for the node itself."""
    part: PartOptions | None = None
    limit: int | None = None
    """Attempts of the graph's nodes that may run at once, None for the run's limit."""
    after: Position | None = None
    """What the stream has to contain before events of the attempt."""
    steps_around: tuple[int, ...] = ()
    """Supersteps of the graphs around the attempt's graph, the root first."""

    @property
    def ray_options(self) -> Mapping[str, Any]:
        """Ray options of the attempt: resources and placement."""
        return self.node.ray_options if self.part is None else self.part.ray_options


@dataclass(frozen=True, slots=True)
class CancelTask:
    """End this attempt; its outcome is no longer wanted."""

    task_id: str
    attempt: int

    @property
    def attempt_id(self) -> AttemptId:
        """The id of the attempt to end."""
        return AttemptId(self.task_id, self.attempt)


@dataclass(frozen=True, slots=True)
class ReturnCall:
    """Send an attempt on a worker the outcome of a call of its code."""

    result: CallResult


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Emit:
    """Put an event of the driver into the stream.

    Events of modes ``tasks`` and ``checkpoints`` are also what mode ``debug`` shows, wrapped with
    a timestamp, which the pure engine does not have.
    """

    ns: tuple[str, ...]
    step: int
    mode: str
    payload: Any
    debug_type: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The run has ended."""

    status: Literal["done", "error", "interrupted", "cancelled", "command"]
    value: Any = None
    """Output of the graph; for ``command`` the command addressed to the parent."""
    error: ShippedError | BaseException | None = None
    interrupts: Sequence[Any] = ()
    null_resume_taken: bool = False
    """Whether an interrupt of the run took the resume value without an id."""


@dataclass(frozen=True, slots=True)
class LoadCheckpoint:
    """Fetch a checkpoint, and report it under ``key``."""

    key: str
    ns: str
    checkpoint_id: str | None = None
    """None for the latest."""
    before: str | None = None
    """The latest that is older than this one."""
    replays: tuple[str, ...] = ()
    """Channels whose history is wanted where they have no value in the checkpoint."""


@dataclass(frozen=True, slots=True)
class SaveWrites:
    """Save what a task wrote on top of a checkpoint."""

    ns: str
    checkpoint_id: str
    task_id: str
    path: str
    """Orders the writes of a step."""
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class SaveCheckpoint:
    """Save a checkpoint, after all earlier storage instructions."""

    ns: str
    parent_id: str | None
    checkpoint: Mapping[str, Any]
    """Without ``ts``: the engine has no clock."""
    metadata: Mapping[str, Any]
    new_versions: Mapping[str, Any]


LAST = ""
"""Key of the last ``Sync`` of a run: the run saves nothing after this instruction."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Report under ``key`` when all of the above is durable."""

    key: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look keys up in a graph's cache, and report under ``key`` what it has."""

    key: str
    path: tuple[str, ...]
    """Names of the subgraph nodes that lead to the graph."""
    keys: tuple[CacheKey, ...]


@dataclass(frozen=True, slots=True)
class Remember:
    """Put what a task wrote into its graph's cache."""

    path: tuple[str, ...]
    key: CacheKey
    writes: tuple[Write, ...]
    ttl: int | None = None
    """Seconds that it is kept, None for ever."""


Storage = LoadCheckpoint | SaveWrites | SaveCheckpoint | Sync | LookUp | Remember
"""Instructions for the saver or a cache, carried out one at a time and in order."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Report under ``key`` when this many seconds have passed."""

    key: str
    seconds: float


Instruction = StartTask | CancelTask | ReturnCall | Emit | Finish | Wake | Storage
