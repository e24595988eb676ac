"""Running one attempt of a node: the same code in a Ray worker, a thread and a coroutine."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from distgraph._keys import NS_SEP
from distgraph.channels.base import BaseChannel
from distgraph.engine.outputs import read_value, read_values
from distgraph.engine.spec import GraphProgram, NodeProgram, Write
from distgraph.errors import GraphBubbleUp, GraphInterrupt, NodeFailed, ParentCommand
from distgraph.interop import own, own_bubble
from distgraph.serde.exceptions import ShippedError
from distgraph.streaming.envelope import Event, Segment
from distgraph.types import Command
from distgraph.worker.callbacks import attempt_callbacks
from distgraph.worker.context import TaskContext, build_context, entered
from distgraph.worker.forward import node_manager
from distgraph.worker.protocol import AttemptOutcome, AttemptRequest, RunInfo

HOST = socket.gethostname()
T = TypeVar("T")

_PATIENCE = 0.1
"""Seconds that a cancelled coroutine has to end."""


class AttemptStream(Protocol):
    """Where an attempt's events go."""

    def emit(self, event: Event) -> None:
        """Publish one event, from any thread; may wait while the stream is full."""

    def close(self) -> tuple[int, Sequence[Segment]]:
        """Return how many events were emitted, and those not sent yet. Ends the stream."""


@dataclass(frozen=True, slots=True)
class LocatedNode:
    """A node of a program, found by a request's path."""

    graph: GraphProgram
    program: NodeProgram

    def needs_loop(self, request: AttemptRequest) -> bool:
        """Whether the attempt awaits anything."""
        if request.is_async and request.kind != "writers":
            return True
        return request.kind != "part" and any(w.is_async for w in self.program.writers)


def locate(program: GraphProgram, request: AttemptRequest) -> LocatedNode:
    """Return the node that a request is for."""
    graph = program
    for name in request.graph_path:
        graph = graph.subgraphs[name]
    return LocatedNode(graph, graph.nodes[request.node])


def run_sync(
    program: GraphProgram, request: AttemptRequest, run: RunInfo, stream: AttemptStream
) -> AttemptOutcome:
    """Run an attempt of a node that awaits nothing, in this thread."""
    node = locate(program, request)
    return _without_loop(_attempt(node, program.store, request, run, stream))


async def run_async(
    program: GraphProgram, request: AttemptRequest, run: RunInfo, stream: AttemptStream
) -> AttemptOutcome:
    """Run an attempt on the running event loop. A synchronous node goes to a thread."""
    node = locate(program, request)
    steps = _attempt(node, program.store, request, run, stream, on_loop=True)
    if request.timeout is None:
        return await steps

    def late(outcome: AttemptOutcome) -> AttemptOutcome:
        return replace(outcome, status="timeout", error=None, writes=())

    attempt = asyncio.ensure_future(steps)
    try:
        await asyncio.wait({attempt}, timeout=request.timeout)
        if attempt.done():
            return attempt.result()
        attempt.cancel()
        await asyncio.wait({attempt}, timeout=_PATIENCE)
        # one that does not let itself be cancelled is left behind
        return timed_out(request, stream) if not attempt.done() else late(attempt.result())
    except asyncio.CancelledError:
        attempt.cancel()
        raise


def timed_out(request: AttemptRequest, stream: AttemptStream) -> AttemptOutcome:
    """Return the outcome of an attempt that is left behind; what it emits later is refused."""
    published, tail = stream.close()
    return AttemptOutcome(
        task_id=request.task_id,
        attempt=request.attempt,
        status="timeout",
        published=published,
        tail=tuple(tail),
        host=HOST,
        pid=os.getpid(),
    )


