"""What goes into the engine (events) and what comes out of it (instructions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from distgraph.engine.spec import NodeSpec, PartOptions
from distgraph.serde.exceptions import ShippedError
from distgraph.worker.protocol import AttemptOutcome, AttemptRequest, StreamRequest


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run was asked for, as far as the engine decides by it."""

    run_id: str
    recursion_limit: int
    stream: StreamRequest
    output_keys: tuple[str, ...] | str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The caller's own metadata: every task's metadata starts from it."""
    tags: tuple[str, ...] = ()
    ns: tuple[str, ...] = ()
    """Namespace of the root graph: not () where the run was started inside a node."""
    has_parent: bool = False
    """Whether ``Command(graph=Command.PARENT)`` at the root has somewhere to go."""
    interrupt_before: tuple[str, ...] | Literal["*"] | None = None
    interrupt_after: tuple[str, ...] | Literal["*"] | None = None


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
class CancelRequested:
    """The caller left, or asked for the end."""


InputEvent = RunStarted | AttemptEnded | CancelRequested


# --- instructions out ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartTask:
    """Run this attempt on a worker."""

    request: AttemptRequest
    node: NodeSpec
    versions: Mapping[str, Any]
    """Versions of the state values, for caches on the way."""
    key: str = ""
    """Of a part, within its node; "" for the node itself."""
    part: PartOptions | None = None

    @property
    def ray_options(self) -> Mapping[str, Any]:
        """Where the attempt is to run."""
        return self.node.ray_options if self.part is None else self.part.ray_options


@dataclass(frozen=True, slots=True)
class CancelTask:
    """End this attempt; its outcome is no longer wanted."""

    task_id: str
    attempt: int


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


Instruction = StartTask | CancelTask | Emit | Finish
