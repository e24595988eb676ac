"""Running one attempt of a node: the same code in a Ray worker, a thread and a coroutine."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from distgraph._internal.blocks import within_all
from distgraph._internal.keys import RESUME
from distgraph._internal.mistakes import warn_once
from distgraph.concurrency.interrupting import Terminated
from distgraph.concurrency.threads import in_thread
from distgraph.contract.attempt import (
    NO_IDS,
    AttemptOutcome,
    AttemptRequest,
    Lateness,
    RunInfo,
)
from distgraph.contract.failure import ShippedError
from distgraph.contract.progress import PROGRESS_MODE, AttemptStarted
from distgraph.contract.retries import verdicts_on
from distgraph.contract.spec import GraphProgram, NodeProgram, Write, is_awaited
from distgraph.contract.stream import Event, Segment
from distgraph.errors import (
    GraphBubbleUp,
    GraphDrained,
    GraphInterrupt,
    ParentCommand,
    cancelled_itself,
)
from distgraph.interop import own, own_bubble
from distgraph.serde.exceptions import capture_error
from distgraph.spans import NO_SPAN, AttemptSpan, NoSpan
from distgraph.types import Command
from distgraph.worker import langgraph_config
from distgraph.worker.branch_state import reader_of
from distgraph.worker.callbacks import attempt_callbacks
from distgraph.worker.calls import Calls
from distgraph.worker.context import TaskContext, build_context, entered
from distgraph.worker.control import AttemptControl
from distgraph.worker.cpu_time import CpuTime
from distgraph.worker.deadline import (
    Clock,
    left_behind,
    main_thread,
    run_abandonably,
    run_interruptibly,
)
from distgraph.worker.forward import unheard_callbacks
from distgraph.worker.interrupts import interrupts_of
from distgraph.worker.left_runs import until_cancelled
from distgraph.worker.listeners import Hook, configured
from distgraph.worker.located import LocatedNode, locate, node_input
from distgraph.worker.messages import other_messages
from distgraph.worker.node_run import NodeRun, reported
from distgraph.worker.progress import Progress
from distgraph.worker.sequences import steps_of
from distgraph.worker.surroundings import surrounded

logger = logging.getLogger("distgraph")

HOST = socket.gethostname()
T = TypeVar("T")

_PATIENCE = 0.1
"""Seconds that a cancelled coroutine has to end."""


class AttemptStream(Protocol):
    """Where an attempt's events go."""

    def emit(self, event: Event) -> None:
        """Publish one event, from any thread; may wait while the stream is full."""

    def emitted(self) -> int:
        """Return how many events were emitted."""

    def close(self, *, unconfirmed: bool = False) -> tuple[int, Sequence[Segment]]:
        """Return how many events were emitted, and those not sent yet. Ends the stream.

        ``unconfirmed``: return also those that were sent and may not have arrived.
        """


def run_sync(
    program: GraphProgram,
    request: AttemptRequest,
    run: RunInfo,
    stream: AttemptStream,
    calls: Calls | None = None,
    *,
    node: LocatedNode | None = None,
    alone: bool = False,
    limited: Callable[[Clock], object] | None = None,
) -> AttemptOutcome:
    """Run an attempt of a node that awaits nothing, in this thread or, in a limited time, beside.

    ``node``: the node, where it has been located.
    ``alone``: this is the main thread of a process that has nothing else to do: a node that takes
    too long is interrupted, and ends with the process if that does not help.
    ``limited`` is called with the clock of an attempt that is limited in time, before it starts.
    """
    node = node or locate(program, request)
    clock = Clock.of(request)
    if clock is not None and limited is not None:
        limited(clock)

    def attempt() -> AttemptOutcome:
        steps = _attempt(node, program.store, request, run, stream, calls, clock)
        return _without_loop(steps)

    if clock is None:
        if not alone:
            return attempt()
        result, _ = main_thread.run(attempt)
        return _cancelled(request, stream) if result is None else result
    if not alone:
        left = run_abandonably(attempt, clock, stream.close)
        return timed_out(request, stream, clock.late) if left is None else left
    outcome, interrupted = run_interruptibly(attempt, clock)
    if outcome is None or (interrupted and outcome.status == "cancelled"):
        return timed_out(request, stream, clock.late)
    return outcome


