"""One run on the driver actor: its thread, and its connections to workers and broker."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from actors import cluster
from actors.ray_workers import RayWorkers, Recalled, Reply, SharedWorkers
from distgraph.backends.base import saver_config
from distgraph.concurrency.interrupting import Interrupted, interrupt, stack_of
from distgraph.concurrency.threads import daemon
from distgraph.concurrency.timers import timers
from distgraph.contract.calls import TaskCall
from distgraph.contract.events import (
    CallDropped,
    CancelRequested,
    DrainRequested,
    ProgressMade,
    RunOptions,
    RunStarted,
    TaskCalled,
    Woken,
)
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import AttemptId, Journal, KeepRun
from distgraph.driver.batching import Durations
from distgraph.driver.broker_plane import BrokerPlane, Drives
from distgraph.driver.caching import Caches
from distgraph.driver.heartbeats import Overdue
from distgraph.driver.journal import JournalWriter
from distgraph.driver.metering import DriverMeter, RunMeter
from distgraph.driver.operations import OperationWriter, end_blob
from distgraph.driver.ports import AttemptOverdue, DriverEvent
from distgraph.driver.run_driver import RunDriver
from distgraph.driver.saving import SaverThread, new_checkpoint_id
from distgraph.engine.checkpoints import increment
from distgraph.errors import RunError
from distgraph.persistence import SaverPort, place
from distgraph.serde.pickling import loads
from distgraph.streaming.codec import encode_events

__all__ = ("LEFT", "SLOW", "Keeping", "RunLoop", "StartRun")

logger = logging.getLogger("distgraph")

SLOW = 5.0
"""Seconds after which a reducer that runs is reported."""

LEFT = 1.0
"""Seconds that a reducer of a cancelled run may go on."""


class StartRun(NamedTuple):
    """The request of a caller to start a run."""

    caller: str
    program: str
    """Hash of the graph's program, which has been registered."""
    options: RunOptions
    packed_info: bytes
    """Pickled ``RunInfo``: passed on to workers, not read here."""
    packed_input: bytes
    packed_storage: bytes | None = None
    """Pickled: the saver or None, and the caches of its graphs by the path to each. What is
    unpickled reaches the caller's own, or opened them here. None where there are neither."""
    drain: str | None = None
    """Why the run is to stop before it has begun, None where it is not."""


@dataclass(frozen=True, slots=True)
class _PackedCall:
    """A call that the code of an attempt made or dropped, pickled."""

    packed: bytes


_News = DriverEvent | Reply | Recalled | _PackedCall


class Keeping(NamedTuple):
    """What a run needs so that another driver can take it over."""

    start: bytes
    """``StartRun``, pickled."""
    keep_program: Callable[[], None]
    """Returns once the run's graph lies where the next driver finds it."""
    limit: int
    """Bytes of the journal."""
    journal: Journal | None = None
    """The journal of the driver that this one follows."""


