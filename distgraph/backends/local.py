"""The backend that runs everything in this process: for tests, debugging, and graphs inside nodes.

It has the engine, the log and the attempt code of a cluster run; only the transport is missing.
Events travel by reference. Synchronous nodes run in threads; async nodes run on the caller's event
loop, or on a loop in the background for a synchronous caller.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from distgraph._internal.steps import through_cancels
from distgraph.backends.base import RunPlan, saver_config
from distgraph.backends.local_started_runs import (
    KeptStream,
    LocalStarted,
    encode_kept,
    started_runs,
)
from distgraph.backends.local_stream import LocalStream
from distgraph.backends.local_workers import LocalWorkers
from distgraph.concurrency.collecting import is_collecting
from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.signals import safe_from_signals
from distgraph.concurrency.threads import daemon, elsewhere, wait_for_idle
from distgraph.concurrency.timers import timers
from distgraph.contract.calls import DroppedCall, TaskCall
from distgraph.contract.events import (
    CallDropped,
    CancelRequested,
    DrainRequested,
    ProgressMade,
    RunStarted,
    TaskCalled,
    Woken,
)
from distgraph.contract.started_runs import RunState, RunTerms
from distgraph.contract.stream import END_MODE, StreamEvent
from distgraph.driver.caching import Caches, caches_of
from distgraph.driver.operations import OperationWriter
from distgraph.driver.ports import (
    BackendFailed,
    DriverEvent,
    Relieved,
)
from distgraph.driver.run_driver import RunDriver
from distgraph.driver.saving import SaverThread, new_checkpoint_id
from distgraph.engine.checkpoints import increment
from distgraph.errors import UnsupportedError
from distgraph.persistence.port import SaverPort

_GRACE = 1.0
"""Seconds that a process which exits waits for nodes of runs that were left open."""


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
        return safe_from_signals(partial(_launch, plan, terms, face, loop), LocalStarted.cancel)

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


_BACKEND = LocalBackend()


def backend() -> LocalBackend:
    """Return the local backend."""
    return _BACKEND


@in_forked_process
def _forget_runs() -> None:
    started_runs.cache_clear()


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
        safe_from_signals(partial(self.post, DrainRequested(reason)))

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
            safe_from_signals(partial(self.post, Relieved()))
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
                safe_from_signals(self._drive)
            self.join(_GRACE)  # what is saved can be seen once the caller has left

    async def aclose(self) -> None:
        """Like ``close``; then wait for cancelled coroutines and for checkpoints in progress.

        A caller that is cancelled again meanwhile cancels the coroutines again, and waits on.
        """

        async def last() -> bool:
            return (await self.aread())[-1].mode == END_MODE

        if self.end():
            await through_cancels(last, self.workers.cancel_again)

    def end(self) -> bool:
        """End the run. Return whether it was still going on."""
        _open.discard(self)
        if self._driver.finished:
            return False
        safe_from_signals(partial(self.post, CancelRequested()))
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