async def run_async(
    program: GraphProgram,
    request: AttemptRequest,
    run: RunInfo,
    stream: AttemptStream,
    calls: Calls | None = None,
    *,
    node: LocatedNode | None = None,
    limited: Callable[[Clock], object] | None = None,
) -> AttemptOutcome:
    """Run an attempt on the running event loop. A synchronous node goes to a thread.

    ``node``: the node, where it has been located.
    ``limited`` is called with the clock of an attempt that is limited in time, before it starts.
    """
    node = node or locate(program, request)
    clock = Clock.of(request)
    if clock is not None and limited is not None:
        limited(clock)
    steps = _attempt(node, program.store, request, run, stream, calls, clock, on_loop=True)
    if clock is None:
        return await steps

    attempt = asyncio.ensure_future(steps)
    try:
        while not attempt.done() and (left := clock.left()) > 0:
            await asyncio.wait({attempt}, timeout=left)
        if attempt.done():
            return attempt.result()
        attempt.cancel()
        await asyncio.wait({attempt}, timeout=_PATIENCE)
        if not attempt.done():  # one that does not let itself be cancelled is left behind
            left_behind.add(attempt)
            attempt.add_done_callback(left_behind.discard)
            return timed_out(request, stream, clock.late)
        outcome = attempt.result()
        return replace(outcome, status="timeout", error=None, writes=(), late=clock.late)
    except asyncio.CancelledError:
        attempt.cancel()
        await asyncio.wait({attempt})
        raise


def timed_out(
    request: AttemptRequest, stream: AttemptStream, late: Lateness | None = None
) -> AttemptOutcome:
    """Return the outcome of an attempt that is left behind; what it emits later is refused."""
    return replace(_cancelled(request, stream), status="timeout", late=late)


def _cancelled(request: AttemptRequest, stream: AttemptStream) -> AttemptOutcome:
    published, tail = stream.close()
    return AttemptOutcome(
        task_id=request.task_id,
        attempt=request.attempt,
        status="cancelled",
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
    calls: Calls | None,
    clock: Clock | None,
    *,
    on_loop: bool = False,
) -> AttemptOutcome:
    started_at, began = time.time(), time.perf_counter()
    cpu = CpuTime(on_loop=on_loop)
    ending: _Ending
    seen = NO_IDS
    task: TaskContext | None = None
    control = AttemptControl(run.control, request.drain)
    span = NO_SPAN if request.trace is None else _span(request, request.trace)
    try:
        if PROGRESS_MODE in run.shared.stream.modes:
            begun = AttemptStarted(*request.attempt_id, HOST, os.getpid(), started_at)
            stream.emit(Event(request.ns, PROGRESS_MODE, begun))
        progress = Progress(request, clock, None if calls is None else calls.report)
        emit = progress.watching(stream.emit)
        if on_loop:
            emit = until_cancelled(emit, partial(_goes_on, request))
        callbacks = attempt_callbacks(request, run, emit, progress)
        task = build_context(
            request,
            run,
            emit,
            store=store,
            callbacks=callbacks.handlers,
            progress=progress,
            control=control,
            spec=node.graph.spec,
            started_at=started_at,
        )
        langgraph_config.offer(task)
        task.adopt = _adopt
        task.calls = calls
        if calls is not None:
            calls.emitted = stream.emitted
        with within_all(_surroundings(run, span, callbacks.hooks)), entered(task):
            if clock is not None:
                clock.start()
            progress.begin()
            try:
                ending = await _ending_of(node, task, on_loop)
            finally:
                if callbacks.capture is not None or task.streamed:
                    seen = callbacks.seen() | task.streamed
    except asyncio.CancelledError as error:
        ending = _cancellation(error, request, on_loop)
    except KeyboardInterrupt as error:
        # how Ray cancels a running task: nobody waits for it then, else the node raised it
        ending = _Ending("cancelled", error=_ship(error, request))
    except Terminated:
        raise
    except BaseException as error:  # SystemExit too: it is not to end the worker
        ending = _failure(error, node, request)
    if span is not NO_SPAN:
        span.end(ending.status, _what(ending.error))
    if calls is not None:
        calls.close()
    control.close()
    # the code that called this task may go on as soon as it has the outcome
    published, tail = stream.close(unconfirmed=request.called is not None)
    return AttemptOutcome(
        task_id=request.task_id,
        attempt=request.attempt,
        status=ending.status,
        writes=ending.writes,
        calls=0 if calls is None else calls.made,
        published=published,
        tail=tuple(tail),
        message_ids=seen,
        host=HOST,
        pid=os.getpid(),
        started_at=started_at,
        duration=time.perf_counter() - began,
        cpu=cpu.end(),
        drain=control.asked_here,
        null_resume_taken=task is not None and task.null_resume_taken,
        ignored=() if task is None else tuple(task.ignored),
        value=ending.value,
        error=ending.error,
        handed=ending.handed,
        verdicts=ending.verdicts,
        interrupts=ending.interrupts,
        resume_values=ending.resume_values,
        messages=ending.messages,
    )