class RunLoop:
    """A run's thread. Whatever happens elsewhere reaches it through its inbox.

    Args:
        start: The run.
        keeping: For a run that is saved; None where no other driver can take it over.
        spec: Returns its graph, for which it may have to wait.
        shared: What the runs of the session share.
        drives: The way to the broker.
        terminate: Ends the stream of a run by another way: (caller, run ids, terminal event).
        durations: What attempts of each node take.
        meter: Counts for the metrics of the driver.
        ended: Called at the end of the thread.
    """

    def __init__(
        self,
        start: StartRun,
        keeping: Keeping | None,
        spec: Callable[[], GraphSpec],
        shared: SharedWorkers,
        drives: Drives,
        terminate: Callable[[str, list[str], bytes], object],
        durations: Durations,
        meter: DriverMeter,
        ended: Callable[[], None],
    ) -> None:
        self._start = start
        self._keeping = keeping
        self._spec = spec
        self._durations = durations
        self._meter = meter
        self._ended = ended
        self._inbox: queue.SimpleQueue[_News] = queue.SimpleQueue()
        post, run_id = self._inbox.put, start.options.shared.run_id
        self._heartbeats = shared.heartbeats
        thread = start.options.shared.configurable.get("thread_id")
        self._workers = RayWorkers(
            shared,
            run_id,
            start.program,
            start.packed_info,
            None if thread is None else str(thread),
            post,
        )

        def end(error: BaseException) -> None:
            if isinstance(error, Interrupted) and self._why is not None:
                where = f"\nIn another process: {error.args[0]}" if error.args else ""
                error = RunError(f"{self._why}{where}")
            terminate(start.caller, [run_id], end_blob("error", error=error))

        self._events = BrokerPlane(drives, run_id, start.caller, post, end)
        self._why: RunError | None = None
        """Why the run's thread was interrupted."""
        self._saver: SaverThread | None = None
        self._thread: int | None = None
        self._saves_before = 0
        """Saves that earlier drivers have carried out."""
        self._busy: float | None = None
        """Since when the thread handles events, None while it waits for some."""
        self._left: float | None = None
        self._reported: float | None = None

    @property
    def program(self) -> str:
        """Hash of the program of the run's graph."""
        return self._start.program

    def begin(self) -> None:
        """Start the thread."""
        run_id = self._start.options.shared.run_id
        daemon(self._main, f"distgraph-run-{run_id[:8]}").start()

    def drive(self) -> None:
        """Drive the run to its end in the calling thread, which is for nothing else."""
        run_id = self._start.options.shared.run_id
        threading.current_thread().name = f"distgraph-run-{run_id[:8]}"
        self._main()

    def cancel(self) -> None:
        """End the run. Any thread may call this."""
        self._left = time.monotonic()
        if self._saver is not None:
            self._saver.ending()
        self._inbox.put(CancelRequested())

    def look(self, limit: float) -> str | None:
        """Interrupt a reducer that takes too long. Return where one is that takes long.

        Args:
            limit: Seconds that reducers may take between two events of the run.
        """
        since, thread = self._busy, self._thread
        if since is None or thread is None:
            return None
        now = time.monotonic()
        seconds = now - since
        run_id = self._start.options.shared.run_id
        left = self._left is not None and now > max(self._left, since) + LEFT
        if left or seconds > limit:
            what = "the run was cancelled" if left else f"reducers may take {limit:g} s"
            self._why = RunError(
                f"run {run_id}: a reducer was ended after {seconds:.0f} s, because {what} (setting "
                f"DISTGRAPH_REDUCER_TIMEOUT):\n{stack_of(thread)}"
            )
            interrupt(thread)
        if seconds < SLOW:
            return None
        where = f"run {run_id}: a reducer has run for {seconds:.0f} s\n{stack_of(thread)}"
        if self._reported != since:
            self._reported = since
            logger.warning("%s", where)
        return where

    def call(self, packed: bytes) -> None:
        """Accept a call that the code of an attempt made. Thread-safe."""
        self._inbox.put(_PackedCall(packed))

    def drain(self, reason: str) -> None:
        """Stop the run gracefully after the current superstep. Thread-safe."""
        self._inbox.put(DrainRequested(reason))

    def results(self, key: tuple[str, int], after: int) -> bytes | None:
        """Return results of an attempt's calls, having waited for some. None: the run is over."""
        return self._workers.results.take(key, after)

    # --- the thread -----------------------------------------------------------------------------

    def _main(self) -> None:
        run_id = self._start.options.shared.run_id
        self._thread = threading.get_ident()
        self._heartbeats.watch(run_id, self._overdue)
        try:
            self._run()
        except BaseException as error:  # before there was a driver
            self._events.terminate(error)
        finally:
            if self._saver is not None:
                self._saver.close()
            self._workers.close()
            self._heartbeats.forget(run_id)
            self._ended()

    def _overdue(self, attempt: Overdue) -> None:
        task_id, number = attempt.name.partition("/")[2].rsplit("/", 1)
        self._inbox.put(AttemptOverdue(AttemptId(task_id, int(number)), attempt.stack))

    def _run(self) -> None:
        spec = self._spec()
        again = self._keeping is not None and self._keeping.journal is not None
        meter = self._meter.run(spec.name, time.time, again=again)
        try:
            self._drive(spec, meter)
        finally:
            meter.finish("error")  # unless it has ended

    def _drive(self, spec: GraphSpec, meter: RunMeter) -> None:
        start = self._start
        self._workers.learn(spec)
        next_version: Callable[[Any], Any] = increment
        port, thread = None, None
        saver, caches = (None, {}) if start.packed_storage is None else loads(start.packed_storage)
        if saver is not None:
            port = SaverPort(saver)
            next_version = port.get_next_version
            thread = (place(saver).key, start.options.thread_configurable.get("thread_id"))
        if port is not None or caches:
            self._saver = SaverThread(
                port,
                saver_config(start.options),
                self._inbox.put,
                thread=thread,
                caches=Caches(caches) if caches else None,
            )
        keeping = None if port is None else self._keeping
        earlier = None if keeping is None else keeping.journal
        operations = OperationWriter(
            start.options.shared.stream.modes,
            encode=encode_events,
            want_output=start.options.want_output,
            delivered=0 if earlier is None else earlier.published,
        )
        writer = None
        if keeping is not None:
            writer = JournalWriter(keeping.limit, self._saves_done, earlier)
            self._saves_before = writer.saved_before
        driver = RunDriver(
            spec,
            start.options,
            workers=self._workers,
            events=self._events,
            operations=operations,
            store=self._saver,
            later=self._later,
            program=start.program,
            durations=self._durations,
            slots=cluster.known_cpus(),
            max_concurrency=start.options.shared.max_concurrency,
            next_version=next_version,
            new_checkpoint_id=new_checkpoint_id,
            meter=meter,
            exits=True,
            journal=writer,
            first_batch=1 if earlier is None else earlier.first_batch,
        )
        if keeping is not None and not (earlier and earlier.notes):
            keeping.keep_program()
            operations.keep(KeepRun(keeping.start, start.program))
        if earlier is not None:
            driver.repeat(RunStarted(loads(start.packed_input)))
        else:
            if start.drain is not None:
                driver.run([DrainRequested(start.drain)])
            driver.run([RunStarted(loads(start.packed_input))])
        while not driver.finished:
            try:
                driver.run(self._news(driver))
            finally:
                self._busy = None

    def _saves_done(self) -> int:
        assert self._saver is not None
        return self._saves_before + self._saver.carried_out

    def _news(self, driver: RunDriver) -> Iterator[DriverEvent]:
        """Wait for something to happen, or for the driver's deadline. What has come in meanwhile
        is handled together."""
        deadline = driver.deadline
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            first = self._inbox.get(timeout=wait)
            self._busy = time.monotonic()
            yield self._opened(first)
            while not driver.finished:
                yield self._opened(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _opened(self, news: _News) -> DriverEvent:
        if isinstance(news, Reply):
            return self._workers.open(news)
        if isinstance(news, Recalled):
            return self._workers.open_recalled(news)
        if isinstance(news, _PackedCall):
            call = loads(news.packed)
            if isinstance(call, ProgressMade):
                return call
            return TaskCalled(call) if isinstance(call, TaskCall) else CallDropped(call)
        return news

    def _later(self, seconds: float, event: Woken) -> Callable[[], None]:
        return timers().after(seconds, partial(self._inbox.put, event))
