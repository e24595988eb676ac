"""The backend that runs everything in this process: for tests, debugging, and graphs inside nodes.

It has the engine, the log and the attempt code of a cluster run; only the transport is missing.
Events travel by reference. Synchronous nodes run in threads; async nodes run on the caller's event
loop, or on a loop in the background for a synchronous caller.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, partial
from typing import Any

from distgraph.backends.base import RunPlan, saver_config
from distgraph.backends.caching import Caches, caches_of
from distgraph.backends.coordinator import Actions, Coordinator, end_event
from distgraph.backends.saving import Report, SaverThread, new_checkpoint_id
from distgraph.concurrency.threads import DaemonExecutor, daemon, new_loop, wait_for_idle
from distgraph.concurrency.timers import timers
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import StartTask
from distgraph.contract.stream import Event, Op, Segment, StreamEvent
from distgraph.engine.checkpoints import increment
from distgraph.errors import RunCancelled
from distgraph.persistence.port import SaverPort
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import RunLog
from distgraph.worker.attempt import locate, run_async, run_sync
from distgraph.worker.calls import Calls

_GRACE = 1.0
"""Seconds that a process which exits waits for nodes of runs that were left open."""


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
    loop = new_loop()
    daemon(partial(_serve, loop), "distgraph-loop").start()
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


class _Port:
    """An attempt's way to the engine, which is in this process."""

    def __init__(self, run: LocalRun) -> None:
        self.send = run.call
        self.waiting = run.waiting
        self.flush = run.hand_out

    def ship(self, function: Any) -> tuple[Any, str]:
        return function, f"{id(function):x}"

    def future(self) -> Future[Any]:
        return Future()


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
        self._saver: SaverThread | None = None
        self._timers: dict[str, Callable[[], None]] = {}
        """What takes back the calls that are due later."""
        next_version: Callable[[Any], Any] = increment
        port = None
        if plan.saver is not None:
            port = SaverPort(plan.saver, loop)
            next_version = partial(_next_version, port)
        caches = caches_of(plan.graph.program)
        if port is not None or caches:
            self._saver = SaverThread(
                port,
                saver_config(plan.options),
                self._stored,
                thread=_saved_thread(plan),
                caches=Caches(caches, loop),
            )
        self._coordinator = Coordinator(
            plan.graph.spec,
            plan.options,
            encode=lambda events: events,
            want_output=plan.want_output,
            next_version=next_version,
            new_checkpoint_id=new_checkpoint_id,
        )
        self._context = contextvars.copy_context()
        self._batch = 0
        self._waiting: deque[StartTask] = deque()
        self._in_flight = 0
        self._turns: Counter[tuple[tuple[str, ...], str, str]] = Counter()
        """Parts at work by node and key, of those that are bounded."""
        self._turn_of: dict[tuple[str, int], tuple[tuple[str, ...], str, str]] = {}
        self._tasks: dict[tuple[str, int], asyncio.Future[Any] | None] = {}
        self._calls: dict[tuple[str, int], Calls] = {}
        self._returns: deque[CallResult] = deque()
        self._left: deque[Calls] = deque()
        """Those of attempts that were cancelled: their code is to wait no longer."""
        self._pool: DaemonExecutor | None = None
        _open.add(self)
        control = plan.info.control
        self._deaf = None if control is None else control.listen(self.drain)
        """What ends the listening to requests to drain."""
        with self.changed:
            self._carry_out(self._coordinator.start(plan.input))

    # --- the driver's side ----------------------------------------------------------------------

    def call(self, call: TaskCall | DroppedCall) -> None:
        """Take a call that the code of an attempt made, or has cancelled."""
        with self.changed:
            if not self.log.ended:
                try:
                    self._carry_out(self._coordinator.called(call))
                except BaseException as error:
                    self._collapse(error)

    def hand_out(self) -> None:
        """Tell code what became of its calls, without a lock: it may go on right here."""
        with suppress(IndexError):  # another thread was faster
            while self._returns:
                result = self._returns.popleft()
                calls = self._calls.get((result.task_id, result.attempt))
                if calls is not None:
                    calls.returned(result)
        with suppress(IndexError):
            while self._left:
                self._left.popleft().close()

    def waiting(self, change: int) -> None:
        """Learn that an attempt waits for calls, or waits no more: it holds no slot meanwhile."""
        with self.changed:
            self._in_flight -= change
            if self._pool is not None:
                self._pool.lend(change)
            if change > 0 and not self.log.ended:
                self._carry_out(Actions())

    def _carry_out(self, actions: Actions) -> None:
        cancelled = {(cancel.task_id, cancel.attempt) for cancel in actions.cancel}
        for key in cancelled:
            self._cancel(self._tasks.pop(key, None))
            if key in self._calls:
                self._left.append(self._calls[key])
        if cancelled and self._waiting:
            self._waiting = deque(s for s in self._waiting if _key(s.request) not in cancelled)
        self._waiting.extend(actions.start)
        self._returns.extend(actions.returns)
        for job in actions.storage:
            assert self._saver is not None
            self._saver.do(job)
        for wake in actions.wakes:
            due = timers().after(wake.seconds, partial(self._hand_over, wake.key))
            self._timers[wake.key] = due
        if actions.finished is not None:
            self._leave()
        told = [*actions.ops, *self._launch_waiting()]
        if told:
            self._batch += 1
            self.log.drive(self._batch, told)
        self.notify()

    def _launch_waiting(self) -> list[Op]:
        """Start what there is room for. Return what the log is to be told of it.

        The lock is held: nothing of what was started gets to the log before that.
        """
        told: list[Op] = []
        bound = self._plan.info.max_concurrency
        kept: deque[StartTask] = deque()
        while self._waiting and (bound is None or self._in_flight < bound):
            start = self._waiting.popleft()
            if not self._may_start(start):
                kept.append(start)
                continue
            self._in_flight += 1
            self._launch(start)
            told += self._coordinator.sent(start)
        self._waiting.extendleft(reversed(kept))
        return told

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
        if self._deaf is not None:
            self._deaf()
        while self._timers:
            self._timers.popitem()[1]()
        if self._saver is not None:
            self._saver.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _stored(self, report: Report) -> None:
        self._feed(lambda: self._coordinator.stored(report))

    def _hand_over(self, key: str) -> None:
        """Leave a due ``Wake`` to a thread of this run: the timers serve every run."""
        daemon(partial(self._woken, key), "distgraph-woken").start()

    def _woken(self, key: str) -> None:
        with self.changed:
            self._timers.pop(key, None)
        self._feed(lambda: self._coordinator.woken(key))

    def drain(self, reason: str) -> None:
        """Let the run stop behind the current superstep."""
        self._feed(lambda: self._coordinator.drain(reason))

    def _feed(self, tell: Callable[[], Actions]) -> None:
        with self.changed:
            if self.log.ended:
                return
            try:
                self._carry_out(tell())
            except BaseException as error:
                self._collapse(error)
        self.hand_out()

    def _collapse(self, error: BaseException) -> None:
        """The run itself failed: a bug, or user code in a reducer that did the unexpected."""
        with self.changed:
            for future in self._tasks.values():
                self._cancel(future)
            self._tasks.clear()
            self._left.extend(self._calls.values())
            self._leave()
            self.log.terminate([end_event("error", error=error)])
            self.notify()

    def _launch(self, start: StartTask) -> None:
        request = start.request
        self._tasks[_key(request)] = None
        context = self._context.copy()
        if not locate(self._plan.graph.program, request).needs_loop(request):
            if self._pool is None:
                self._pool = DaemonExecutor(thread_name_prefix="distgraph-node")
            self._pool.submit(context.run, self._run_in_thread, request)
            return
        loop = self._loop or _own_loop(len(self._plan.options.ns))
        loop.call_soon_threadsafe(self._create_task, loop, request, context=context)

    def _calls_of(self, request: AttemptRequest) -> Calls:
        calls = self._calls[_key(request)] = Calls(request, _Port(self))
        return calls

    def _run_in_thread(self, request: AttemptRequest) -> None:
        with self.changed:
            wanted = self.wants(request)
        outcome = None
        if wanted:
            stream = _Stream(self, request, may_wait=True)
            try:
                program, calls = self._plan.graph.program, self._calls_of(request)
                outcome = run_sync(program, request, self._plan.info, stream, calls)
            except BaseException as error:
                self._collapse(error)
        self._ended(request, outcome)

    def _create_task(self, loop: asyncio.AbstractEventLoop, request: AttemptRequest) -> None:
        with self.changed:
            if not self.wants(request):
                self._ended(request, None)
                return
            stream = _Stream(self, request, may_wait=False)
            task = loop.create_task(
                run_async(
                    self._plan.graph.program,
                    request,
                    self._plan.info,
                    stream,
                    self._calls_of(request),
                )
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
            calls = self._calls.pop(_key(request), None)
            if calls is not None:  # code that was left behind waits no longer
                self._left.append(calls)
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
        self.hand_out()

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
        if _exiting:  # a thread that ended with the interpreter may hold the lock for ever
            return
        if self._end() and self._loop is None:
            self.join(_GRACE)  # what is saved can be seen once the caller has left

    def _end(self) -> bool:
        """End the run. Return whether it was still going on."""
        _open.discard(self)
        with self.changed:
            ended = self._coordinator.finished
            if not ended:
                self._carry_out(self._coordinator.cancel())
        self.hand_out()
        return not ended

    def join(self, seconds: float) -> None:
        """Wait until everything is saved, for ``seconds`` at most."""
        if self._saver is not None:
            self._saver.join(seconds)


_open: set[LocalRun] = set()
"""Runs that were not closed."""

_exiting = False


@atexit.register
def _close_all() -> None:
    """End what goes on: iterators that were left open are closed too late, if at all."""
    global _exiting
    runs = list(_open)
    until = time.monotonic() + _GRACE
    for run in runs:
        if run.changed.acquire(timeout=max(0.0, until - time.monotonic())):
            run.changed.release()
            run._end()
    for run in runs:
        run.join(max(0.0, until - time.monotonic()))
    if runs:
        wait_for_idle(until - time.monotonic())
    _exiting = True


def _saved_thread(plan: RunPlan) -> tuple[int, Any] | None:
    """Return what names the saver's thread; None inside a node, where its run goes on around."""
    thread_id = plan.options.configurable.get("thread_id")
    return None if plan.options.has_parent else (id(plan.saver), thread_id)


def _next_version(port: SaverPort, current: Any) -> Any:
    return port.get_next_version(current, None)


def _key(request: AttemptRequest) -> tuple[str, int]:
    return request.task_id, request.attempt
