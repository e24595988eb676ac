"""The context of a running node: config, writer and runtime, stored in a context variable."""

from __future__ import annotations

import contextvars
import itertools
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from distgraph._internal.config import DefaultRecursionLimit
from distgraph._internal.current import TaskId, active, config_around, current
from distgraph._internal.current import current_task as current_or_error
from distgraph._internal.keys import NS_SEP, PREVIOUS, TASK_ID
from distgraph.contract.attempt import AttemptRequest, RunInfo
from distgraph.contract.spec import Write
from distgraph.contract.stream import Event, StreamRequest
from distgraph.errors import NodeError, UnsupportedError
from distgraph.logs import driver_fields
from distgraph.runtime import ExecutionInfo, RunControl, Runtime, no_heartbeat, server_info
from distgraph.serde.exceptions import rebuild_error
from distgraph.streaming.publisher import StreamClosed
from distgraph.worker import interrupts
from distgraph.worker.late_langchain import begun_before, config_variable, early

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphSpec
    from distgraph.worker.calls import Callee, Calls
    from distgraph.worker.progress import Progress

logger = logging.getLogger("distgraph")

_T = TypeVar("_T")

EmitEvent = Callable[[Event], None]


@dataclass(slots=True)
class PassesOn:
    """Emits events of graphs that the code of a node runs.

    A thread that the node has started may run the graph on when the attempt has ended. Nobody takes
    the events then, and the graph goes on.
    """

    emit: EmitEvent
    node: str
    step: int
    lost: bool = False
    """Whether an event has been lost."""

    def __call__(self, event: Event) -> None:
        try:
            self.emit(event)
        except StreamClosed:
            if not self.lost:
                self.lost = True
                logger.warning(
                    "node %r, step %d, has ended, and a thread of it runs a graph on: nobody gets "
                    "what that graph streams from here on. End the thread before the node returns",
                    self.node,
                    self.step,
                )


