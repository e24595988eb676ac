"""The backend that runs everything in this process: for tests, debugging, and graphs inside nodes.

It has the engine, the log and the attempt code of a cluster run; only the transport is missing.
Events travel by reference. Synchronous nodes run in threads; async nodes run on the caller's event
loop, or on one loop of their own for a synchronous caller.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

from distgraph.backends.base import RunPlan
from distgraph.backends.coordinator import Actions, Coordinator
from distgraph.engine.instructions import StartTask
from distgraph.errors import RunCancelled
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.envelope import Event, Segment, StreamEvent
from distgraph.streaming.log import RunLog
from distgraph.worker.attempt import locate, run_async, run_sync
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


@lru_cache(maxsize=1)
def _own_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that async nodes run on for synchronous callers."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="distgraph-loop", daemon=True).start()
    return loop


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
            while self._may_wait and run.log.over_limit and not self._closed:
                run.changed.wait()
            if self._closed or run.log.ended:
                raise RunCancelled(
                    f"node {request.node!r} emitted in mode {event.mode!r} after its attempt had "
                    "ended or its run was cancelled"
                )
            self._count += 1
            run.log.publish(
                Segment(request.task_id, request.attempt, request.step, self._count, 1, [event])
            )
            run.notify()

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
        self._tasks: dict[tuple[str, int], asyncio.Future[Any] | None] = {}
        self._pool: ThreadPoolExecutor | None = None
        with self.changed:
            self._carry_out(self._coordinator.start(plan.input))

    # --- the driver's side ----------------------------------------------------------------------

    def _carry_out(self, actions: Actions) -> None:
        if actions.ops:
            self._batch += 1
            self.log.drive(self._batch, actions.ops)
        for cancel in actions.cancel:
            future = self._tasks.pop((cancel.task_id, cancel.attempt), None)
            if future is not None:
                future.get_loop().call_soon_threadsafe(future.cancel)
        self._waiting.extend(actions.start)
        if actions.finished is not None:
            self._waiting.clear()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
        bound = self._plan.info.max_concurrency
        while self._waiting and (bound is None or self._in_flight < bound):
            self._in_flight += 1
            self._launch(self._waiting.popleft())
        self.notify()

    def _launch(self, start: StartTask) -> None:
        request = start.request
        key = (request.task_id, request.attempt)
        self._tasks[key] = None
        context = self._context.copy()
        if not locate(self._plan.graph.program, request).needs_loop:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="distgraph-node")
            self._pool.submit(context.run, self._run_in_thread, request)
            return
        loop = self._loop or _own_loop()
        loop.call_soon_threadsafe(self._create_task, loop, key, request, context=context)

    def _run_in_thread(self, request: AttemptRequest) -> None:
        stream = _Stream(self, request, may_wait=True)
        self._ended(run_sync(self._plan.graph.program, request, self._plan.info, stream))

    def _create_task(
        self, loop: asyncio.AbstractEventLoop, key: tuple[str, int], request: AttemptRequest
    ) -> None:
        with self.changed:
            if key not in self._tasks:  # cancelled before it began
                return
            self._tasks[key] = loop.create_task(self._run_on_loop(request))

    async def _run_on_loop(self, request: AttemptRequest) -> None:
        stream = _Stream(self, request, may_wait=False)
        self._ended(await run_async(self._plan.graph.program, request, self._plan.info, stream))

    def _ended(self, outcome: AttemptOutcome) -> None:
        with self.changed:
            self._tasks.pop((outcome.task_id, outcome.attempt), None)
            self._in_flight -= 1
            self._carry_out(self._coordinator.ended(outcome))

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
