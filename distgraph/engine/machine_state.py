"""What a machine knows: its graphs, the attempts on workers, and the replies that graphs wait for.

The methods change this state and add instructions; none of them goes on with a graph. What follows
from a change is decided in ``superstep_loop``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distgraph._internal import keys as k
from distgraph._internal.ids import NewCheckpointId, in_generation
from distgraph.contract.events import Finish, Instruction, RunOptions, StartTask, Wake
from distgraph.contract.spec import GraphSpec
from distgraph.engine.attempts import Attempts
from distgraph.engine.callback_events import CallbackEvents
from distgraph.engine.graph_run import GraphRun, Phase, inherited_metadata
from distgraph.engine.graph_thread import GraphThread
from distgraph.engine.stream_events import StreamEvents
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import Task
from distgraph.engine.task_calls import TaskCalls
from distgraph.engine.transitions import Story
from distgraph.errors import InvalidTransition

__all__ = ("MachineState",)


class MachineState:
    """The state of a run, and the instructions that the event in hand has led to.

    Args:
        options: What the run was asked for.
        new_checkpoint_id: Makes ids of checkpoints.
        next_version: The saver's rule for versions of channels.
        random: Numbers of [0, 1) for the jitter of retries.
    """

    def __init__(
        self,
        options: RunOptions,
        *,
        new_checkpoint_id: NewCheckpointId,
        next_version: Callable[[Any], Any],
        random: Callable[[], float],
    ) -> None:
        self.options = options
        self.random = random
        self.out: list[Instruction] = []
        """Instructions that follow from the event in hand, in order."""
        self.story = Story()
        self.stream = StreamEvents(options)
        self.callbacks = CallbackEvents(options)
        self.attempts = Attempts(self.story)
        self.calls = TaskCalls()
        self.graphs: list[GraphRun] = []
        """Graphs that have not ended, each behind the graph around it."""
        self.rewound: set[str] = set()
        """Namespaces of subgraphs that have gone back in time with the graph around them."""
        self.drain: str | None = None
        """The reason to stop behind the current superstep, None if nobody asked for it."""
        self.ignored: dict[str, None] = {}
        """Messages about writes that were ignored, without repetitions."""
        self.null_resume_taken = False
        """Whether an interrupt has taken the resume value that has no interrupt id."""
        self.finished = False
        self._new_checkpoint_id = new_checkpoint_id
        self._next_version = next_version
        self._awaited: dict[str, tuple[GraphRun, Callable[..., None]]] = {}
        self._requests = 0
        self._restarts = 0
        """Graphs that were started again."""
        self._begun = 0
        """Graphs that were added."""

    # --- requests to the saver, the caches and the clock ------------------------------------------

    def await_reply(self, graph: GraphRun, go_on: Callable[..., None]) -> str:
        """Return the key of a request, with the reply to which ``go_on`` is called."""
        self._requests += 1
        key = str(self._requests)
        self._awaited[key] = (graph, go_on)
        return key

    def reply(self, key: str, *reply: Any) -> None:
        """Pass a reply to the graph that waits for it, unless the graph has ended.

        Raises:
            InvalidTransition: Nothing waits for the reply.
        """
        if key not in self._awaited:
            raise InvalidTransition(f"nothing waits for a reply to {key!r}", story=self.story.of())
        graph, go_on = self._awaited.pop(key)
        if not graph.ended:
            go_on(*reply)

    def after(self, graph: GraphRun, seconds: float, go_on: Callable[[], None]) -> None:
        """Let the clock call ``go_on``, unless the graph has ended before."""
        self.out.append(Wake(self.await_reply(graph, go_on), seconds))

    @property
    def waiting(self) -> list[GraphRun]:
        """The graphs that wait for a reply, one entry for each request."""
        return [graph for graph, _ in self._awaited.values()]

    # --- attempts ---------------------------------------------------------------------------------

    def start_attempt(self, graph: GraphRun, task: Task, start: StartTask) -> None:
        """Send an attempt of a task to a worker."""
        self.out.append(self.attempts.start(graph, task, start, self.drain))

    def cancel_attempts_of(self, task: Task) -> None:
        """End what runs for a task."""
        self.out += self.attempts.cancel(lambda running: running.task is task)

    # --- graphs -----------------------------------------------------------------------------------

    def add_graph(
        self,
        spec: GraphSpec,
        ns: tuple[str, ...],
        path: tuple[str, ...],
        output_keys: tuple[str, ...] | str | None,
        parent: tuple[GraphRun, Task] | None,
    ) -> GraphRun:
        """Add a graph to the run.

        Args:
            spec: The graph.
            ns: Its namespace.
            path: Names of the subgraph nodes that lead to it.
            output_keys: State keys of its output; None for the graph's own.
            parent: The graph around it and the task that it runs in; None for the root graph.
        """
        ns = spec.own_namespace(ns)
        options = self.options
        metadata = options.metadata
        if parent is not None:
            metadata = {**spec.metadata, **inherited_metadata(parent[1])}
        restarts = 0 if parent is None else parent[0].restarts
        if parent is not None and parent[1].attempt > 1:
            self._restarts += 1
            restarts = self._restarts
        self._begun += 1
        generation = str(restarts) if restarts else ""
        if spec.persistence is True and not options.thread.saves:  # all calls have one namespace
            generation = f"{restarts}.{self._begun}"
        superstep = Superstep(
            spec,
            ns=k.NS_SEP.join(ns),
            limit=options.shared.recursion_limit,
            new_checkpoint_id=in_generation(self._new_checkpoint_id, generation),
            next_version=self._next_version,
            base_metadata=metadata,
            ignored=self.ignored,
        )
        thread = options.thread if parent is None else parent[0].thread.inner(parent[1])
        graph = GraphRun(
            superstep,
            GraphThread(
                superstep,
                thread,
                saves=thread.saves and spec.persistence is not False,
                nested=parent is not None or options.has_parent,
                metadata=metadata,
                null_resume=thread.null_resume if parent is None else parent[1].null_resume,
            ),
            ns,
            path,
            spec.output_channels if output_keys is None else output_keys,
            parent,
            self._begun,
            restarts,
            spec.interrupt_before,
            spec.interrupt_after,
        )
        if parent is None:
            graph.result_keys = options.result_keys
        if parent is None and options.interrupt_before is not None:
            graph.interrupt_before = options.interrupt_before
        if parent is None and options.interrupt_after is not None:
            graph.interrupt_after = options.interrupt_after
        self.graphs.append(graph)
        return graph

    def is_over(self, graph: GraphRun) -> bool:
        """Return whether the graph or the run has ended."""
        return self.finished or graph.phase is Phase.ENDED

    def end(self, graph: GraphRun, *, failed: bool) -> None:
        """End a graph. ``failed``: it has not come to its end."""
        graph.phase = Phase.ENDED
        self.settle(graph, failed=failed)

    def settle(self, graph: GraphRun, *, failed: bool) -> None:
        """Save what is left to be saved of a graph that ends."""
        if graph in self.graphs:
            self.graphs.remove(graph)
            self.out += graph.thread.settle(failed=failed)

    def drop(self, graph: GraphRun) -> None:
        """End a graph and the graphs inside of it, and cancel their attempts."""
        for inner in [g for g in reversed(self.graphs) if g.within(graph)]:
            self.end(inner, failed=True)
        graph.phase = Phase.ENDED  # also of one that was settled before
        self.out += self.attempts.cancel(lambda running: running.graph.within(graph))

    def finish(self, finish: Finish) -> None:
        """End the run: its attempts are cancelled, its graphs saved."""
        self.out += self.attempts.cancel(lambda _: True)
        for graph in reversed(self.graphs[:]):
            self.end(graph, failed=finish.status != "done")
        self.story.note("", "", "started", finish.status)
        self.finished = True
        self.out.append(replace(finish, null_resume_taken=self.null_resume_taken))
