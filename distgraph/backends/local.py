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
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, partial
from typing import Any, TypeVar

from distgraph.backends.base import RunPlan, saver_config
from distgraph.backends.started import KeptStream, LocalStarted, encode_kept, started_runs
from distgraph.concurrency.collecting import is_collecting
from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import DaemonExecutor, daemon, elsewhere, new_loop, wait_for_idle
from distgraph.concurrency.timers import timers
from distgraph.concurrency.waiter import Waiter
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import (
    CallDropped,
    CancelRequested,
    DrainRequested,
    ProgressMade,
    RunStarted,
    StartTask,
    TaskCalled,
    Woken,
)
from distgraph.contract.started import RunState, RunTerms
from distgraph.contract.stream import END_MODE, AttemptId, Event, Op, Segment, StreamEvent
from distgraph.driver.caching import Caches, caches_of
from distgraph.driver.operations import OperationWriter, end_event
from distgraph.driver.ports import (
    Acked,
    BackendFailed,
    DriverEvent,
    Group,
    GroupEnded,
    Relieved,
)
from distgraph.driver.run_driver import RunDriver
from distgraph.driver.saving import SaverThread, new_checkpoint_id
from distgraph.engine.checkpoints import increment
from distgraph.errors import RunCancelled, UnsupportedError
from distgraph.persistence.port import SaverPort
from distgraph.streaming.consumer import Reassembler
from distgraph.streaming.log import RunLog
from distgraph.streaming.publisher import attempt_text, closed
from distgraph.worker.attempt import locate, run_async, run_sync
from distgraph.worker.calls import Calls

_GRACE = 1.0
"""Seconds that a process which exits waits for nodes of runs that were left open."""

_GLANCE = 0.001
"""Seconds between two looks whether a call that nobody waits for any more has ended."""

_T = TypeVar("_T")


class LocalBackend:
    """Runs in this process."""

    name = "local"

    def ready(self) -> bool:
        """Return that there is nothing to connect to."""
        return True

    def connect(self) -> None:
        """Do nothing."""

    def start(self, plan: RunPlan, *, is_async: bool) -> LocalRun:
        """Start a run."""
        return LocalRun(plan, asyncio.get_running_loop() if is_async else None)

    def launch(
        self,
        plan: RunPlan,
        terms: RunTerms,
        face: Any,
        *,
        detached: bool,
        loop: asyncio.AbstractEventLoop | None,
    ) -> LocalStarted:
        """Start a run that no reader owns, in this process."""
        if detached:
            raise UnsupportedError(
                f"graph {plan.graph.name!r}: detached=True needs a process that outlives this one, "
                "and the local backend runs in this process. Leave detached out, or use "
                "backend='ray'"
            )
        return _apart(partial(_launch, plan, terms, face, loop), LocalStarted.cancel)

    def find(self, run_id: str) -> LocalStarted | None:
        """Return a started run of this process."""
        return started_runs().find(run_id)

    def started(self) -> list[RunState]:
        """Return the states of the started runs of this process."""
        return started_runs().host.describe_all()


def _launch(
    plan: RunPlan, terms: RunTerms, face: Any, loop: asyncio.AbstractEventLoop | None
) -> LocalStarted:
    run_id = plan.options.shared.run_id
    runs = started_runs()
    runs.host.announce(run_id, terms)
    runs.faces[run_id] = face
    if loop is not None:
        runs.loops[run_id] = loop
    try:
        run = LocalRun(plan, loop, KeptStream(runs.host, run_id))
    except BaseException:
        runs.host.withdraw(run_id)
        raise
    if not run.finished:
        runs.cancels[run_id] = run.end
    if run.finished:  # meanwhile
        runs.ended(run_id)
    return LocalStarted(runs, run_id)


