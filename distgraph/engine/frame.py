"""One graph of a run on the machine, and what is sent to a worker for one of its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from distgraph.engine.instructions import StartTask
from distgraph.engine.outputs import read_values
from distgraph.engine.spec import Part, PartOptions
from distgraph.engine.superstep import Superstep, Task
from distgraph.worker.protocol import AttemptRequest

PART = "#"
"""Between a task's id and the number of a part, in the id of the part's attempt."""

Piece = tuple[int, Part, PartOptions]
"""A part of a task: its number, what it is, how it runs."""


@dataclass(eq=False)
class Frame:
    """One graph of the run: the root, or a subgraph inside a task of its parent."""

    graph: Superstep
    ns: tuple[str, ...]
    path: tuple[str, ...]
    output_keys: tuple[str, ...] | str
    parent: tuple[Frame, Task] | None = None
    output: Any = None
    open: int = 0
    """Tasks of the step that have not ended."""
    starting: bool = False
    """True while the tasks of a step are being started: the step cannot end yet."""
    interrupts: list[Any] = field(default_factory=list)
    ended: bool = False


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
    request = AttemptRequest(
        task_id=attempt_id,
        attempt=task.attempt,
        graph_path=frame.path,
        node=task.name,
        ns=frame.ns,
        step=graph.step,
        stop=graph.stop,
        kind=kind,
        input=value,
        reads=reads,
        state=state,
        managed=managed,
        timeout=None if part is None else part.timeout,
        is_async=node.is_async if part is None else part.is_async,
        part=(0, 1) if piece is None else (piece[0], pieces),
        metadata=task.metadata,
    )
    versions = {c: graph.versions[c] for c in state if c in graph.versions}
    return StartTask(request, node, versions, "" if piece is None else piece[1].key, part)
