"""What surrounds a node while it runs: config, writer and runtime, found by context variable."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from distgraph._keys import NS_SEP, PREVIOUS, TASK_ID
from distgraph._loaded import loaded
from distgraph.engine.ids import interrupt_id
from distgraph.engine.spec import PART, Write
from distgraph.errors import NodeError
from distgraph.runtime import ExecutionInfo, RunControl, Runtime, server_info
from distgraph.streaming.envelope import Event
from distgraph.types import Interrupt
from distgraph.worker.protocol import AttemptRequest, RunInfo, StreamRequest

if TYPE_CHECKING:
    from distgraph.worker.calls import Calls
    from distgraph.worker.deadline import Clock

EmitEvent = Callable[[Event], None]


@dataclass(eq=False)
class TaskContext:
    """One attempt, as the code inside it sees it."""

    request: AttemptRequest
    run: RunInfo
    emit: EmitEvent
    config: dict[str, Any]
    writer: Callable[[Any], None]
    store: Any
    runtime: Runtime[Any]
    previous: Any = None
    """What the last run of the thread left for this one (functional API)."""
    calls: Calls | None = None
    """By which the code calls tasks; None where what runs it takes no calls."""
    streamed: set[str] = field(default_factory=set)
    """Ids of the messages that graphs inside the node have streamed."""
    sent: list[Write] = field(default_factory=list)
    """Writes that code inside the node made by itself, in LangGraph's way."""
    asked: Iterator[int] = field(default_factory=itertools.count)
    """Numbers the questions of the task."""
    answers: list[Any] = field(default_factory=list)
    """Answers to its questions so far, those of earlier runs included."""
    spare: list[Any] = field(default_factory=list)
    """An answer to its next question that was given without an id."""
    children: Iterator[int] = field(default_factory=itertools.count)
    """Numbers the graphs that the node invokes itself: each streams under its own namespace.

    Those of the parts of one node take turns, so that no two have the same.
    """

    @property
    def error(self) -> NodeError | None:
        """What an error handler is to handle."""
        failed = self.request.failed
        return None if failed is None else NodeError(failed.node, failed.error.rebuild())

    @property
    def task_ns(self) -> str:
        """Checkpoint namespace of the task."""
        return str(self.request.metadata["langgraph_checkpoint_ns"])

    def child_namespace(self) -> tuple[str, ...]:
        """Return the namespace of the next graph that the node invokes."""
        number = next(self.children)
        own = tuple(self.task_ns.split(NS_SEP))
        return own if number == 0 else (*own, str(number))


_current: ContextVar[TaskContext | None] = ContextVar("distgraph_task", default=None)


def active_task() -> TaskContext | None:
    """Return the attempt that this code runs in, None outside of a run."""
    return _current.get()


def current_task(asked_by: str) -> TaskContext:
    """Return the attempt that this code runs in.

    Raises ``RuntimeError``, naming the function that asked, outside of a run.
    """
    task = _current.get()
    if task is None:
        raise RuntimeError(
            f"{asked_by}() was called outside of a distgraph run. It works inside a node, in what "
            "the node calls, and in threads that copied the node's context: start those with "
            "contextvars.copy_context().run(...) or asyncio.to_thread(...), or pass the value in"
        )
    return task


