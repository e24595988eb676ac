"""The rules of the stream broker: many runs, and any number of readers for each.

Pure: no lock, thread or clock; the time is an argument, in seconds of any monotonic clock.
``RunLog`` puts the events of one run in order. The broker controls the readers, the bytes in flight
to each reader, the retention of events, and the pauses of publishers. No call waits for a reader,
so a slow reader of one run cannot delay another run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from distgraph import metrics
from distgraph.contract.started_runs import RunState, RunTerms
from distgraph.contract.stream import Blob, Journal, KeepRun, Op, Segment
from distgraph.errors import (
    BufferFull,
    InvalidTransition,
    RunError,
    RunNotFound,
    Truncated,
    WorkerDied,
)
from distgraph.streaming.broker_state import (
    GATE,
    WINDOW,
    Caller,
    Cursor,
    HeldRun,
    Lifetime,
    Limits,
    ReaderStatistics,
)
from distgraph.streaming.log import LogStatistics, RunLog
from distgraph.streaming.transport import GONE, Fetched, ReaderKey

__all__ = ("GATE", "LOOK", "PAUSE", "WINDOW", "Broker", "Limits", "ReaderStatistics")

PAUSE = 0.02
"""Seconds that a publisher waits before it asks again whether the log has room."""

LOOK = 1.0
"""Least seconds between two looks at the gates of a caller's runs."""

TAKEOVERS = 3
"""Drivers in a row that may be lost with a run before any of them has carried the run on."""

_CLOSED_KEPT = 4096

_CALLER_KEPT = 600.0
"""Seconds for which a caller without readers is remembered after its last request."""


