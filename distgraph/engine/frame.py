"""One graph of a run on the machine, and what is sent to a worker for one of its tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from distgraph.contract.attempt import AttemptRequest, Called, Standing
from distgraph.contract.events import StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import PART, Part, PartOptions
from distgraph.engine.calls import CALLED
from distgraph.engine.ledger import Ledger
from distgraph.engine.outputs import read_values
from distgraph.engine.superstep import Superstep, Task

Piece = tuple[int, Part, PartOptions]
"""A part of a task: its number, what it is, how it runs."""


GENERATION = 1 << 20
"""Between the numbers of attempts of two generations of a graph."""


@dataclass(eq=False)
class Frame:
    """One graph of the run: the root, or a subgraph inside a task of its parent."""

    graph: Superstep
    ledger: Ledger
    ns: tuple[str, ...]
    path: tuple[str, ...]
    output_keys: tuple[str, ...] | str
    parent: tuple[Frame, Task] | None = None
    generation: int = 0
    """How many graphs of the run had been started again when this one, or one around it, was: its
    tasks may have the ids of the tasks before."""
    output: Any = None
    open: int = 0
    """Tasks of the step that have not ended."""
    starting: bool = False
    """True while the tasks of a step are being started: the step cannot end yet."""
    interrupts: list[Any] = field(default_factory=list)
    drained: str | None = None
    """Why the graph is to stop behind the current step: one inside of it was drained."""
    failure: ShippedError | BaseException | None = None
    """What the graph fails of once the other tasks of the step have ended."""
    ended: bool = False

    def lineage(self) -> Iterator[Frame]:
        """Yield the frame, and those around it up to the root."""
        at: Frame | None = self
        while at is not None:
            yield at
            at = None if at.parent is None else at.parent[0]

    def within(self, other: Frame) -> bool:
        """Whether this is another graph, or inside of it."""
        at: Frame | None = self
        while at is not None and at is not other:
            at = None if at.parent is None else at.parent[0]
        return at is not None


def _standing(frame: Frame, task: Task, piece: Piece | None, pieces: int) -> Standing | None:
    if not frame.ledger.thread.saves:
        return None
    if piece is None:
        return frame.ledger.standing(task)
    return frame.ledger.standing(task, piece[0], pieces)


def start_task(
    frame: Frame,
    task: Task,
    kind: Literal["node", "part", "writers"],
    value: Any,
    piece: Piece | None = None,
) -> StartTask:
    """Return the instruction to run an attempt, with the state that it reads."""
    graph, node = frame.graph, task.node
    part = None if piece is None else piece[2]
    pieces = 1 if task.pieces is None else len(task.pieces.parts)
    attempt_id = task.id if piece is None else f"{task.id}{PART}{piece[0]}"
    names: list[str] = []
    managed: dict[str, Any] = {}
    reads: tuple[str, ...] | str | None = None
    if piece[1].reads_state if piece is not None else kind == "node" and task.pulled:
        reads = node.channels
        for key in (reads,) if isinstance(reads, str) else reads:
            if key in graph.spec.managed:
                managed[key] = graph.managed_value(key)
            else:
                names.append(key)
    for key in () if kind == "part" else node.branch_channels:
        if key in graph.spec.managed:
            managed[key] = graph.managed_value(key)
        elif key not in names:
            names.append(key)
    state = read_values(graph.channels, names)
    versions = {c: graph.versions[c] for c in state if c in graph.versions}
    called = None
    if task.call is not None:  # the function is shipped as state is: a large one by reference
        slot = f"{CALLED}{task.call.key}"
        called = Called(slot, node.retry, task.call.around)
        state[slot], versions[slot] = task.call.target, task.call.key
    request = AttemptRequest(
        task_id=attempt_id,
        attempt=frame.generation * GENERATION + task.attempt,
        tries=task.attempt,
        graph_path=frame.path,
        node=task.name,
        ns=frame.ns,
        task_ns=task.ns,
        step=graph.step,
        stop=graph.stop,
        kind=kind,
        input=value,
        reads=reads,
        state=state,
        managed=managed,
        timeout=None if part is None else part.timeout,
        limit=task.limit,
        failed=task.failure,
        is_async=node.is_async if part is None else part.is_async,
        part=(0, 1) if piece is None else (piece[0], pieces),
        metadata=task.metadata,
        standing=_standing(frame, task, piece, pieces),
        called=called,
    )
    return StartTask(request, node, versions, "" if piece is None else piece[1].key, part)
