"""The backend that runs everything in this process: for tests, debugging, and graphs inside nodes.

It has the engine, the log and the attempt code of a cluster run; only the transport is missing.
Events travel by reference. Synchronous nodes run in threads; async nodes run on the caller's event
loop, or on a loop in the background for a synchronous caller.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

from distgraph.backends.base import RunPlan
from distgraph.backends.coordinator import Actions, Coordinator, end_event
from distgraph.engine.instructions import StartTask
from distgraph.errors import RunCancelled
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.envelope import Event, Segment, StreamEvent
from distgraph.streaming.log import RunLog
from distgraph.worker.attempt import locate, run_async, run_sync, timed_out
from distgraph.worker.deadline import run_abandonably
from distgraph.worker.protocol import AttemptOutcome, AttemptRequest

_MAX_THREADS = 64


class LocalBackend:
    """Runs in this process."""

    name = "local"

    def start(self, plan: RunPlan, *, is_async: bool) -> LocalRun:
        """Start a run."""
        return LocalRun(plan, asyncio.get_running_loop() if is_async else None)


_BACKEND = LocalBackend()


def backend() -> LocalBackend:
    """Return the local backend."""
    return _BACKEND


@cache
def _own_loop(depth: int) -> asyncio.AbstractEventLoop:
    """Return the loop that async nodes run on for synchronous callers.

    Graphs inside nodes have a loop and its threads for each ``depth``: the node around them may
    block its own while it waits for them.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=_serve, args=(loop,), name="distgraph-loop", daemon=True).start()
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        with suppress(SystemExit, KeyboardInterrupt):  # in a task that a node has started
            loop.run_forever()


class _Stream:
    """An attempt's way into the log."""

    def __init__(self, run: LocalRun, request: AttemptRequest, may_wait: bool) -> None:
        self._run = run
        self._request = request
        self._may_wait = may_wait
        self._count = 0
        self._closed = False

    def emit(self, event: Event) -> None:
        run, request = self._run, self._request
        with run.changed:
            while self._may_wait and run.log.over_limit and not self._refused:
                run.changed.wait()
            if self._refused:
                raise RunCancelled(
                    f"node {request.node!r} emitted in mode {event.mode!r} after its attempt had "
                    "ended or its run was cancelled"
                )
            self._count += 1
            run.log.publish(
                Segment(request.task_id, request.attempt, request.step, self._count, 1, [event])
            )
            run.notify()

    @property
    def _refused(self) -> bool:
        return self._closed or self._run.log.ended or not self._run.wants(self._request)

    def close(self) -> tuple[int, Sequence[Segment]]:
        with self._run.changed:
            self._closed = True
            return self._count, ()


