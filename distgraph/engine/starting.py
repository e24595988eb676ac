"""Starting graphs, supersteps, tasks and attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from distgraph._internal import keys as k
from distgraph._internal.chat_messages import message_ids
from distgraph._internal.ids import in_generation
from distgraph.contract.checkpoint import Saved
from distgraph.contract.events import CacheKey, LookUp, StartTask
from distgraph.contract.spec import GraphSpec, Split, Write
from distgraph.engine.caching import assign_keys
from distgraph.engine.failing import Failing
from distgraph.engine.frame import Frame, Piece, start_task
from distgraph.engine.handlers import handlers_of
from distgraph.engine.ledger import Ledger
from distgraph.engine.pieces import Pieces, divide
from distgraph.engine.recovery import (
    timed_out,
)
from distgraph.engine.superstep import Superstep, Task
from distgraph.errors import (
    GraphRecursionError,
    InvalidTransition,
    ParentCommand,
)
from distgraph.types import Command


class Starting(Failing):
    """The part of the ``Machine`` that starts what runs next."""

    # --- graphs ---------------------------------------------------------------------------------

    def _frame(
        self,
        spec: GraphSpec,
        ns: tuple[str, ...],
        path: tuple[str, ...],
        output_keys: tuple[str, ...] | str | None,
        parent: tuple[Frame, Task] | None,
    ) -> Frame:
        if spec.persistence is True:  # one history for all calls: no task's id is in its name
            ns = tuple(part.split(k.NS_END)[0] for part in ns)
        options = self._options
        metadata = options.metadata if parent is None else _inherited(parent[1])
        generation = 0 if parent is None else parent[0].generation
        if parent is not None and parent[1].attempt > 1:
            self._restarts += 1
            generation = self._restarts
        new_id = self._new_checkpoint_id
        graph = Superstep(
            spec,
            ns=k.NS_SEP.join(ns),
            limit=options.recursion_limit,
            new_checkpoint_id=in_generation(new_id, generation) if generation else new_id,
            next_version=self._next_version,
            base_metadata=metadata,
        )
        thread = options.thread if parent is None else parent[0].ledger.inner(parent[1])
        ledger = Ledger(
            graph,
            thread,
            saves=thread.saves and spec.persistence is not False,
            nested=parent is not None or options.has_parent,
            metadata=metadata,
            spare=thread.spare if parent is None else parent[1].spare,
        )
        keys = spec.output_channels if output_keys is None else output_keys
        frame = Frame(graph, ledger, ns, path, keys, parent, generation)
        self._frames.append(frame)
        return frame

    def _begin(self, frame: Frame, value: Any) -> None:
        """Start a graph, behind what is loaded for it."""
        if frame.ledger.saves:
            key = self._wait(frame, partial(self._loaded, frame, value))
            self._out.append(frame.ledger.load(key, self._visited))
        else:
            self._enter(frame, value)

    def _loaded(self, frame: Frame, value: Any, saved: Saved | None) -> None:
        self._guard(frame, lambda: frame.ledger.loaded(saved))
        if not self._over(frame):
            self._enter(frame, value)

    def _enter(self, frame: Frame, value: Any) -> None:
        """Apply a graph's input, or go on from what was loaded."""
        entered = self._guard(frame, lambda: frame.ledger.enter(value))
        if entered is None:
            return
        resumes, saves = entered
        self._out += saves
        if resumes:
            self._say.values(frame, resumed=True)
        self._advance(frame)

    # --- steps ----------------------------------------------------------------------------------

    def _advance(self, frame: Frame) -> None:
        """Start steps until one has to wait for workers, or the graph ends."""
        while not self._over(frame):
            graph = frame.graph
            tasks = graph.prepare()
            self._say.checkpoint(frame, tasks)
            if graph.step > graph.stop:
                self._fail(frame, self._out_of_steps(graph, tasks))
                return
            if not tasks:
                self._complete(frame)
                return
            if frame.ledger.pending and not frame.ledger.replaying:
                tasks += handlers_of(graph, tasks, frame.ledger.pending)
            frame.ledger.hand_back(tasks)
            before = graph.spec.interrupt_before
            if frame.parent is None and self._options.interrupt_before is not None:
                before = self._options.interrupt_before
            if before and graph.stops_at(before, tasks):
                graph.tasks = {}
                self._breakpoint(frame)
                return
            if self._drain is not None:
                self._drained(frame, self._drain)
                return
            self._start_step(frame, tasks)
            if not (self._step_is_over(frame) and self._end_step(frame)):
                return

    def _out_of_steps(self, graph: Superstep, tasks: Sequence[Task]) -> GraphRecursionError:
        names = ", ".join(sorted({repr(t.name) for t in tasks}))
        rest = f"{names} would run next" if names else "one step short of seeing that it ended"
        return GraphRecursionError(
            f"graph {graph.spec.name!r}: recursion limit of {graph.stop} supersteps reached "
            f"without an end; {rest}. Check that a path to END is taken, or pass a higher "
            'config={"recursion_limit": ...}'
        )

    def _start_step(self, frame: Frame, tasks: Sequence[Task]) -> None:
        self._say.started(frame, tasks)
        frame.starting = True
        for task in tasks:
            if task.cached:
                self._say.wrote(frame, task)
        fresh = [task for task in tasks if task.status == "running"]
        keys = self._guard(frame, lambda: assign_keys(frame.graph, fresh))
        if keys:
            key = self._wait(frame, partial(self._found, frame, fresh, keys))
            self._out.append(LookUp(key, frame.path, tuple(keys)))
        elif not self._over(frame):
            self._start_fresh(frame, fresh)

    def _found(
        self,
        frame: Frame,
        fresh: Sequence[Task],
        keys: Mapping[CacheKey, Sequence[Task]],
        values: Mapping[CacheKey, Sequence[Write]],
    ) -> None:
        """Give tasks the writes that the cache has for them, and start the others."""
        for key, writes in values.items():
            for task in keys[key]:
                task.writes = list(writes)
                task.status = "done"
                task.cached = True
                self._out += frame.ledger.record(task.id, task.path, task.writes)
                self._say.wrote(frame, task)
        self._start_fresh(frame, [task for task in fresh if task.status == "running"])
        self._after_task(frame)

    def _start_fresh(self, frame: Frame, tasks: Sequence[Task]) -> None:
        frame.open = len(tasks)
        for task in tasks:
            self._start_task(frame, task)
            if self._over(frame):
                return
        frame.starting = False

    # --- tasks ----------------------------------------------------------------------------------

    def _start_task(self, frame: Frame, task: Task) -> None:
        node = task.node
        if node.subgraph is not None:
            self._start_child(frame, task, node.subgraph)
        elif node.split is not None:
            self._start_split(frame, task, node.split)
        elif node.inline is not None:
            self._write_inline(frame, task, frame.graph.input_of(task))
        else:
            self._dispatch(frame, task, "node", task.input)

    def _start_child(self, frame: Frame, task: Task, subgraph: GraphSpec) -> None:
        value = frame.graph.input_of(task)
        mapper = task.node.mapper
        if task.pulled and mapper is not None:
            value = self._guard(frame, lambda: mapper(value))
            if self._over(frame):
                return
        self._say.has_seen(message_ids(value))
        ns = (*frame.ns, task.ns.rsplit(k.NS_SEP, 1)[-1])
        if task.attempt > 1 and subgraph.persistence is not True:
            ns = (*ns, str(task.attempt - 1))  # as the next graph that the task runs
        child = self._frame(
            subgraph,
            ns,
            (*frame.path, task.name),
            None,
            (frame, task),
        )
        late = timed_out(task, task.limit)
        if late is not None:
            self._later(child, late.timeout, partial(self._fail, child, late))
        self._begin(child, {} if value is None else value)

    def _start_split(self, frame: Frame, task: Task, split: Split) -> None:
        """Start each part of a task's work as an attempt of its own."""
        try:
            pieces = divide(frame.graph, task, split)
        except Exception as error:
            self._fail(frame, error, task)
            return
        if pieces is None:
            self._dispatch(frame, task, "node", task.input)
            return
        task.pieces = pieces
        for index, (part, how) in enumerate(zip(pieces.parts, pieces.how, strict=True)):
            self._dispatch(frame, task, "part", part.input, (index, part, how))
        if not pieces.parts:
            self._join(frame, task, pieces)

    def _dispatch(
        self,
        frame: Frame,
        task: Task,
        kind: Literal["node", "part", "writers"],
        value: Any,
        piece: Piece | None = None,
    ) -> None:
        self._launch(frame, task, start_task(frame, task, kind, value, piece))

    def _launch(self, frame: Frame, task: Task, start: StartTask) -> None:
        if self._drain is not None:
            start = replace(start, request=replace(start.request, drain=self._drain))
        self._running[start.request.task_id] = (frame, task, start)
        self._story.append(
            (
                "start",
                task.name,
                start.request.task_id,
                "attempt",
                start.request.attempt,
                "of",
                frame.graph.step,
            )
        )
        self._out.append(start)

    def _write_inline(self, frame: Frame, task: Task, value: Any) -> None:
        """Compute the writes of a node without user code right here."""
        program = task.node.inline
        assert program is not None

        def no_reading(_: Sequence[str] | str) -> Any:
            raise InvalidTransition(f"inline node {task.name!r} reads state", self.story())

        def compute() -> list[Write]:
            return [w for writer in program.writers for w in writer(value, no_reading, {})]

        try:
            writes = compute()
        except ParentCommand as bubble:
            self._parent_command(frame, bubble.command)
            return
        except Exception as error:
            self._fail(frame, error, task)
            return
        self._succeed(frame, task, writes)

    # --- further up -----------------------------------------------------------------------------

    def _step_is_over(self, frame: Frame) -> bool:
        raise NotImplementedError

    def _end_step(self, frame: Frame) -> bool:
        raise NotImplementedError

    def _succeed(
        self, frame: Frame, task: Task, writes: list[Write], answers: Sequence[Any] = ()
    ) -> None:
        raise NotImplementedError

    def _join(self, frame: Frame, task: Task, pieces: Pieces) -> None:
        raise NotImplementedError

    def _complete(self, frame: Frame) -> None:
        raise NotImplementedError

    def _breakpoint(self, frame: Frame) -> None:
        raise NotImplementedError

    def _drained(self, frame: Frame, reason: str) -> None:
        raise NotImplementedError

    def _parent_command(self, frame: Frame, command: Command[Any]) -> None:
        raise NotImplementedError


def _inherited(task: Task) -> dict[str, Any]:
    """Return the metadata that a subgraph's tasks start from: that of the task around it."""
    own = {key: v for key, v in task.metadata.items() if key not in k.POSITION}
    own.setdefault("checkpoint_ns", task.ns)
    return own