def build_context(
    request: AttemptRequest,
    run: RunInfo,
    emit: EmitEvent,
    *,
    store: Any,
    callbacks: Any,
    clock: Clock | None = None,
    control: RunControl | None = None,
    started_at: float | None = None,
) -> TaskContext:
    """Return the context of an attempt. ``callbacks`` join the caller's own."""
    checkpoint_ns = str(request.metadata["langgraph_checkpoint_ns"])
    ns = request.ns
    within = request.called is not None or request.failed is not None
    if within and run.stream.subgraphs:  # as LangGraph: within its caller, or what it handles
        ns = tuple(checkpoint_ns.split(NS_SEP))[:-1]
    streamed = "custom" in run.stream.modes and wants(run.stream, request)

    def write(payload: Any) -> None:
        if streamed:
            emit(Event(ns, "custom", payload))
        elif clock is not None and clock.listens:
            clock.beat()

    beats: dict[str, Any] = {}
    if clock is not None and clock.heartbeat is not None:
        beats["heartbeat"] = clock.heartbeat

    standing = request.standing
    previous = request.state.get(PREVIOUS)
    thread_id = run.configurable.get("thread_id")
    around = _current.get()
    if around is not None:  # a graph that a node invokes uses the store of the graph around it
        store = around.store
    runtime: Runtime[Any] = Runtime(
        context=run.context,
        store=store,
        stream_writer=write,
        previous=previous,
        execution_info=ExecutionInfo(
            checkpoint_id="" if standing is None else standing.checkpoint_id,
            checkpoint_ns=checkpoint_ns,
            task_id=request.task_id,
            thread_id=None if thread_id is None else str(thread_id),
            run_id=run.run_id,
            node_attempt=request.tries,
            node_first_attempt_time=request.first_attempt_at or started_at,
        ),
        server_info=server_info(run.configurable),
        control=control,
        **beats,
    )
    config: dict[str, Any] = {
        "tags": list(run.tags),
        "metadata": dict(request.metadata),
        "callbacks": callbacks,
        "recursion_limit": run.recursion_limit,
        "configurable": {
            **run.configurable,
            "checkpoint_ns": checkpoint_ns,
            TASK_ID: request.task_id,
        },
    }
    if run.max_concurrency is not None:
        config["max_concurrency"] = run.max_concurrency
    task = TaskContext(
        request,
        run,
        emit,
        config,
        write,
        store,
        runtime,
        previous=previous,
        answers=_answers(request, checkpoint_ns),
        spare=[] if standing is None else list(standing.spare),
        children=itertools.count(*request.part),
    )
    if "langchain_core.runnables.config" in sys.modules:  # where LangGraph looks for its run
        from distgraph.langgraphs.config import offer

        offer(task)
    return task


def _answers(request: AttemptRequest, ns: str) -> list[Any]:
    """Return the answers to the task's questions, as far as they are known."""
    if request.standing is None:
        return []
    answers = list(request.standing.answers)
    if request.part[1] > 1:  # a part's questions are answered by id
        ids = (part_question(request, ns, number) for number in itertools.count())
        known = request.standing.by_id
        answers = [known[i] for i in itertools.takewhile(known.__contains__, ids)]
    return answers


def part_question(request: AttemptRequest, ns: str, number: int) -> str:
    """Return the id of a part's question: each part of a node's work has questions of its own."""
    return interrupt_id(f"{ns}{PART}{request.task_id.rsplit(PART, 1)[1]}", number)


def questions_of(task: TaskContext, interrupts: Sequence[Interrupt]) -> tuple[Interrupt, ...]:
    """Return the questions that an attempt ended with.

    LangGraph's ``interrupt`` takes every part of a node's work for the whole: ids become its own.
    """
    request, answered = task.request, len(task.answers)
    if request.part[1] == 1:
        return tuple(interrupts)
    shared = {interrupt_id(task.task_ns, number) for number in range(answered + 1)}
    own = part_question(request, task.task_ns, answered)
    return tuple(replace(i, id=own) if i.id in shared else i for i in interrupts)


def wants(stream: StreamRequest, request: AttemptRequest) -> bool:
    """Whether events of this task's graph are streamed at all."""
    return stream.subgraphs or not request.graph_path


@contextmanager
def entered(task: TaskContext) -> Iterator[None]:
    """Make ``task`` the current one, for us and, where it is loaded, for LangChain."""
    token = _current.set(task)
    around = loaded("langchain_core.runnables.config", "var_child_runnable_config")
    outer = None if around is None else around.set(task.config)
    try:
        yield
    finally:
        if around is not None:
            around.reset(outer)
        _current.reset(token)


def base_config(task: TaskContext) -> Mapping[str, Any]:
    """Return what a graph invoked inside ``task`` inherits of its config."""
    own = {k: v for k, v in task.config.items() if k != "callbacks"}
    own["metadata"] = {
        k: v for k, v in task.config["metadata"].items() if not k.startswith("langgraph_")
    }
    return own
