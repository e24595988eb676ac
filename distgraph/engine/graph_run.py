"""One graph in a run of the machine, and the request that its tasks send to a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from distgraph.contract.attempt import AttemptRequest, Called, Standing
from distgraph.contract.events import StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import PART
from distgraph.engine.graph_thread import GraphThread
from distgraph.engine.idle_timeout import IdleWindow, note_progress, reports_of
from distgraph.engine.outputs import read_values
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import PartStart, Task
from distgraph.engine.task_calls import CALLED

__all__ = ("GraphRun", "Phase", "attempt_of")

RESTART = 1 << 20
"""Distance between the numbers of attempts before and after a graph was started again."""


class Phase(Enum):
    """What a graph of the run is doing."""

    LOADING = "loading"
    """The saver fetches the checkpoint that the graph starts from."""
    STARTING = "starting"
    """The tasks of a superstep are being started, or looked up in a cache."""
    RUNNING = "running"
    """Tasks of a superstep are running."""
    SAVING = "saving"
    """The superstep has ended, and the next waits until its checkpoint is durable."""
    ENDED = "ended"


@dataclass(eq=False)
class GraphRun:
    """One graph of the run: the root, or a subgraph inside a task of its parent."""

    superstep: Superstep
    thread: GraphThread
    ns: tuple[str, ...]
    path: tuple[str, ...]
    """Names of the subgraph nodes that lead from the root to the graph."""
    output_keys: tuple[str, ...] | str
    parent: tuple[GraphRun, Task] | None = None
    number: int = 0
    """Counts the graphs of the run. One with a history of its own begins many times under one
    namespace, where no saver makes its channels' versions unique."""
    restarts: int = 0
    """Graphs of the run that had been started again when this graph, or one around it, was. Its
    tasks may have the ids of earlier tasks: attempts are numbered from another base."""
    interrupt_before: tuple[str, ...] | Literal["*"] = ()
    """Nodes before which the graph stops (static breakpoints)."""
    interrupt_after: tuple[str, ...] | Literal["*"] = ()
    phase: Phase = Phase.LOADING
    output: Any = None
    result_keys: tuple[str, ...] | str | None = None
    """State keys of the run's output; None for ``output_keys``."""
    result: Any = None
    """The output by ``result_keys``, if given."""
    open: int = 0
    """Tasks of the superstep that have not ended."""
    interrupts: list[Any] = field(default_factory=list)
    drained: str | None = None
    """Reason to stop behind the current superstep, set when a task of it was drained."""
    failure: ShippedError | BaseException | None = None
    """The error with which the graph fails once the other tasks of the superstep have ended."""
    run_id: str | None = None
    """Id of its run for callbacks; None for the root graph, and if there are no callbacks."""
    idle: IdleWindow | None = None
    """The idle limit of the node that the graph is."""

    @property
    def ended(self) -> bool:
        """Whether the graph takes no more part in the run."""
        return self.phase is Phase.ENDED

    def lineage(self) -> Iterator[GraphRun]:
        """Yield this graph, then the graphs around it, up to the root."""
        graph: GraphRun | None = self
        while graph is not None:
            yield graph
            graph = None if graph.parent is None else graph.parent[0]

    def idle_windows(self) -> list[IdleWindow]:
        """Return the idle limits of this graph and of the graphs around it, its own first."""
        if self.parent is None:
            return [] if self.idle is None else [self.idle]
        return [graph.idle for graph in self.lineage() if graph.idle is not None]

    def note_progress(self) -> None:
        """Note that a task of the graph has started or ended."""
        if self.parent is not None or self.idle is not None:
            note_progress(self.idle_windows())

    def within(self, other: GraphRun) -> bool:
        """Return whether this graph is ``other`` or inside of it."""
        return any(graph is other for graph in self.lineage())


def inherited_metadata(task: Task) -> dict[str, Any]:
    """Return the metadata of the task around a subgraph, from which its tasks' metadata starts."""
    # with the position of the task around, which theirs replaces: keys are in LangGraph's order
    return {**task.metadata, "checkpoint_ns": task.metadata.get("checkpoint_ns", task.ns)}


def _state_for(
    graph: GraphRun, task: Task, kind: Literal["node", "part", "writers"], part: PartStart | None
) -> tuple[tuple[str, ...] | str | None, list[str], dict[str, Any]]:
    """Return what makes up the input, the channels to send along, and managed values."""
    superstep, node = graph.superstep, task.node
    reads_state = kind == "node" and task.pulled if part is None else part.part.reads_state
    reads = node.channels if reads_state else None
    input_keys = () if reads is None else (reads,) if isinstance(reads, str) else reads
    channels: list[str] = []
    managed: dict[str, Any] = {}
    for key in (*input_keys, *(() if kind == "part" else node.branch_channels)):
        if key in superstep.spec.managed:
            managed[key] = superstep.managed_value(key)
        elif key not in channels:
            channels.append(key)
    return reads, channels, managed


def attempt_of(
    graph: GraphRun,
    task: Task,
    kind: Literal["node", "part", "writers"],
    value: Any,
    part: PartStart | None = None,
    *,
    awaits: bool = False,
) -> StartTask:
    """Return the instruction to run an attempt of a task, with the state that it reads.

    ``awaits``: whether the run's caller awaits the run.
    """
    superstep, node = graph.superstep, task.node.for_caller(awaits)
    options = None if part is None else part.options.for_caller(awaits)
    count = 1 if task.parts is None else len(task.parts.parts)
    number = 0 if part is None else part.number
    reads, channels, managed = _state_for(graph, task, kind, part)
    state = read_values(superstep.channels, channels)
    known = superstep.versions
    versions: dict[str, Any] = {}
    if state:
        versions = {c: (graph.number, known[c]) for c in state if c in known}
    called = None
    if task.call is not None:  # the function is shipped as state is: a large one by reference
        slot = f"{CALLED}{task.call.key}"
        called = Called(slot, node.retry, task.call.around)
        state[slot], versions[slot] = task.call.target, task.call.key
    standing: Standing | None = None
    if graph.thread.options.saves:
        standing = graph.thread.standing(task, number, 1 if part is None else count)
    request = AttemptRequest(
        task_id=task.id if part is None else f"{task.id}{PART}{number}",
        attempt=graph.restarts * RESTART + task.attempt,
        tries=task.attempt,
        graph_path=graph.path,
        node=task.name,
        ns=graph.ns,
        task_ns=task.ns,
        step=superstep.step,
        stop=superstep.stop,
        kind=kind,
        input=value,
        reads=reads,
        state=state,
        managed=managed,
        timeout=None if options is None else options.timeout,
        limit=task.limit,
        failed=task.failure,
        is_async=node.is_async if options is None else options.is_async,
        part=(0, 1) if part is None else (number, count),
        metadata=task.metadata,
        standing=standing,
        called=called,
        around=task.run_id or graph.run_id,
        reports=reports_of(graph.idle_windows()),
    )
    key = "" if part is None else part.part.key
    after = None if task.call is None else task.call.position
    limit = superstep.spec.max_concurrency
    steps_around: tuple[int, ...] = ()
    if graph.parent is not None:
        steps_around = tuple(g.superstep.step for g in graph.parent[0].lineage())[::-1]
    return StartTask(request, node, versions, key, options, limit, after, steps_around)