def _without_loop(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends: one body of code serves sync and async."""
    told = RuntimeError("a synchronous node awaited something; declare it with `async def`")
    try:
        steps.send(None)
        steps.throw(told)  # where it waits: there it is the node's failure, and has an outcome
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    steps.close()
    raise told


async def _attempt(
    node: LocatedNode,
    store: Any,
    request: AttemptRequest,
    run: RunInfo,
    stream: AttemptStream,
    *,
    on_loop: bool = False,
) -> AttemptOutcome:
    started_at, clock = time.time(), time.perf_counter()
    result: dict[str, Any]
    seen: frozenset[str] = frozenset()
    try:
        callbacks = attempt_callbacks(request, run, stream.emit)
        task = build_context(request, run, stream.emit, store=store, callbacks=callbacks.handlers)
        with entered(task):
            try:
                result = await _outcome(node, task, on_loop)
            finally:
                seen = callbacks.seen() | task.streamed
    except asyncio.CancelledError:
        result = {"status": "cancelled"}
    except KeyboardInterrupt:  # how Ray cancels a running task
        result = {"status": "cancelled"}
    except SystemExit as leave:
        # it would end the worker, and reach the caller as the death of a machine
        told = NodeFailed(
            f"node {request.node!r} called sys.exit({leave.code!r}); raise an exception instead",
            "SystemExit",
        )
        result = {"status": "error", "error": _ship(told, request)}
    except BaseException as error:
        result = {"status": "error", "error": _ship(error, request)}
    published, tail = stream.close()
    return AttemptOutcome(
        task_id=request.task_id,
        attempt=request.attempt,
        published=published,
        tail=tuple(tail),
        message_ids=seen,
        host=HOST,
        pid=os.getpid(),
        started_at=started_at,
        duration=time.perf_counter() - clock,
        **result,
    )


def _ship(error: BaseException, request: AttemptRequest) -> ShippedError:
    where = (
        f"node {request.node!r}, step {request.step}, attempt {request.attempt}, "
        f"on host {HOST}, process {os.getpid()}"
    )
    during = f"During task with name {request.node!r} and id {request.task_id!r}"
    return ShippedError.capture(error, note_lines=(during, where))


async def _outcome(node: LocatedNode, task: TaskContext, on_loop: bool) -> dict[str, Any]:
    try:
        if task.request.kind == "part":
            value = await _part(node, task, on_loop)
            sent = tuple((channel, own(write)) for channel, write in task.sent)
            return {"status": "ok", "value": value, "writes": sent}
        if task.request.kind == "writers":
            value = task.request.input
        else:
            try:
                value = await _call(node, task, on_loop)
            except ParentCommand as bubble:
                # a graph that the node invoked itself addressed its parent: that is this node
                command = bubble.command
                value = Command(update=command.update, goto=command.goto)
        writes: list[Write] = []
        try:
            await _write(node, task, value, writes)
        except GraphBubbleUp:
            raise
        except Exception as error:
            return {
                "status": "error",
                "error": _ship(error, task.request),
                "writes": tuple(writes),
            }
        return {"status": "ok", "writes": tuple(writes)}
    except ParentCommand as bubble:
        return {"status": "command", "value": bubble.command}
    except GraphInterrupt as stop:
        return {"status": "interrupt", "interrupts": stop.interrupts}


async def _call(node: LocatedNode, task: TaskContext, on_loop: bool) -> Any:
    value = node_input(node, task.request)
    if node.program.bound is None:
        return value
    with _understood(), _reported(task, value) as report:
        result = await _bound(node.program, task, value, on_loop)
        report(result)
    return result


async def _part(node: LocatedNode, task: TaskContext, on_loop: bool) -> Any:
    request, part = task.request, node.program.part
    assert part is not None
    state = None if request.reads is None else node_input(node, request)
    with _understood(), _reported(task, request.input) as report:
        if on_loop and not request.is_async:
            result = await asyncio.to_thread(part, request.input, state, task)
        else:
            result = part(request.input, state, task)
            result = await result if inspect.isawaitable(result) else result
        report(result)
    return result


async def _bound(program: NodeProgram, task: TaskContext, value: Any, on_loop: bool) -> Any:
    assert program.bound is not None
    if on_loop and not program.is_async:
        return await asyncio.to_thread(program.bound, value, task)
    result = program.bound(value, task)
    return await result if inspect.isawaitable(result) else result


@contextmanager
def _understood() -> Iterator[None]:
    """Turn an interrupt, or a command to the parent, that LangGraph's code raised into ours."""
    try:
        yield
    except Exception as error:
        bubble = own_bubble(error)
        if bubble is None:
            raise
        raise bubble from error


@contextmanager
def _reported(task: TaskContext, value: Any) -> Iterator[Callable[[Any], object]]:
    """Tell the callbacks, if there are any, of the node as a run of its own.

    What the node calls with a config of its own making inherits tags and metadata from that run.
    """
    if not task.config["callbacks"]:
        yield lambda result: None
        return
    run = node_manager(
        task.config["callbacks"], task.request, task.run.run_id, task.run.tags, value
    )
    task.config["callbacks"] = run.get_child("seq:step:1")
    try:
        yield run.on_chain_end
    except BaseException as error:
        run.on_chain_error(error)
        raise


def node_input(node: LocatedNode, request: AttemptRequest) -> Any:
    """Return what the node's function is called with."""
    reads = request.reads
    if reads is None:
        return request.input
    given = {**request.state, **request.managed}
    if isinstance(reads, str):
        value = given.get(reads)
    else:
        value = {key: given[key] for key in reads if key in given}
    mapper = node.graph.spec.nodes[request.node].mapper
    return value if mapper is None else mapper(value)


async def _write(node: LocatedNode, task: TaskContext, value: Any, writes: list[Write]) -> None:
    """Append what the node's writers make of ``value``, as far as they come."""
    writes.extend((channel, own(sent)) for channel, sent in task.sent)
    read = _reader(node.graph, task.request, writes)
    with _understood():
        for writer in node.program.writers:
            if writer.is_async:
                writes.extend(await writer.acall(value, read, task))
            else:
                writes.extend(writer(value, read, task))


def _reader(
    graph: GraphProgram, request: AttemptRequest, writes: Sequence[Write]
) -> Callable[[Sequence[str] | str], Any]:
    """Return what conditional edges read the state with: the node's own writes are applied."""

    def read(keys: Sequence[str] | str) -> Any:
        wanted = (keys,) if isinstance(keys, str) else tuple(keys)
        managed = {key: request.managed[key] for key in wanted if key in request.managed}
        if isinstance(keys, str) and keys in managed:
            return managed[keys]
        channels = {
            key: _with_writes(graph.spec.channels[key], key, request.state, writes)
            for key in wanted
            if key not in managed
        }
        if isinstance(keys, str):
            return read_value(channels, keys)
        return {**read_values(channels, list(channels)), **managed}

    return read


def _with_writes(
    template: BaseChannel, key: str, state: Mapping[str, Any], writes: Sequence[Write]
) -> BaseChannel:
    channel = template.copy()
    if key in state:
        channel = channel.from_checkpoint(state[key])
        if not channel.is_available():
            channel.update([state[key]])
    own = [v for c, v in writes if c == key]
    if own:
        channel.update(own)
    return channel


def task_namespace(request: AttemptRequest) -> tuple[str, ...]:
    """Return the namespace that a subgraph inside the task would have."""
    return tuple(str(request.metadata["langgraph_checkpoint_ns"]).split(NS_SEP))
