"""One run on the driver actor: its turns, and its connections to workers and broker."""

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
from actors.call_results import CallResults
from actors.ray_workers import RayWorkers, Recalled, Reply, SharedWorkers
from actors.reducers import startups
from distgraph.backends.base import saver_config
from distgraph.concurrency.interrupting import Interrupted, interrupt, stack_of
from distgraph.concurrency.timers import timers
from distgraph.concurrency.turns import Seat, Turns
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
from distgraph.contract.stream import AttemptId, Batch, Journal, KeepRun
from distgraph.driver.batching import Durations
from distgraph.driver.broker_plane import BrokerPlane, Drives
from distgraph.driver.caching import Caches
from distgraph.driver.heartbeats import Overdue
from distgraph.driver.journal import JournalWriter
from distgraph.driver.metering import DriverMeter, RunMeter
from distgraph.driver.operations import OperationWriter, end_blob
from distgraph.driver.ports import Acked, AttemptOverdue, DriverEvent
from distgraph.driver.run_driver import RunDriver
from distgraph.driver.saving import SaverThread, new_checkpoint_id
from distgraph.engine.checkpoints import increment
from distgraph.errors import RunError
from distgraph.persistence import SaverPort, place
from distgraph.serde.pickling import loads
from distgraph.serde.references import Parcel
from distgraph.streaming.codec import encode_events
from distgraph.wire.frames import Bytes

__all__ = ("LEFT", "SLOW", "Keeping", "RunLoop", "StartRun")

logger = logging.getLogger("distgraph")

SLOW = 5.0
"""Seconds after which a reducer that runs is reported."""