def _surroundings(
    run: RunInfo, span: AttemptSpan | NoSpan, hooks: Sequence[Hook]
) -> list[AbstractContextManager[Any]]:
    """Return what the node's code is to be within; mostly that is nothing."""
    found: list[AbstractContextManager[Any]] = []
    if run.surroundings is not None:
        found.append(surrounded(run.surroundings))
    if span is not NO_SPAN:
        found.append(span.current())
    if (handlers := configured(hooks)) is not None:
        found.append(handlers)
    return found


def _adopt(task: TaskContext) -> None:
    """Complete the config of a task whose code has just imported LangChain."""
    langgraph_config.offer(task)
    if not task.config["callbacks"]:
        info = task.run.shared.callback_info
        task.config["callbacks"] = unheard_callbacks(task.request, lambda: info)


def _goes_on(request: AttemptRequest) -> None:
    logger.warning(
        "node %r, step %d, attempt %d was cancelled, goes on and emits events: they are lost, for "
        "its run has ended. Let CancelledError pass, or end soon behind it",
        request.node,
        request.step,
        request.shown_attempt,
    )


def _what(error: ShippedError | None) -> str | None:
    return None if error is None else f"{error.type_name}: {error.message}"


def _span(request: AttemptRequest, trace: Mapping[str, str]) -> AttemptSpan:
    name = "/".join((*request.graph_path, request.node))
    attributes = {
        "distgraph.node": name,
        "distgraph.attempt": request.shown_attempt,
        "distgraph.task_id": request.task_id,
        "distgraph.kind": request.kind,
    }
    return AttemptSpan(trace, f"node {request.node}", attributes)


class _Ending(NamedTuple):
    """The part of an outcome that the node's code decides; the fields are those of the outcome."""

    status: Literal["ok", "error", "interrupt", "command", "cancelled", "drained"]
    writes: tuple[Write, ...] = ()
    value: Any = None
    error: ShippedError | None = None
    handed: bool = False
    verdicts: tuple[int | None, ...] = ()
    interrupts: tuple[Any, ...] = ()
    resume_values: tuple[Any, ...] = ()
    messages: tuple[Any, ...] | None = None