@dataclass(eq=False)
class TaskContext:
    """The context of one attempt, for the code that runs in the attempt."""

    request: AttemptRequest
    run: RunInfo
    emit: EmitEvent
    config: dict[str, Any]
    writer: Callable[[Any], None]
    store: Any
    control: RunControl | None = None
    heartbeat: Callable[[], None] = no_heartbeat
    """Function by which the code reports progress."""
    started_at: float | None = None
    """Seconds since the epoch."""
    previous: Any = None
    """Value that the thread's last run saved as ``previous`` (functional API)."""
    calls: Calls | None = None
    """The calls of tasks by the code; None if the backend supports no calls here."""
    streamed: set[str] = field(default_factory=set)
    """Ids of the messages that graphs inside the node have streamed."""
    ignored: list[str] = field(default_factory=list)
    """Messages about returned values that are ignored."""
    sent: list[Write] = field(default_factory=list)
    """Writes that code inside the node sent through LangGraph's config keys."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    asked: int = 0
    """How many interrupts the task has raised or got past."""
    resume_values: list[Any] = field(default_factory=list)
    """Resume values of the task's interrupts so far, including those of earlier runs."""
    taken: set[str] = field(default_factory=set)
    """Interrupt ids whose resume values were read by graphs that the task's code invokes."""
    null_resume: list[Any] = field(default_factory=list)
    """The resume value without an interrupt id, if any; the task's next interrupt takes it."""
    children: Iterator[int] = field(default_factory=itertools.count)
    """Numbers the graphs that the node invokes itself: each streams under its own namespace.

    Those of the parts of one node take turns, so that no two have the same.
    """
    over: bool = False
    """Whether the attempt's code has ended: its config leads to it no longer."""
    adopt: Callable[[TaskContext], None] | None = None
    """Completes the config when the node's code is the first to import LangChain."""

    @cached_property
    def pass_on(self) -> PassesOn:
        """Emits events of graphs that the code runs."""
        return PassesOn(self.emit, self.request.node, self.request.step)

    @cached_property
    def runtime(self) -> Runtime[Any]:
        """The runtime that the code receives. Few nodes ask for it."""
        return Runtime(
            context=self.run.context,
            store=self.store,
            stream_writer=self.writer,
            previous=self.previous,
            heartbeat=self.heartbeat,
            execution_info=ExecutionInfo(**self.position()),
            server_info=server_info(self.run.shared.configurable),
            control=self.control,
        )

    def position(self) -> dict[str, Any]:
        """Return the fields of ``ExecutionInfo``."""
        request, shared = self.request, self.run.shared
        standing, thread_id = request.standing, shared.configurable.get("thread_id")
        return {
            "checkpoint_id": "" if standing is None else standing.checkpoint_id,
            "checkpoint_ns": request.task_ns,
            "task_id": request.task_id,
            "thread_id": None if thread_id is None else str(thread_id),
            "run_id": shared.run_id,
            "node_attempt": request.tries,
            "node_first_attempt_time": request.first_attempt_at or self.started_at,
        }

    @property
    def error(self) -> NodeError | None:
        """The failure that an error handler handles; None for other nodes."""
        failed = self.request.failed
        return None if failed is None else NodeError(failed.node, rebuild_error(failed.error))

    @property
    def task_ns(self) -> str:
        """Checkpoint namespace of the task."""
        return self.request.task_ns

    def call(
        self,
        callee: Callee,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        callbacks: Any = None,
    ) -> Any:
        """Call a task from the code of the attempt, and return the future of its result.

        ``callbacks`` are those of the code that calls; by default, those of the attempt.

        Raises:
            UnsupportedError: What runs the attempt takes no calls.
        """
        if self.calls is None:
            raise UnsupportedError(
                f"node {self.request.node!r} called task {callee.name!r}, but what runs the node "
                "takes no calls"
            )
        callbacks = callbacks or self.config["callbacks"]
        heard = bool(getattr(callbacks, "handlers", ()))
        around = str(callbacks.parent_run_id) if heard else None
        return self.calls.call(callee, tuple(args), kwargs, around)

    def interrupt(self, value: Any, schema: Any) -> Any:
        """Return the resume value for the task's next ``interrupt()``, or raise."""
        return interrupts.resume_value(self, value, schema)

    def next_interrupt(self) -> int:
        """Return the number of the task's next interrupt, from 0."""
        number = next(self._numbers)  # atomic: a node may ask in several threads
        self.asked = number + 1
        return number

    @property
    def null_resume_taken(self) -> bool:
        """Whether the task, or a graph that its code invoked, took the resume value that was given
        without an id. It is for one interrupt."""
        standing = self.request.standing
        if standing is None:
            return False
        if standing.null_resume:
            return not self.null_resume
        return standing.matched_id is not None and (
            standing.matched_id in self.taken
            or (
                0 < len(standing.resume_values) <= self.asked
                and standing.matched_id in interrupts.ids_answered(self)
            )
        )

    def take_null_resume(self) -> None:
        """Note that a graph which the task's code invoked took that resume value."""
        self.null_resume.clear()
        standing = self.request.standing
        if standing is not None and standing.matched_id is not None:
            self.taken.add(standing.matched_id)

    def child_namespace(self) -> tuple[str, ...]:
        """Return the namespace of the next graph that the node invokes."""
        number = next(self.children)
        own = tuple(self.task_ns.split(NS_SEP))
        return own if number == 0 else (*own, str(number))


def active_task(config: Mapping[str, Any] | None = None) -> TaskContext | None:
    """Return the attempt that this code runs in, None outside of a run.

    ``config`` leads to it in a thread that has not the context of its node.
    """
    task = active(config)
    assert task is None or isinstance(task, TaskContext)
    return task


def current_task(function: str) -> TaskContext:
    """Return the attempt that this code runs in.

    Raises:
        RuntimeError: The code runs outside of a run; the error names ``function``.
    """
    task = current_or_error(function)
    assert isinstance(task, TaskContext)
    return task