class Broker:
    """The runs of one session and their readers. Not thread-safe.

    Args:
        limits: What is held.
        end: Makes the terminal event of a run that the broker ends by itself, for an error.
    """

    def __init__(self, limits: Limits, end: Callable[[BaseException], Blob]) -> None:
        self._limits = limits
        self._end = end
        self._runs: dict[str, HeldRun] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._callers: dict[str, Caller] = {}
        self._closing: dict[str, HeldRun] = {}
        """Runs that their owners have left and that others still read."""
        self._started: dict[str, HeldRun] = {}
        """Runs that no reader owns, in the order of their announcements."""
        self._forgotten: list[str] = []
        """Started runs that were forgotten since ``take_forgotten``."""
        self._started_until = float("-inf")
        """When the last started run was forgotten or announced."""
        self._woken: set[str] = set()
        self._events = 0
        """Events that have entered the logs of all runs."""

    # --- what comes in --------------------------------------------------------------------------

    def publish(self, run_id: str, segments: Iterable[Segment], now: float) -> float:
        """Accept segments from a worker. Return a pause in seconds; 0.0 to continue, or
        ``GONE``."""
        run = self._open_run(run_id)
        if run is None:
            return GONE
        try:
            for segment in segments:
                run.log.publish(segment)
        except (InvalidTransition, BufferFull) as error:
            run.log.terminate(self._end(error), incomplete=True)
        return self._after_input(run, now)

    def drive(
        self, run_id: str, caller: str, batch_no: int, ops: Sequence[Op], now: float
    ) -> float:
        """Accept the driver's batch ``batch_no`` for a run of ``caller``; 0 only requests the
        pause.

        Opens the run's first reader. Return a pause in seconds; 0.0 to continue.
        """
        run = self._open_run(run_id)
        if run is None:
            return 0.0
        self._own(run, caller)
        if run.started is not None:
            run.started.is_driven = True
        if batch_no:
            try:
                run.log.drive(batch_no, ops)
            except (InvalidTransition, BufferFull) as error:
                run.log.terminate(self._end(error), incomplete=True)
        return self._after_input(run, now)

    def fence(self, run_id: str, task_id: str, attempt: int) -> int:
        """Accept no more events of a lost attempt. Return how many are in the stream."""
        run = self._open_run(run_id)
        return 0 if run is None else run.log.fence(task_id, attempt)

    def take_over(self, now: float) -> list[Journal]:
        """Return the journals of the runs that another driver can take over: the driver is lost.

        A run that went on under none of the last drivers is left out, as it may have ended them.
        """
        journals = []
        for run in list(self._runs.values()):
            notes = run.log.notes
            if notes is None or run.closed or run.log.ended:
                continue
            went_on = notes > run.notes_before
            run.notes_before = notes
            run.drivers_lost = 1 if went_on else run.drivers_lost + 1
            if run.drivers_lost > TAKEOVERS:
                continue
            journal = run.log.take_over(run.run_id)
            if journal is not None:
                journals.append(journal)
                self._after_input(run, now)
        return journals

    def begin_again(self, caller: str, run_id: str, begin: KeepRun) -> Journal | None:
        """Return the journal of a run of ``caller`` of which the lost driver had sent nothing; None
        if it had."""
        run = self._open_run(run_id)
        if run is None or run.log.notes is not None:
            return None
        self._own(run, caller)
        return run.log.take_over(run_id, begin)

    def terminate(self, caller: str, run_ids: Iterable[str], blob: Blob) -> None:
        """End runs of ``caller`` without their driver, which is lost or does not respond."""
        for run_id in run_ids:
            run = self._open_run(run_id)
            if run is not None:
                self._own(run, caller)
                run.log.terminate(blob)
                self._after_input(run, None)

    def close(self, run_ids: Iterable[str]) -> None:
        """Close runs that their owners have left. Events that arrive later are dropped.

        Other readers receive the events that arrived. If the run has not ended, its terminal event
        reports that the owner left. The run is removed with its last reader.
        """
        for run_id in run_ids:
            self._gone[run_id] = None
            run = self._runs.get(run_id)
            if run is None:
                continue
            run.closed = True
            if run.owner is not None:
                self._remove(run.owner)
            if run.readers:
                left = RunError(f"run {run_id} was left by the process that had started it")
                run.log.terminate(self._end(left))
                self._closing[run_id] = run
                self._settle(run, None)
                self._wake(run)
            else:
                self._forget(run)
        while len(self._gone) > _CLOSED_KEPT:
            self._gone.popitem(last=False)

    # --- started runs ---------------------------------------------------------------------------

    def announce(
        self, run_id: str, terms: RunTerms, now: float, begin: KeepRun | None = None
    ) -> None:
        """Open the log of a run that no reader owns, before its driver receives it.

        Args:
            run_id: The run.
            terms: What its caller asks for.
            now: The time.
            begin: Begins the journal of a run that another driver can take over.

        Raises:
            RunError: A run of that id is known already.
        """
        if run_id in self._runs:
            raise RunError(
                f"config['run_id']: run {run_id} is known already; leave run_id out, or choose "
                "another"
            )
        self._gone.pop(run_id, None)
        limits, kept = self._limits, terms.retention
        log = RunLog(
            max_bytes=limits.max_bytes,
            max_events=limits.max_events,
            retain_bytes=kept.bytes,
            retain_events=kept.events,
            keep_end=True,
            begin=begin,
        )
        run = self._runs[run_id] = self._started[run_id] = HeldRun(run_id, log)
        run.started = Lifetime(terms, now)
        self._started_until = now

    def end_unbegun(self, run_id: str, blob: Blob) -> None:
        """End a started run that no driver has begun or taken over."""
        run = self._started.get(run_id)
        if run is None or run.started is None or run.started.is_driven or run.drivers_lost:
            return
        run.log.terminate(blob)
        self._after_input(run, None)

    def withdraw(self, run_id: str, now: float) -> None:
        """Forget a started run, because the run could not be started."""
        run = self._started.get(run_id)
        if run is not None:
            self._expire(run, now)

    def describe(self, run_id: str) -> RunState | None:
        """Return a snapshot of a started run; None if the broker does not know the run."""
        run = self._started.get(run_id)
        return None if run is None else run.state

    def face(self, run_id: str) -> bytes | None:
        """Return how a started run's events become chunks, pickled; None for an unknown run."""
        run = self._started.get(run_id)
        return None if run is None or run.started is None else run.started.terms.face

    def describe_all(self) -> list[RunState]:
        """Return a snapshot of each started run, in the order of the starts."""
        return [run.state for run in self._started.values()]

    def sweep(self, now: float) -> list[str]:
        """Drop what is older than started runs keep, and look at gates that nobody looks at.

        Return the runs that are over their time to live; each is returned once.
        """
        overdue = []
        for run in list(self._started.values()):
            started = run.started
            assert started is not None
            self._check_gate(run, now)
            self._settle(run, now)
            if started.ended_at is not None:
                if now > started.ended_at + started.terms.retention.seconds:
                    self._expire(run, now)
            elif started.is_over(now):
                started.is_overdue = True
                overdue.append(run.run_id)
        self._bound_started(now)
        self._sweep(now)
        for name, caller in list(self._callers.items()):
            if not caller.readers and now > caller.seen + _CALLER_KEPT:
                del self._callers[name]
        return overdue

    def take_forgotten(self) -> list[str]:
        """Return the started runs that were forgotten since the last call."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def idle_since(self) -> float | None:
        """Return when the last started run was forgotten; None while there is one."""
        return None if self._runs else self._started_until

    def _bound_started(self, now: float) -> None:
        """Forget the started runs that ended first, while all together hold too much."""
        total = sum(run.log.kept_bytes for run in self._started.values())
        if total <= self._limits.started_bytes:
            return
        ended = [run for run in self._started.values() if run.log.ended]
        ended.sort(key=lambda run: (run.started and run.started.ended_at) or 0.0)
        for run in ended:
            total -= run.log.kept_bytes
            self._expire(run, now)
            if total <= self._limits.started_bytes:
                return

    def _expire(self, run: HeldRun, now: float) -> None:
        """Forget a started run. Readers that are not at its end get ``Truncated``."""
        run.closed = True
        run.log.hold_from(run.log.last_seq)
        run.log.drop(run.log.last_seq, end=True)
        self._gone[run.run_id] = None
        self._runs.pop(run.run_id, None)
        self._started.pop(run.run_id, None)
        self._forgotten.append(run.run_id)
        self._started_until = now
        self._wake(run)

    def _age(self, run: HeldRun, started: Lifetime, now: float) -> None:
        """Drop the events of a started run that are too old."""
        marks, last = started.marks, run.log.last_seq
        if started.ended_at is None and run.log.ended:
            started.ended_at = now
        if last and (not marks or (last > marks[-1][0] and now >= marks[-1][1] + LOOK)):
            marks.append((last, now))
        while marks and now > marks[0][1] + started.terms.retention.seconds:
            run.log.drop(marks.popleft()[0])

    # --- readers --------------------------------------------------------------------------------

    def open(
        self,
        caller: str,
        key: ReaderKey,
        after_seq: int | None,
        now: float,
        *,
        lease: float | None = None,
        only_end: bool = False,
    ) -> int:
        """Open another reader of a run, which begins after ``after_seq``. Return that number.

        Args:
            caller: Name of the reading process.
            key: Key of the reader; unique within the process.
            after_seq: ``seq`` of the last event that the reader knows, 0 for none. None for the
                last event that the log has. A number that no event has yet is waited for. Of a run
                that has ended, the reader gets at least its end.
            now: The time.
            lease: Seconds of silence after which the run no longer waits for the reader. A
                reader that comes back later goes on, or gets ``Truncated``. None for no limit; the
                terms of a started run have their own.
            only_end: Whether the reader gets the terminal event only.

        Raises:
            RunError: The broker does not know the run.
            Truncated: The broker no longer holds what follows ``after_seq``.
            ValueError: The run has ended before ``after_seq``.
            InvalidTransition: The key is in use.
        """
        run = self._runs.get(key.run_id)
        if run is None:
            raise RunNotFound(
                f"run {key.run_id} cannot be read: it has not started, or all of its readers have "
                "left, or the time for which it was kept is over"
            )
        reader_of = self._caller(caller)
        if key in reader_of.readers:
            raise InvalidTransition(f"reader {key} of {caller} is open already")
        last = run.log.last_seq
        if only_end:
            after_seq = 0
        elif run.log.ended and after_seq in (None, last):
            after_seq = last - 1  # the end is all that is left to see
        elif after_seq is None:
            after_seq = last
        elif after_seq > last and run.log.ended:
            raise ValueError(_beyond(run, after_seq))
        elif after_seq <= last:
            run.log.read(after_seq, 1)
        reader_of.seen = max(reader_of.seen, now)
        if run.started is not None:
            lease = run.started.terms.lease
        self._add(Cursor(key, reader_of, run, after_seq, lease, only_end))
        self._settle(run, now)
        return after_seq

    def has_reader(self, caller: str, key: ReaderKey) -> bool:
        """Return whether a caller has a reader of that key."""
        known = self._callers.get(caller)
        return known is not None and key in known.readers

    def leave(self, caller: str, keys: Iterable[ReaderKey], now: float) -> None:
        """Close readers. The owner's own reader closes its run."""
        known = self._callers.get(caller)
        for key in keys:
            run = self._runs.get(key.run_id)
            reader = None if known is None else known.readers.get(key)
            unopened = key.number == 0 and (run is None or run.owner is None)
            if unopened or (reader is not None and reader is reader.run.owner):
                self.close([key.run_id])
            elif reader is not None:
                self._remove(reader)
                self._settle(reader.run, now)

    def leave_all(self, caller: str, now: float) -> None:
        """Close all readers of a calling process that is gone."""
        known = self._callers.get(caller)
        if known is not None:
            self.leave(caller, list(known.readers), now)
            self._callers.pop(caller, None)

    def listen(self, caller: str, received: int, now: float) -> None:
        """Begin to push to a caller, or begin again on another connection.

        What was pushed after number ``received`` is handed out again.
        """
        known = self._caller(caller)
        for number, before in reversed(known.pushes):
            if number > received:
                for reader, sent in before.items():
                    reader.hand_out_again(sent)
        known.pushes.clear()
        self._saw(known, now)
        known.news.update(dict.fromkeys(known.readers.values()))
        self._woken.add(caller)

    def consumed(
        self,
        caller: str,
        received: int,
        positions: Iterable[tuple[ReaderKey, int]],
        now: float,
    ) -> None:
        """Note which pushes have arrived, and up to where readers have consumed.

        Raises:
            InvalidTransition: A ``seq`` was never handed out to its reader.
        """
        known = self._callers.get(caller)
        if known is None:
            return
        while known.pushes and known.pushes[0][0] <= received:
            known.pushes.popleft()
        self._saw(known, now)
        for key, seq in positions:
            reader = known.readers.get(key)
            if reader is not None and reader.consume(seq):
                self._settle(reader.run, now)
                self._tell(reader)  # its window has room

    def take(self, name: str, now: float) -> list[Fetched]:
        """Hand out what readers of a caller may get now. ``number_of`` names the push."""
        caller = self._caller(name)
        if now >= caller.looked + LOOK:
            caller.looked = now
            for reader in caller.readers.values():
                self._check_gate(reader.run, now)
            self._sweep(now)
        found: list[Fetched] = []
        before: dict[Cursor, int] = {}
        failed: list[Cursor] = []
        window = self._limits.window
        news, caller.news = caller.news, {}
        for reader in news:
            key, log = reader.key, reader.run.log
            room, after = window - reader.in_flight, reader.next_after
            if log.ended and reader.sent == reader.opened >= log.last_seq:
                found.append(Fetched(key, [], RunError(_beyond(reader.run, reader.sent))))
                failed.append(reader)
                continue
            if room <= 0 or after is None:
                continue
            try:
                deliveries = log.read(after, room)
            except Truncated as error:
                found.append(Fetched(key, [], error))
                failed.append(reader)
                continue
            before[reader] = reader.sent
            reader.hand_out(deliveries)
            found.append(Fetched(key, deliveries))
        for reader in failed:
            self._remove(reader)
            self._settle(reader.run, now)
        if found:
            caller.pushed += 1
            caller.pushes.append((caller.pushed, before))
        return found

    def number_of(self, name: str) -> int:
        """Return the number of the last push to a caller."""
        return self._caller(name).pushed

    # --- what is known --------------------------------------------------------------------------

    def take_woken(self) -> set[str]:
        """Return the callers for which something has changed since the last call."""
        woken, self._woken = self._woken, set()
        return woken

    def statistics(self) -> dict[str, LogStatistics]:
        """Return the statistics of each run's log."""
        return {run_id: run.log.statistics() for run_id, run in self._runs.items()}

    def present(self) -> list[tuple[metrics.Metric, float]]:
        """Return the present values of the broker's metrics."""
        logs = [run.log for run in self._runs.values()]
        return [
            (metrics.STREAMS, len(logs)),
            (metrics.READERS, sum(len(run.readers) for run in self._runs.values())),
            (metrics.PAUSED, sum(1 for log in logs if log.over_limit)),
            (metrics.BUFFERED, sum(log.kept_bytes for log in logs)),
            (metrics.UNREAD, sum(log.unread_bytes for log in logs)),
            (metrics.EVENTS, self._events),
        ]

    def readers(self, run_id: str) -> list[ReaderStatistics]:
        """Return the statistics of each reader of a run."""
        run = self._runs.get(run_id)
        return [
            ReaderStatistics(r.caller.name, r.key, r.sent, r.consumed, r.in_flight)
            for r in ([] if run is None else run.readers)
        ]

    # --- inside ---------------------------------------------------------------------------------

    def _open_run(self, run_id: str) -> HeldRun | None:
        """Return a run that takes input, made if it is new; None where it was closed."""
        run = self._runs.get(run_id)
        if run is not None:
            return None if run.closed else run
        if run_id in self._gone:
            return None
        limits = self._limits
        log = RunLog(
            max_bytes=limits.max_bytes,
            max_events=limits.max_events,
            retain_bytes=limits.retain_bytes,
            retain_events=limits.retain_events,
        )
        run = self._runs[run_id] = HeldRun(run_id, log)
        return run

    def _own(self, run: HeldRun, caller: str) -> None:
        if run.owner is None and run.started is None:
            run.owner = Cursor(ReaderKey(run.run_id), self._caller(caller), run, 0, None)
            self._add(run.owner)

    def _caller(self, name: str) -> Caller:
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = Caller(name)
        return caller

    def _saw(self, caller: Caller, now: float) -> None:
        """Note that a caller lives. A run waits again for a reader that comes back."""
        back_after, caller.seen = now - caller.seen, now
        for reader in caller.readers.values():
            if reader.lease is not None and back_after > reader.lease:
                self._settle(reader.run, now)

    def _add(self, reader: Cursor) -> None:
        reader.caller.readers[reader.key] = reader
        reader.run.readers.append(reader)
        reader.run.leased += reader.lease is not None
        self._tell(reader)

    def _remove(self, reader: Cursor) -> None:
        run, caller = reader.run, reader.caller
        if caller.readers.pop(reader.key, None) is None:
            return
        caller.news.pop(reader, None)
        for _, before in caller.pushes:
            before.pop(reader, None)
        run.readers.remove(reader)
        run.leased -= reader.lease is not None
        if run.owner is reader:
            run.owner = None

    def _forget(self, run: HeldRun) -> None:
        self._runs.pop(run.run_id, None)
        self._closing.pop(run.run_id, None)

    def _after_input(self, run: HeldRun, now: float | None) -> float:
        self._events += run.log.last_seq - run.counted
        run.counted = run.log.last_seq
        self._wake(run)
        if now is not None and (run.leased or run.started is not None):
            self._settle(run, now)
        return PAUSE if run.log.over_limit else 0.0

    def _wake(self, run: HeldRun) -> None:
        for reader in run.readers:
            self._tell(reader)

    def _tell(self, reader: Cursor) -> None:
        reader.caller.news[reader] = None
        self._woken.add(reader.caller.name)

    def _settle(self, run: HeldRun, now: float | None) -> None:
        """Let the log keep what the slowest live reader has not consumed, and no more."""
        readers, started = run.readers, run.started
        if len(readers) == 1 and not (run.leased or run.closed or started):
            run.log.ack(min(readers[0].consumed, run.log.last_seq))
            return
        waits = started is None or started.terms.slow_reader == "wait"
        live = [
            r.consumed
            for r in (readers if waits else ())
            if not r.only_end and (now is None or r.is_live(now))
        ]
        slowest = min((*live, run.log.last_seq))
        run.log.hold_from(slowest)
        if started is not None:
            if now is not None:
                self._age(run, started, now)
            return
        if run.closed and slowest == run.log.last_seq:
            for reader in list(readers):
                self._remove(reader)
            self._forget(run)

    def _sweep(self, now: float) -> None:
        """Forget left runs whose other readers have gone or finished."""
        for run in list(self._closing.values()):
            self._settle(run, now)

    def _check_gate(self, run: HeldRun, now: float) -> None:
        """End a run that waits for events of an attempt which will not come: its worker sent its
        result, and died before what it had sent to the stream was through."""
        gate = run.log.gate
        if gate is None or gate != run.gate:
            run.gate, run.gate_since = gate, now
        elif now > run.gate_since + self._limits.gate:
            lost = gate.published - gate.arrived
            error = WorkerDied(
                f"run {run.run_id}: {lost} events of task {gate.task_id}, attempt {gate.attempt}, "
                "were lost with the worker that had sent them"
            )
            run.log.terminate(self._end(error), incomplete=True)
            self._wake(run)


def _beyond(run: HeldRun, after: int) -> str:
    return (
        f"after={after}: run {run.run_id} has ended, and its last event has number "
        f"{run.log.last_seq}"
    )