def _failure(error: BaseException, node: LocatedNode, request: AttemptRequest) -> _Ending:
    """Return the failure part of an outcome; retry policies see the original exception here."""
    verdicts: tuple[int | None, ...] = ()
    if isinstance(error, Exception):
        try:
            verdicts = verdicts_on(node.levels, error)
        except Exception as raised:  # in place of the error, which is its context
            error = raised
    return _Ending("error", error=_ship(error, request), verdicts=verdicts)


def _ship(error: BaseException, request: AttemptRequest) -> ShippedError:
    where = (
        f"node {request.node!r}, step {request.step}, attempt {request.tries}, "
        f"on host {HOST}, process {os.getpid()}"
    )
    during = f"During task with name {request.node!r} and id {request.task_id!r}"
    return capture_error(error, note_lines=(during, where))


def _cancellation(error: asyncio.CancelledError, request: AttemptRequest, on_loop: bool) -> _Ending:
    asked = getattr(asyncio.current_task(), "cancelling", int)() if on_loop else 0
    if asked:  # nobody waits for the error, unless the node cancelled itself
        return _Ending("cancelled")
    raised = cancelled_itself(request.node)
    raised.__cause__ = error
    return _Ending("cancelled", error=_ship(raised, request))


async def _ending_of(node: LocatedNode, task: TaskContext, on_loop: bool) -> _Ending:
    try:
        if task.request.kind == "part":
            value = await _part(node, task, on_loop)
            sent = tuple((c, own(write)) for c, write in task.sent if c != RESUME)
            answers = tuple(task.resume_values)
            return _Ending("ok", sent, value, resume_values=answers)
        writes: list[Write] = []
        returned = await _called(node, task, on_loop, writes)
        if returned.failure is not None:
            return _failure(returned.failure, node, task.request)._replace(writes=tuple(writes))
        messages: tuple[Any, ...] | None = None
        if not returned.handed and "messages" in task.run.shared.stream.modes:
            messages = other_messages(returned.value, [value for _, value in writes])
        return _Ending(
            "ok",
            tuple(writes),
            handed=returned.handed,
            resume_values=tuple(task.resume_values),
            messages=messages,
        )
    except ParentCommand as bubble:
        resume_values = tuple(task.resume_values)
        return _Ending("command", value=bubble.command, resume_values=resume_values)
    except GraphInterrupt as stop:
        asked = interrupts_of(task, stop.interrupts)
        resume_values = tuple(task.resume_values)
        return _Ending("interrupt", interrupts=asked, resume_values=resume_values)
    except GraphDrained as drained:
        resume_values = tuple(task.resume_values)
        return _Ending("drained", value=drained.reason, resume_values=resume_values)


class _Returned(NamedTuple):
    """What a node returned, and how far its writers came."""

    value: Any
    handed: bool = False
    """Whether it is a ``Command`` that a graph inside the node has addressed to it."""
    failure: Exception | None = None
    """Of a writer: a conditional edge of the user's, as a rule."""


async def _called(
    node: LocatedNode, task: TaskContext, on_loop: bool, writes: list[Write]
) -> _Returned:
    """Run the node and then its writers; for callbacks they are parts of the node's run."""
    bound: Any = node.program.bound
    if task.request.kind == "writers" or bound is None:
        goes_on = task.request.kind == "writers"
        known = task.request.input if goes_on else node_input(node, task.request)
        with reported(node, task, known, goes_on=goes_on) as run:
            run.returned = known
            return _Returned(known, failure=await _written(node, task, known, writes, run))
    value = node_input(node, task.request)
    told = value if task.request.called is None else bound.told(value)
    result, failure, done = None, None, False
    try:
        try:
            with reported(node, task, told) as run:
                result = await _bound(node.program, task, value, on_loop)
                done = True
                run.returned = result
                failure = await _written(node, task, result, writes, run)
                if failure is not None:
                    raise failure
        except Exception as error:
            _understand(error)
            raise
    except ParentCommand as bubble:
        own_command = done or not bubble.has_arrived
        if own_command or task.request.called is not None:  # the node's own, or its caller's
            raise
        # a graph that the node invoked itself addressed its parent: that is this node
        command = bubble.command
        handed = Command(update=command.update, goto=command.goto)
        failure = await _written(node, task, handed, writes, NodeRun(None))
        return _Returned(handed, True, failure)
    except Exception as error:
        if error is not failure:
            raise
    return _Returned(result, failure=failure)