LEFT = 1.0
"""Seconds that a reducer of a cancelled run may go on, and that one that was interrupted may take
to end. One that waits outside of Python is not interrupted before it returns."""


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

    packed: Bytes | Parcel


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
    """A run. Whatever happens elsewhere reaches it through its inbox, and is handled in its turns.

    Args:
        start: The run.
        keeping: For a run that is saved; None where no other driver can take it over.
        spec: Returns its graph, for which it may have to wait.
        shared: What the runs of the session share.
        drives: The way to the broker.
        terminate: Ends the stream of a run by another way: (caller, run ids, terminal event).
        durations: What attempts of each node take.
        meter: Counts for the metrics of the driver.
        turns: The threads that the runs share.
        ended: Called at the end of the run.
        tell: Sends the run's end straight to its caller; None where that cannot be.
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
        turns: Turns,
        ended: Callable[[], None],
        tell: Callable[[Batch], bool] | None = None,
    ) -> None:
        self._start = start
        self._keeping = keeping
        self._spec = spec
        self._durations = durations
        self._meter = meter
        self._ended = ended
        self._inbox: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._seat = Seat(turns, self._turn)
        post, run_id = self._put, start.options.shared.run_id
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

        shows_more = start.options.shared.stream.modes or start.packed_storage
        # the run of no caller has readers that come later, and a saved one has a journal
        straight = tell if start.caller and not shows_more else None
        self._events = BrokerPlane(drives, run_id, start.caller, post, end, straight)
        self._why: RunError | None = None
        """Why a turn of the run was interrupted."""
        self._driver: RunDriver | None = None
        self._run_meter: RunMeter | None = None
        self._over = False
        self._minds_acks = True
        """Whether the run has a turn as soon as the log has taken a batch."""
        self._saver: SaverThread | None = None
        self._wake: Callable[[], None] | None = None
        """Takes back the turn that is due at a deadline of the driver's."""
        self._saves_before = 0
        """Saves that earlier drivers have carried out."""
        self._watching = threading.Lock()
        self._busy: tuple[float, int, float] | None = None
        """Since when events are handled, in which thread, and for how long that had waited for
        processes of reducers before. None between two turns."""
        self._left: float | None = None
        self._reported: float | None = None
        self._interrupted: tuple[float, float] | None = None
        """The turn that was interrupted, by its beginning, and when."""
        self._given_up = False
        """Whether the run has ended while its turn goes on: nothing that the turn does counts."""

    @property
    def program(self) -> str:
        """Hash of the program of the run's graph."""
        return self._start.program

    def begin(self) -> None:
        """Ask for the first turn."""
        self._seat.ask()

    def _put(self, news: _News) -> None:
        """Have something handled in the run's next turn. Any thread may call this."""
        self._inbox.put(news)
        if self._minds_acks or not isinstance(news, Acked) or news.congested:
            self._seat.ask()

    def cancel(self) -> None:
        """End the run. Any thread may call this."""
        self._left = time.monotonic()
        if self._saver is not None:
            self._saver.ending()
        self._put(CancelRequested())

    def look(self, limit: float) -> str | None:
        """Interrupt a reducer that takes too long, and end its run. Return where one is that takes
        long.

        Args:
            limit: Seconds that reducers may take between two events of the run.
        """
        with self._watching:  # the turn does not end meanwhile: its thread then serves others
            if self._busy is None:
                return None
            since, thread, waited = self._busy
            now = time.monotonic()
            seconds = now - since - (startups.waited(thread) - waited)
            run_id = self._start.options.shared.run_id
            left = self._left is not None and now > max(self._left, since) + LEFT
            if left or seconds > limit:
                what = "the run was cancelled" if left else f"reducers may take {limit:g} s"
                self._why = RunError(
                    f"run {run_id}: a reducer was ended after {seconds:.0f} s, because {what} "
                    f"(setting DISTGRAPH_REDUCER_TIMEOUT):\n{stack_of(thread)}"
                )
                interrupt(thread)
                if self._interrupted is None or self._interrupted[0] != since:
                    self._interrupted = since, now
                elif now > self._interrupted[1] + LEFT:
                    self._busy, self._given_up = None, True
        if self._given_up:
            if self._driver is not None:
                self._driver.collapse(Interrupted())
            self._end()
            return None
        if seconds < SLOW:
            return None
        where = f"run {run_id}: a reducer has run for {seconds:.0f} s\n{stack_of(thread)}"
        if self._reported != since:
            self._reported = since
            logger.warning("%s", where)
        return where

    def call(self, packed: Bytes | Parcel) -> None:
        """Accept a call that the code of an attempt made. Thread-safe."""
        self._put(_PackedCall(packed))

    def drain(self, reason: str) -> None:
        """Stop the run gracefully after the current superstep. Thread-safe."""
        self._put(DrainRequested(reason))

    @property
    def results(self) -> CallResults:
        """The results of calls."""
        return self._workers.results

    # --- turns ----------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Handle what has come in. Reducers may take any time."""
        if self._over:
            return
        self._over = True
        try:
            driver, started = self._driver, None
            if driver is None:
                driver = self._driver = self._made()
                started = RunStarted(loads(self._start.packed_input))
            thread = threading.get_ident()
            self._busy = time.monotonic(), thread, startups.waited(thread)
            if started is not None:
                self._begin(driver, started)
            driver.run(self._news(driver))
            if self._rest():
                self._ask_at(driver.deadline)
                self._over = driver.finished
                self._minds_acks = driver.minds_acks
                if self._minds_acks and not self._inbox.empty():  # it came before that was known
                    self._seat.ask()
        except BaseException as error:  # outside of the driver
            if self._rest():
                self._events.terminate(error)
        finally:
            if self._over and not self._given_up:
                self._end()

    def _rest(self) -> bool:
        """Return whether the turn counts. Nobody interrupts its thread for the run from here on: it
        serves others."""
        with self._watching:
            self._busy = None
            return not self._given_up

    def _end(self) -> None:
        if self._run_meter is not None:
            self._run_meter.finish("error")  # unless it has ended
        if self._saver is not None:
            self._saver.close()
        self._driver = None  # the state is freed now, not by the garbage collector
        self._workers.close()
        self._heartbeats.forget(self._start.options.shared.run_id)
        self._ended()

    def _overdue(self, attempt: Overdue) -> None:
        task_id, number = attempt.name.partition("/")[2].rsplit("/", 1)
        self._put(AttemptOverdue(AttemptId(task_id, int(number)), attempt.stack))

    def _made(self) -> RunDriver:
        """Return the run's driver, having waited for its graph."""
        start = self._start
        self._heartbeats.watch(start.options.shared.run_id, self._overdue)
        spec = self._spec()
        again = self._keeping is not None and self._keeping.journal is not None
        meter = self._run_meter = self._meter.run(spec.name, time.time, again=again)
        self._workers.learn(spec)
        next_version: Callable[[Any], Any] = increment
        port, thread = None, None
        saver, caches = (None, {}) if start.packed_storage is None else loads(start.packed_storage)
        if saver is not None:
            port = SaverPort.of_run(saver, self._workers.only_adds)
            next_version = port.get_next_version
            thread = (place(saver).key, start.options.thread_configurable.get("thread_id"))
        if port is not None or caches:
            self._saver = SaverThread(
                port,
                saver_config(start.options),
                self._put,
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
        return driver

    def _begin(self, driver: RunDriver, started: RunStarted) -> None:
        if self._keeping is not None and self._keeping.journal is not None:
            driver.repeat(started)
            return
        if self._start.drain is not None:
            driver.run([DrainRequested(self._start.drain)])
        driver.run([started])

    def _ask_at(self, deadline: float | None) -> None:
        """Ask for a turn at a time, though nothing happens until then."""
        if self._wake is not None:
            self._wake()
        self._wake = None if deadline is None else timers().at(deadline, self._seat.ask)

    def _saves_done(self) -> int:
        assert self._saver is not None
        return self._saves_before + self._saver.carried_out

    def _news(self, driver: RunDriver) -> Iterator[DriverEvent]:
        """Yield what has come in: it is handled together."""
        while not driver.finished:
            try:
                news = self._inbox.get_nowait()
            except queue.Empty:
                return
            yield self._opened(news)

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
        return timers().after(seconds, partial(self._put, event))