class LocalRun:
    """One run in this process, and its consumer's handle."""

    def __init__(self, plan: RunPlan, loop: asyncio.AbstractEventLoop | None) -> None:
        self._plan = plan
        self._loop = loop
        self._wake = asyncio.Event() if loop is not None else None
        self._parked = False
        """Whether the consumer waits on the loop."""
        self.changed = threading.Condition(threading.RLock())
        self.log = RunLog(max_bytes=1 << 62, retain_bytes=0)
        self._events = Reassembler(plan.options.run_id)
        self._coordinator = Coordinator(
            plan.graph.spec,
            plan.options,
            encode=lambda events: events,
            want_output=plan.want_output,
        )
        self._context = contextvars.copy_context()
        self._batch = 0
        self._waiting: deque[StartTask] = deque()
        self._in_flight = 0
        self._turns: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        """Parts at work by node and key, of those that are bounded."""
        self._turn_of: dict[tuple[str, int], tuple[tuple[str, ...], str, str]] = {}
        self._tasks: dict[tuple[str, int], asyncio.Future[Any] | None] = {}
        self._pool: ThreadPoolExecutor | None = None
        with self.changed:
            self._carry_out(self._coordinator.start(plan.input))

    # --- the driver's side ----------------------------------------------------------------------

    def _carry_out(self, actions: Actions) -> None:
        if actions.ops:
            self._batch += 1
            self.log.drive(self._batch, actions.ops)
        cancelled = {(cancel.task_id, cancel.attempt) for cancel in actions.cancel}
        for key in cancelled:
            self._cancel(self._tasks.pop(key, None))
        if cancelled and self._waiting:
            self._waiting = deque(s for s in self._waiting if _key(s.request) not in cancelled)
        self._waiting.extend(actions.start)
        if actions.finished is not None:
            self._leave()
        bound = self._plan.info.max_concurrency
        kept: deque[StartTask] = deque()
        while self._waiting and (bound is None or self._in_flight < bound):
            start = self._waiting.popleft()
            if not self._may_start(start):
                kept.append(start)
                continue
            self._in_flight += 1
            self._launch(start)
        self._waiting.extendleft(reversed(kept))
        self.notify()

    def _may_start(self, start: StartTask) -> bool:
        """Take one of the turns that parts of this key have, where these are bounded."""
        if start.part is None or start.part.max_concurrency is None:
            return True
        key = (start.request.graph_path, start.request.node, start.key)
        if self._turns[key] >= start.part.max_concurrency:
            return False
        self._turns[key] += 1
        self._turn_of[_key(start.request)] = key
        return True

    def _cancel(self, future: asyncio.Future[Any] | None) -> None:
        if future is not None:
            with suppress(RuntimeError):  # its loop was closed under the run
                future.get_loop().call_soon_threadsafe(future.cancel)

    def _leave(self) -> None:
        """Start nothing any more."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _collapse(self, error: BaseException) -> None:
        """The run itself failed: a bug, or user code in a reducer that did the unexpected."""
        with self.changed:
            for future in self._tasks.values():
                self._cancel(future)
            self._tasks.clear()
            self._leave()
            self.log.terminate([end_event("error", error=error)])
            self.notify()

    def _launch(self, start: StartTask) -> None:
        request = start.request
        self._tasks[_key(request)] = None
        context = self._context.copy()
        if not locate(self._plan.graph.program, request).needs_loop(request):
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="distgraph-node")
            self._pool.submit(context.run, self._run_in_thread, request)
            return
        loop = self._loop or _own_loop(len(self._plan.options.ns))
        loop.call_soon_threadsafe(self._create_task, loop, request, context=context)

    def _run_in_thread(self, request: AttemptRequest) -> None:
        with self.changed:
            wanted = self.wants(request)
        outcome = None
        if wanted:
            stream = _Stream(self, request, may_wait=True)
            try:
                outcome = self._in_time(request, stream)
            except BaseException as error:
                self._collapse(error)
        self._ended(request, outcome)

    def _in_time(self, request: AttemptRequest, stream: _Stream) -> AttemptOutcome:
        def attempt() -> AttemptOutcome:
            return run_sync(self._plan.graph.program, request, self._plan.info, stream)

        if request.timeout is None:
            return attempt()
        outcome = run_abandonably(attempt, request.timeout, stream.close)
        return timed_out(request, stream) if outcome is None else outcome

    def _create_task(self, loop: asyncio.AbstractEventLoop, request: AttemptRequest) -> None:
        with self.changed:
            if not self.wants(request):
                self._ended(request, None)
                return
            stream = _Stream(self, request, may_wait=False)
            task = loop.create_task(
                run_async(self._plan.graph.program, request, self._plan.info, stream)
            )
            task.add_done_callback(lambda done: self._left_loop(request, done))
            self._tasks[_key(request)] = task

    def _left_loop(self, request: AttemptRequest, task: asyncio.Future[AttemptOutcome]) -> None:
        outcome = None
        if not task.cancelled():  # else it was cancelled before its first step
            error = task.exception()
            if error is None:
                outcome = task.result()
            else:
                self._collapse(error)
        self._ended(request, outcome)

    def _ended(self, request: AttemptRequest, outcome: AttemptOutcome | None) -> None:
        """An attempt has given its slot back. It has no outcome if it never began."""
        with self.changed:
            self._tasks.pop(_key(request), None)
            self._in_flight -= 1
            turn = self._turn_of.pop(_key(request), None)
            if turn is not None:
                self._turns[turn] -= 1
            if self.log.ended:
                return
            try:
                actions = Actions() if outcome is None else self._coordinator.ended(outcome)
                self._carry_out(actions)
            except BaseException as error:
                self._collapse(error)

    def wants(self, request: AttemptRequest) -> bool:
        """Whether the attempt is at work, and has not been cancelled. The lock is held."""
        return _key(request) in self._tasks

    # --- the consumer's side --------------------------------------------------------------------

    def notify(self) -> None:
        """Wake whoever waits for the log. The lock is held."""
        self.changed.notify_all()
        if self._parked:
            assert self._loop is not None and self._wake is not None
            self._parked = False
            with suppress(RuntimeError):  # the caller's loop was closed under its run
                self._loop.call_soon_threadsafe(self._wake.set)

    def read(self) -> Sequence[StreamEvent]:
        with self.changed:
            while not (events := self._take()):
                self.changed.wait()
            return events

    async def aread(self) -> Sequence[StreamEvent]:
        assert self._wake is not None
        while True:
            with self.changed:
                if events := self._take():
                    return events
                self._wake.clear()
                self._parked = True
            await self._wake.wait()

    def _take(self) -> Sequence[StreamEvent]:
        deliveries = self.log.read(self.log.last_seq - self.log.deliverable)
        if not deliveries:
            return ()
        events = self._events.feed(deliveries)
        self.log.ack(self._events.position)
        self.changed.notify_all()
        return events

    def close(self) -> None:
        with self.changed:
            if not self._coordinator.finished:
                self._carry_out(self._coordinator.cancel())


def _key(request: AttemptRequest) -> tuple[str, int]:
    return request.task_id, request.attempt