async def _written(
    node: LocatedNode, task: TaskContext, value: Any, writes: list[Write], run: NodeRun
) -> Exception | None:
    """Run the node's writers. Return what one of them failed of."""
    try:
        await _write(node, task, value, writes, run)
    except GraphBubbleUp:
        raise
    except Exception as error:
        return error
    return None


async def _part(node: LocatedNode, task: TaskContext, on_loop: bool) -> Any:
    request, part = task.request, node.program.part
    assert part is not None
    state = None if request.reads is None else node_input(node, request)
    goes_on = request.around is not None
    try:
        with reported(node, task, request.input, goes_on=goes_on) as run:
            if on_loop and not request.is_async:
                result = await in_thread(part, request.input, state, task)
            else:
                result = part(request.input, state, task)
                result = await result if inspect.iscoroutine(result) else result
            run.returned = result
    except Exception as error:
        _understand(error)
        raise
    return result


async def _bound(program: NodeProgram, task: TaskContext, value: Any, on_loop: bool) -> Any:
    assert program.bound is not None
    is_async = task.request.is_async
    if on_loop and not is_async:
        return await in_thread(program.bound, value, task)
    form = program.awaited if is_async and program.awaited is not None else program.bound
    try:
        result = form(value, task)
    except StopIteration as stop:  # what LangGraph makes of it, and no coroutine lets through
        raise RuntimeError("generator raised StopIteration") from stop
    # a value may be awaitable itself, as a reference of Ray is: only async code is awaited
    waits = inspect.iscoroutine(result) or (is_async and inspect.isawaitable(result))
    return await result if waits else result


def _understand(error: Exception) -> None:
    """Raise distgraph's interrupt, or command to the parent, for LangGraph's."""
    bubble = own_bubble(error)
    if bubble is not None:
        raise bubble from error


async def _write(
    node: LocatedNode, task: TaskContext, value: Any, writes: list[Write], run: NodeRun
) -> None:
    """Append what the node's writers make of ``value``, as far as they come."""
    # answers that LangGraph's interrupt() was given are among the task's own
    writes += [(channel, own(sent)) for channel, sent in task.sent if channel != RESUME]
    read = reader_of(node.graph, task.request, writes)
    # the node itself is the first step, what it writes and its plain edges are the second
    step = 1 if node.program.bound is None and task.request.kind == "node" else 2
    if run.manager is not None:
        step += len(steps_of(getattr(node.program.bound, "runnable", None))) - 1
    try:
        for writer in node.program.writers:
            if run.manager is not None and getattr(writer, "name", None) is not None:
                step += 1
                task.config["callbacks"] = run.child(step)
            if is_awaited(writer, task.run.shared.awaits):
                writes.extend(await writer.acall(value, read, task))
            else:
                writes.extend(writer(value, read, task))
    except Exception as error:
        _understand(error)
        raise


async def write_as(program: GraphProgram, request: AttemptRequest, run: RunInfo) -> list[Write]:
    """Return what the writers of a node of ``program`` make of ``request.input``.

    That is what the node is to have returned; nothing of it runs but its conditional edges.
    """
    node = LocatedNode(program, program.nodes[request.node])
    task = build_context(
        request, run, lambda event: None, store=program.store, callbacks=[], spec=program.spec
    )
    langgraph_config.offer(task)
    writes: list[Write] = []
    with entered(task):
        await _write(node, task, request.input, writes, NodeRun(None))
    warn_once(task.ignored)
    return writes