def _apart(call: Callable[[], _T], left: Callable[[_T], object] = lambda result: None) -> _T:
    """Make a call of the caller's that runs the engine, and wait for its end.

    On the main thread a signal handler may raise at any moment, which would leave the engine amid a
    step: there, the call is made in another thread.

    Args:
        call: What is called.
        left: Called with the result if a signal handler has raised meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    began = threading.Lock()  # not an Event: its Python code could be left amid a step too
    over = threading.Lock()
    began.acquire()
    over.acquire()
    results: list[_T] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()

    def carry_out() -> None:
        began.release()
        try:
            results.append(context.run(call))
        except BaseException as error:
            errors.append(error)
        over.release()

    def leave() -> None:
        if began.acquire(timeout=_GRACE):  # else the handler had raised before the call was made
            while not (results or errors):
                time.sleep(_GLANCE)
            for result in results:
                left(result)

    try:
        if not elsewhere(carry_out):
            return call()
        over.acquire()
    except BaseException:
        elsewhere(leave)
        raise
    if errors:
        raise errors.pop()
    return results[0]


_BACKEND = LocalBackend()


def backend() -> LocalBackend:
    """Return the local backend."""
    return _BACKEND


@in_forked_process
def _forget_runs() -> None:
    _own_loop.cache_clear()
    started_runs.cache_clear()


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
        self._id = request.attempt_id
        self._wanted = run.wanted
        self._may_wait = may_wait
        self._count = 0
        self._closed = False

    def emit(self, event: Event) -> None:
        stream, request = self._run.stream, self._request
        with stream.changed:
            while self._may_wait and stream.over_limit and not self._refused:
                stream.wait_for_room()
            if self._refused:
                text = attempt_text(*self._id, request.step, request.node)
                if self._closed:
                    raise closed(text)
                raise RunCancelled(f"{text} was cancelled: its event {event.mode!r} is not taken")
            self._count += 1
            stream.publish(Segment(*self._id, request.step, self._count, 1, [event]))

    @property
    def _refused(self) -> bool:
        return self._closed or self._id not in self._wanted

    def emitted(self) -> int:
        return self._count

    def close(self, *, unconfirmed: bool = False) -> tuple[int, Sequence[Segment]]:
        with self._run.stream.changed:
            self._closed = True
            return self._count, ()


class _Port:
    """The way of a run's attempts to the engine, which is in this process."""

    def __init__(self, run: LocalRun, workers: LocalWorkers) -> None:
        self.send = run.call
        self.waiting = workers.lend
        self.flush = workers.hand_out

    def ship(self, function: Any) -> tuple[Any, str]:
        return function, f"{id(function):x}"

    def future(self) -> Future[Any]:
        return Future()


class LocalStream:
    """A run's log in this process: the driver's and the attempts' events in, the consumer's out."""

    def __init__(self, run_id: str, loop: asyncio.AbstractEventLoop | None) -> None:
        self.log = RunLog(max_bytes=1 << 62, retain_bytes=0)
        self.changed = threading.Condition()
        """Guards the log. Nothing else is ever waited for while it is held."""
        self._waiter = Waiter(self.changed, loop)
        self.notify = self._waiter.wake
        """Wakes the threads that wait for the log. The lock is held."""
        self._events = Reassembler(run_id)
        self._congested = False
        """Whether the driver knows that the log is over its limit."""

    @property
    def over_limit(self) -> bool:
        """Whether emitters must wait for room. The lock is held."""
        return self.log.over_limit

    def wait_for_room(self) -> None:
        """Wait until there may be room. The lock is held, and free meanwhile."""
        self.changed.wait()

    def publish(self, segment: Segment) -> None:
        """Take an attempt's events. The lock is held."""
        self.log.publish(segment)
        self.notify()

    def drive(self, batch_no: int, ops: Sequence[Op]) -> Acked:
        with self.changed:
            self.log.drive(batch_no, ops)
            self.notify()
            self._congested = self.log.over_limit
            return _CONGESTED if self._congested else _ACKED

    def fence(self, attempt_id: AttemptId) -> int:
        with self.changed:
            return self.log.fence(*attempt_id)

    def terminate(self, error: BaseException) -> None:
        with self.changed:
            self.log.terminate([end_event("error", error=error)])
            self.notify()

    def read(self) -> tuple[Sequence[StreamEvent], bool]:
        """Wait for events. Return them, and whether the driver waits for the room they took."""
        with self.changed:
            while not (events := self._take()):
                self._waiter.wait()
            return events, self._relieved()

    async def aread(self) -> tuple[Sequence[StreamEvent], bool]:
        """As ``read``, without blocking the event loop."""
        while True:
            with self.changed:
                if events := self._take():
                    return events, self._relieved()
                parked = self._waiter.park()
            await parked.wait()

    def _take(self) -> Sequence[StreamEvent]:
        deliveries = self.log.read(self.log.last_seq - self.log.deliverable)
        if not deliveries:
            return ()
        events = self._events.feed(deliveries)
        self.log.ack(self._events.position)
        self.changed.notify_all()
        return events

    def _relieved(self) -> bool:
        was, self._congested = self._congested, self._congested and self.log.over_limit
        return was and not self._congested


_ACKED, _CONGESTED = Acked(), Acked(congested=True)


