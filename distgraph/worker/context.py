"""What surrounds a node while it runs: config, writer and runtime, found by context variable."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from distgraph._keys import NS_SEP, TASK_ID
from distgraph.engine.spec import Write
from distgraph.runtime import ExecutionInfo, Runtime
from distgraph.streaming.envelope import Event
from distgraph.worker.protocol import AttemptRequest, RunInfo, StreamRequest

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
    streamed: set[str] = field(default_factory=set)
    """Ids of the messages that graphs inside the node have streamed."""
    sent: list[Write] = field(default_factory=list)
    """Writes that code inside the node made by itself, in LangGraph's way."""
    children: Iterator[int] = field(default_factory=itertools.count)
    """Numbers the graphs that the node invokes itself: each streams under its own namespace.

    Those of the parts of one node take turns, so that no two have the same.
    """

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
    request: AttemptRequest, run: RunInfo, emit: EmitEvent, *, store: Any, callbacks: Any
) -> TaskContext:
    """Return the context of an attempt. ``callbacks`` join the caller's own."""
    ns = request.ns
    streamed = "custom" in run.stream.modes and wants(run.stream, request)

    def write(payload: Any) -> None:
        if streamed:
            emit(Event(ns, "custom", payload))

    checkpoint_ns = str(request.metadata["langgraph_checkpoint_ns"])
    thread_id = run.configurable.get("thread_id")
    runtime: Runtime[Any] = Runtime(
        context=run.context,
        store=store,
        stream_writer=write,
        execution_info=ExecutionInfo(
            checkpoint_ns=checkpoint_ns,
            task_id=request.task_id,
            thread_id=None if thread_id is None else str(thread_id),
            run_id=run.run_id,
            node_attempt=request.attempt,
        ),
    )
    config: dict[str, Any] = {
        "tags": list(run.tags),
        "metadata": dict(request.metadata),
        "callbacks": callbacks,
        "recursion_limit": run.recursion_limit,
        "run_name": request.node,
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
        children=itertools.count(*request.part),
    )
    if "langchain_core.runnables.config" in sys.modules:  # where LangGraph looks for its run
        from distgraph.langgraphs.config import offer

        offer(task)
    return task


def wants(stream: StreamRequest, request: AttemptRequest) -> bool:
    """Whether events of this task's graph are streamed at all."""
    return stream.subgraphs or not request.graph_path


@contextmanager
def entered(task: TaskContext) -> Iterator[None]:
    """Make ``task`` the current one, for us and, where it is loaded, for LangChain."""
    token = _current.set(task)
    core = sys.modules.get("langchain_core.runnables.config")
    core_token = None if core is None else core.var_child_runnable_config.set(task.config)
    try:
        yield
    finally:
        if core is not None and core_token is not None:
            core.var_child_runnable_config.reset(core_token)
        _current.reset(token)


def base_config(task: TaskContext) -> Mapping[str, Any]:
    """Return what a graph invoked inside ``task`` inherits of its config."""
    own = {k: v for k, v in task.config.items() if k not in ("callbacks", "run_name")}
    own["metadata"] = {
        k: v for k, v in task.config["metadata"].items() if not k.startswith("langgraph_")
    }
    return own