def build_context(
    request: AttemptRequest,
    run: RunInfo,
    emit: EmitEvent,
    *,
    store: Any,
    callbacks: Any,
    progress: Progress | None = None,
    control: RunControl | None = None,
    spec: GraphSpec | None = None,
    started_at: float | None = None,
) -> TaskContext:
    """Return the context of an attempt.

    ``callbacks`` join the caller's own. ``spec`` is the node's graph.
    """
    checkpoint_ns = request.task_ns
    ns = request.ns
    within = request.called is not None or request.failed is not None
    shared, stream = run.shared, run.shared.stream
    if within and stream.subgraphs:  # as LangGraph: within its caller, or what it handles
        ns = tuple(checkpoint_ns.split(NS_SEP))[:-1]
    streamed = "custom" in stream.modes and wants(stream, request)

    def write(payload: Any) -> None:
        if streamed:
            emit(Event(ns, "custom", payload))
        elif progress is not None:
            progress.beat_own()

    beat = None if progress is None else progress.heartbeat
    standing = request.standing
    around = active_task()
    if around is not None:  # a graph that a node invokes uses the store of the graph around it
        store = around.store
    tags: tuple[str, ...] = ()
    values: Mapping[str, Any] = {}
    if spec is not None:
        of_node = spec.nodes.get(request.node)
        tags, values = spec.tags if of_node is None else of_node.tags, spec.configurable
    # as in LangGraph, a config without tags has no such key
    tagged: dict[str, Any] = {"tags": [*shared.tags, *tags]} if shared.tags or tags else {}
    task_id = TaskId(request.task_id)
    config: dict[str, Any] = {
        **tagged,
        "metadata": dict(request.metadata),
        "callbacks": callbacks,
        "configurable": {
            **values,
            **shared.configurable,
            "checkpoint_id": None,
            "checkpoint_ns": checkpoint_ns,
            TASK_ID: task_id,
        },
    }
    # as in LangGraph, the default is not passed on: a graph that the node calls has its own
    if not isinstance(shared.recursion_limit, DefaultRecursionLimit):
        config["recursion_limit"] = shared.recursion_limit
    limit = shared.max_concurrency or (None if spec is None else spec.max_concurrency)
    if limit is not None:
        config["max_concurrency"] = limit
    task = TaskContext(
        request,
        run,
        emit,
        config,
        write,
        store,
        control,
        no_heartbeat if beat is None else beat,
        started_at,
        previous=request.state.get(PREVIOUS),
        resume_values=_resume_values_of(request, checkpoint_ns),
        null_resume=[] if standing is None else list(standing.null_resume),
        children=itertools.count(*request.part),
    )
    task_id.attempt = weakref.ref(task)
    return task


def _resume_values_of(request: AttemptRequest, ns: str) -> list[Any]:
    """Return the known resume values of the task's interrupts."""
    if request.standing is None:
        return []
    answers = list(request.standing.resume_values)
    if request.part[1] > 1:  # a part's interrupts take resume values by id
        ids = (interrupts.part_interrupt_id(request, ns, number) for number in itertools.count())
        known = request.standing.resume_map
        answers = [known[i] for i in itertools.takewhile(known.__contains__, ids)]
    return answers


def wants(stream: StreamRequest, request: AttemptRequest) -> bool:
    """Whether events of this task's graph are streamed."""
    return stream.subgraphs or not request.graph_path


class entered:
    """Makes a task the current one in a block, for us, for log records and for LangChain."""

    __slots__ = ("_around", "_driven", "_outer", "_task", "_token")

    def __init__(self, task: TaskContext) -> None:
        self._task = task

    def __enter__(self) -> None:
        self._driven = driver_fields.set(None)
        self._token = current.set(self._task)
        self._around = config_variable()
        if self._around is early:
            begun_before.add(self._task)
        self._outer = self._around.set(self._task.config)

    def __exit__(self, *exc_info: object) -> None:
        self._task.over = True
        self._around.reset(self._outer)
        begun_before.discard(self._task)
        current.reset(self._token)
        driver_fields.reset(self._driven)


def within(task: TaskContext | None, call: Callable[[], _T]) -> _T:
    """Make a call with ``task`` as the current one, if it is not: a config has led to it."""
    if task is None or current.get() is task:
        return call()
    context = contextvars.copy_context()
    context.run(current.set, task)
    return context.run(call)


def base_config(task: TaskContext | None) -> Mapping[str, Any] | None:
    """Return the config that a graph invoked by the current code inherits; None if there is none.

    With LangChain, the config of the innermost chain or node, from LangChain's context variable.
    Without LangChain, the config of ``task``.
    """
    config: Mapping[str, Any] | None = config_around()
    if config is None and task is not None:
        config = task.config
    return config