class LocalWorkers:
    """Runs attempts in threads, and on an event loop."""

    def __init__(
        self, run: LocalRun, plan: RunPlan, loop: asyncio.AbstractEventLoop | None
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
        self._port = _Port(run, self)
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
            stream = _Stream(self._run, request, may_wait=True)
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
        stream = _Stream(self._run, request, may_wait=False)
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


class LocalRun:
    """One run in this process, and its consumer's handle.

    The driver has no thread of its own. A thread with news puts it into the inbox and drives
    the run, unless another thread drives the run already; that thread then takes the news as well.
    """

    def __init__(
        self,
        plan: RunPlan,
        loop: asyncio.AbstractEventLoop | None,
        kept: KeptStream | None = None,
    ) -> None:
        self._loop = loop
        self._run_id = plan.options.shared.run_id
        self._kept = kept
        """The stream of a run that no reader owns."""
        self._inbox: deque[DriverEvent] = deque()
        self._driving = threading.Lock()
        self._driver_thread: int | None = None
        self._saver: SaverThread | None = None
        self._owned = LocalStream(self._run_id, loop)
        self.stream: LocalStream | KeptStream = self._owned if kept is None else kept
        if kept is not None:
            kept.post = self._post_elsewhere
        self.workers = LocalWorkers(self, plan, loop)
        saver = plan.info.saver
        port = None if saver is None else SaverPort(saver, loop)
        caches = caches_of(plan.graph.program)
        if port is not None or caches:
            self._saver = SaverThread(
                port,
                saver_config(plan.options),
                self.post,
                thread=_saved_thread(plan),
                caches=Caches(caches, loop),
            )
        self._driver = RunDriver(
            plan.graph.spec,
            plan.options,
            workers=self.workers,
            events=self.stream,
            operations=OperationWriter(
                plan.options.shared.stream.modes,
                encode=(lambda events: events) if kept is None else encode_kept,
                want_output=plan.options.want_output,
            ),
            store=self._saver,
            later=self._later,
            max_concurrency=plan.options.shared.max_concurrency,
            next_version=increment if port is None else port.get_next_version,
            new_checkpoint_id=new_checkpoint_id,
        )
        self.wanted = self._driver.wanted
        _open.add(self)
        control = plan.info.control
        self._unsubscribe = None if control is None else control.listen(self.drain)
        """Ends the listening to requests to drain."""
        self.post(RunStarted(plan.input))

    # --- the driver's side ----------------------------------------------------------------------

    def post(self, event: DriverEvent) -> None:
        """Take news, from any thread. It may run the engine."""
        self._inbox.append(event)
        self._drive()
        self.workers.hand_out()

    def call(self, call: TaskCall | DroppedCall | ProgressMade) -> None:
        """Take a call that the code of an attempt made, or has cancelled, or that it goes on.

        Outcomes of calls are delivered later, because the calling code holds a lock.
        """
        if isinstance(call, TaskCall):
            self._inbox.append(TaskCalled(call))
        else:
            self._inbox.append(CallDropped(call) if isinstance(call, DroppedCall) else call)
        self._drive()

    def drain(self, reason: str) -> None:
        """Let the run stop behind the current superstep."""
        _apart(partial(self.post, DrainRequested(reason)))

    def _drive(self) -> None:
        while self._inbox and self._driving.acquire(blocking=False):
            # what is put in from here on, and is not seen, is looked for again behind the release
            self._driver_thread = threading.get_ident()
            try:
                self._driver.run(self._news())
                self.workers.start()
            except BaseException as error:
                self._driver.run([BackendFailed(error)])
            finally:
                if self._driver.finished:
                    self._ended()
                self._driver_thread = None
                self._driving.release()

    def _news(self) -> Iterator[DriverEvent]:
        while self._inbox:
            yield self._inbox.popleft()

    def _ended(self) -> None:
        """Listen to nobody, and free threads."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self.workers.close()
        if self._kept is not None:
            _open.discard(self)
            started_runs().ended(self._run_id)

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self._driver.finished

    def _post_elsewhere(self, event: DriverEvent) -> None:
        """As ``post``, in a thread of its own: the caller's serves every run."""
        daemon(partial(self.post, event), "distgraph-woken").start()

    def _later(self, seconds: float, event: Woken) -> Callable[[], None]:
        # the timers serve every run: a thread of this run takes over
        return timers().after(seconds, partial(self._post_elsewhere, event))

    # --- the consumer's side --------------------------------------------------------------------

    def read(self) -> Sequence[StreamEvent]:
        events, relieved = self._owned.read()
        if relieved:
            _apart(partial(self.post, Relieved()))
        return events

    async def aread(self) -> Sequence[StreamEvent]:
        events, relieved = await self._owned.aread()
        if relieved:
            self.post(Relieved())
        return events

    def close(self) -> None:
        if _exiting:  # a thread that ended with the interpreter may hold a lock for ever
            return
        if is_collecting():
            elsewhere(self.close)
            return
        if self.end() and self._loop is None:
            if self._driver_thread != threading.get_ident():  # as of code that drops an iterator
                with self._driving:  # no late writer of the run is let in once the caller has left
                    pass
                _apart(self._drive)
            self.join(_GRACE)  # what is saved can be seen once the caller has left

    async def aclose(self) -> None:
        """Like ``close``; then wait for cancelled coroutines and for checkpoints in progress."""
        if self.end():
            while (await self.aread())[-1].mode != END_MODE:
                pass

    def end(self) -> bool:
        """End the run. Return whether it was still going on."""
        _open.discard(self)
        if self._driver.finished:
            return False
        _apart(partial(self.post, CancelRequested()))
        return True

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
        run.end()
    for run in runs:
        run.join(max(0.0, until - time.monotonic()))
    if runs:
        wait_for_idle(until - time.monotonic())
    _exiting = True


def _saved_thread(plan: RunPlan) -> tuple[int, Any] | None:
    """Return what names the saver's thread; None inside a node, where its run goes on around."""
    thread_id = plan.options.thread_configurable.get("thread_id")
    return None if plan.options.has_parent else (id(plan.info.saver), thread_id)
