"""Attempts of runs in this process: synchronous nodes in threads, async nodes on an event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, partial
from typing import Any, Protocol

from distgraph.backends.base import RunPlan
from distgraph.backends.local_started_runs import KeptStream
from distgraph.backends.local_stream import LocalAttemptStream, LocalStream
from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import DaemonExecutor, daemon, new_loop
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import ProgressMade, StartTask
from distgraph.contract.stream import AttemptId
from distgraph.driver.ports import BackendFailed, DriverEvent, Group, GroupEnded
from distgraph.worker.attempt import run_async, run_sync
from distgraph.worker.calls import Calls
from distgraph.worker.located import locate

__all__ = ("LocalWorkers",)


class AttemptHost(Protocol):
    """The run that attempts belong to, as the attempts see it."""

    @property
    def wanted(self) -> Container[AttemptId]:
        """The attempts whose outcomes are wanted."""

    @property
    def stream(self) -> LocalStream | KeptStream:
        """The stream that attempts emit into."""

    def post(self, event: DriverEvent) -> None:
        """Take news, from any thread."""

    def call(self, call: TaskCall | DroppedCall | ProgressMade) -> None:
        """Take a call that the code of an attempt made, or has cancelled, or that it goes on."""


class _CallPort:
    """The way of a run's attempts to the engine, which is in this process."""

    def __init__(self, run: AttemptHost, workers: LocalWorkers) -> None:
        self.send = run.call
        self.waiting = workers.lend
        self.flush = workers.hand_out

    def ship(self, function: Any) -> tuple[Any, str]:
        return function, f"{id(function):x}"

    def future(self) -> Future[Any]:
        return Future()


class LocalWorkers:
    """Runs attempts in threads, and on an event loop.

    Args:
        run: The run that the attempts belong to.
        plan: What it was asked for.
        loop: The caller's event loop; None for a synchronous caller.
    """

    def __init__(
        self, run: AttemptHost, plan: RunPlan, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._run = run
        self._plan = plan
        self._loop = loop
        self._context = contextvars.copy_context()
        self._pool: DaemonExecutor | None = None
        self._new: deque[Group] = deque()
        """Groups that were submitted: they start behind the news of their admission."""
        self._on_loop: dict[Group, asyncio.AbstractEventLoop] = {}
        self._tasks: dict[Group, asyncio.Future[Any]] = {}
        self._port = _CallPort(run, self)
        self._calls: dict[Group, Calls] = {}
        self._returns: deque[tuple[Group, CallResult]] = deque()
        self._left: deque[Calls] = deque()
        """Calls of attempts that were cancelled: their code is to wait no longer."""

    # --- for the driver -------------------------------------------------------------------------

    def batches(self, start: StartTask) -> bool:
        return False

    def submit(self, groups: Sequence[Group]) -> Mapping[Group, Exception]:
        self._new.extend(groups)
        return {}

    def cancel(self, group: Group) -> bool:
        self._leave(group)
        loop = self._on_loop.get(group)
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(self._cancel_task, group)
        except RuntimeError:  # the loop was closed under the run
            return False
        return True

    def cancel_again(self) -> None:
        """Cancel the coroutines once more that have been cancelled and have not ended."""
        for group, loop in list(self._on_loop.items()):
            with suppress(RuntimeError):  # the loop was closed under the run
                loop.call_soon_threadsafe(self._cancel_task, group)

    def past_limit(self, attempt_id: AttemptId) -> bool:
        return False  # an attempt in this process is never lost

    def deliver(self, results: Sequence[tuple[Group, CallResult]]) -> None:
        self._returns.extend(results)

    # --- for the run ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start what was submitted."""
        while self._new:
            group = self._new.popleft()
            request = group.starts[0].request
            context = self._context.copy()
            if not locate(self._plan.graph.program, request).needs_loop(request, self._plan.info):
                if self._pool is None:
                    self._pool = DaemonExecutor(thread_name_prefix="distgraph-node")
                self._pool.spawn(partial(context.run, self._run_in_thread, group, request))
                continue
            loop = self._loop or _own_loop(len(self._plan.options.ns))
            self._on_loop[group] = loop
            loop.call_soon_threadsafe(self._create_task, loop, group, request, context=context)

    def lend(self, change: int) -> None:
        """Allow for a thread more for one that waits for calls, or for one less again."""
        if self._pool is not None:
            self._pool.lend(change)

    def hand_out(self) -> None:
        """Deliver the outcomes of calls, without a lock: the caller may continue in this thread."""
        try:
            while self._returns:
                group, result = self._returns.popleft()
                calls = self._calls.get(group)
                if calls is not None:
                    calls.returned(result)
        except IndexError:  # another thread was faster
            pass
        try:
            while self._left:
                self._left.popleft().close()
        except IndexError:
            pass

    def close(self) -> None:
        """Start nothing any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _run_in_thread(self, group: Group, request: AttemptRequest) -> None:
        outcome = None
        if group.ids[0] in self._run.wanted:
            stream = self._stream_of(request, may_wait=True)
            try:
                calls = self._calls_of(group, request)
                outcome = run_sync(
                    self._plan.graph.program, request, self._plan.info, stream, calls
                )
            except BaseException as error:
                self._run.post(BackendFailed(error))
        self._ended(group, outcome)

    def _create_task(
        self, loop: asyncio.AbstractEventLoop, group: Group, request: AttemptRequest
    ) -> None:
        if group.ids[0] not in self._run.wanted:
            self._ended(group, None)
            return
        stream = self._stream_of(request, may_wait=False)
        calls = self._calls_of(group, request)
        program, info = self._plan.graph.program, self._plan.info
        task = loop.create_task(run_async(program, request, info, stream, calls))
        self._tasks[group] = task
        task.add_done_callback(partial(self._left_loop, group))

    def _cancel_task(self, group: Group) -> None:
        task = self._tasks.get(group)
        if task is not None:  # else it has ended, or is not created any more
            task.cancel()

    def _left_loop(self, group: Group, task: asyncio.Future[AttemptOutcome]) -> None:
        outcome = None
        if not task.cancelled():  # else it was cancelled before its first step
            error = task.exception()
            if error is None:
                outcome = task.result()
            else:
                self._run.post(BackendFailed(error))
        self._ended(group, outcome)

    def _stream_of(self, request: AttemptRequest, *, may_wait: bool) -> LocalAttemptStream:
        return LocalAttemptStream(self._run.stream, request, self._run.wanted, may_wait=may_wait)

    def _calls_of(self, group: Group, request: AttemptRequest) -> Calls:
        calls = self._calls[group] = Calls(request, self._port)
        return calls

    def _ended(self, group: Group, outcome: AttemptOutcome | None) -> None:
        """An attempt has given its slot back. It has no outcome if it never began."""
        self._tasks.pop(group, None)
        self._on_loop.pop(group, None)
        self._leave(group)  # code that was left behind waits no longer
        self._run.post(GroupEnded(group, () if outcome is None else (outcome,)))

    def _leave(self, group: Group) -> None:
        calls = self._calls.pop(group, None)
        if calls is not None:
            self._left.append(calls)


@cache
def _own_loop(depth: int) -> asyncio.AbstractEventLoop:
    """Return the loop that async nodes run on for synchronous callers.

    Graphs inside nodes have a loop and its threads for each ``depth``: the node around them may
    block its own while it waits for them.
    """
    loop = new_loop()
    daemon(partial(_serve, loop), "distgraph-loop").start()
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        with suppress(SystemExit, KeyboardInterrupt):  # in a task that a node has started
            loop.run_forever()


@in_forked_process
def _forget_loops() -> None:
    _own_loop.cache_clear()
