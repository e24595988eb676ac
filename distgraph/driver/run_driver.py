"""The driver of one run, on every backend: passes events to the engine and carries out its
instructions.

Pure except for the clock and the ports: no lock, no thread, no Ray. A backend posts events, one
thread at a time; each call handles some of the events and sends the resulting instructions.

**While the log is over its limit, the driver starts no attempt and emits no event.** Events that
could make the engine do either wait, in order: outcomes, calls, and the reports of the saver, the
caches and the clock. Attempts that were not sent yet wait too. Requests to cancel or to drain the
run are handled at once. Operations written earlier are still sent: the log needs these operations
to release the events it holds. Once the engine has ended, nothing waits any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable
from dataclasses import replace
from typing import Any

from distgraph._internal.ids import NewCheckpointId
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import (
    LAST,
    AttemptEnded,
    CallDropped,
    CancelRequested,
    CancelTask,
    DrainRequested,
    DriverReplaced,
    Emit,
    Finish,
    InputEvent,
    Instruction,
    LoadCheckpoint,
    LookUp,
    Remember,
    ReturnCall,
    RunOptions,
    RunStarted,
    SaveCheckpoint,
    SaveWrites,
    StartTask,
    StorageFailed,
    Sync,
    Synced,
    TaskCalled,
    Wake,
    Woken,
)
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import GENERATION, AttemptId, EndNotes, shown_attempt
from distgraph.driver.batching import WAVE, Batcher, Durations
from distgraph.driver.journal import JournalWriter, not_the_same, repeat_journal
from distgraph.driver.lost_attempts import (
    WantedAttempt,
    cut_off,
    outcome_after_fence,
    outcome_of_loss,
)
from distgraph.driver.metering import RunMeter
from distgraph.driver.operations import OperationWriter
from distgraph.driver.outbox import Outbox
from distgraph.driver.ports import (
    Acked,
    AttemptOverdue,
    BackendFailed,
    DriverEvent,
    EventPlane,
    Fenced,
    Group,
    GroupEnded,
    GroupRecalled,
    Relieved,
    Store,
    Workers,
)
from distgraph.driver.progress import ProgressWriter, run_spans
from distgraph.driver.run_end import RunEnd
from distgraph.driver.run_storage import RunStorage
from distgraph.engine.checkpoints import increment
from distgraph.engine.machine import Machine
from distgraph.errors import DriverLost, WorkerDied
from distgraph.logs import of_run
from distgraph.serde.exceptions import capture_error

__all__ = ("Later", "RunDriver")

Later = Callable[[float, Woken], Callable[[], None]]
"""Posts an event after a delay in seconds, never from within the call. Returns a function that
cancels the event."""

_NEVER_HELD = frozenset({CancelRequested, DrainRequested, Acked, Relieved, BackendFailed})
"""Events that are handled also while the log is over its limit."""


class RunDriver:
    """Drives one run. Not thread-safe: one call at a time.

    Args:
        spec: The graph.
        options: The options of the run.
        workers: The executor of attempts.
        events: The connection to the run's log.
        operations: Writes the operations.
        store: Storage of checkpoints and caches; None if the run has neither.
        later: Posts ``Woken`` after a delay in seconds.
        program: Identifies the graph among the graphs that share ``durations``.
        durations: Measured durations of the nodes.
        slots: Attempts that can run at once.
        max_concurrency: Groups in flight at once, None for no limit.
        next_version: Returns the version of a channel that follows one.
        new_checkpoint_id: Makes ids of checkpoints that are saved.
        journal: Keeps what another driver needs to take the run over; None where none could.
        first_batch: Number of the first batch of operations.
        clock: Returns seconds.
        meter: Counts what becomes of attempts; None where nobody asks.
        exits: Whether the process may end soon after the run.
    """

    def __init__(
        self,
        spec: GraphSpec,
        options: RunOptions,
        *,
        workers: Workers,
        events: EventPlane,
        operations: OperationWriter,
        store: Store | None,
        later: Later,
        program: Hashable = "",
        durations: Durations | None = None,
        slots: int = 1,
        max_concurrency: int | None = None,
        next_version: Callable[[Any], Any] = increment,
        new_checkpoint_id: NewCheckpointId | None = None,
        journal: JournalWriter | None = None,
        first_batch: int = 1,
        clock: Callable[[], float] = time.monotonic,
        meter: RunMeter | None = None,
        exits: bool = False,
    ) -> None:
        self._journal = journal
        self._journal_ended = False
        """Whether the run has a journal no more, for which saves waited."""
        if journal is not None:
            next_version = journal.draws.of(next_version)
            if new_checkpoint_id is not None:
                new_checkpoint_id = journal.draws.of(new_checkpoint_id)
        self._machine = Machine(
            spec,
            options,
            # what is saved sorts by its id
            new_checkpoint_id=new_checkpoint_id if options.thread.saves else None,
            next_version=next_version,
        )
        self._losses = options.shared.losses
        self._workers = workers
        self._events = events
        self._write = operations
        self._storage = RunStorage(store, has_journal=journal is not None)
        self._outbox = Outbox(events, workers, self._storage, first_batch)
        self._progress = ProgressWriter(operations, meter, run_spans(spec, options, exits=exits))
        self._fields = _fields(spec, options)
        self._later = later
        self._program = program
        self._clock = clock
        self._batcher: Batcher[StartTask] = Batcher(
            durations or Durations(), slots, max_concurrency
        )
        self._attempts: dict[AttemptId, WantedAttempt] = {}
        """The attempts that are wanted: not ended, and not cancelled."""
        self._streamed = False
        """Whether the attempt whose outcome is handled has emitted events."""
        self._wakes: dict[str, Callable[[], None]] = {}
        """Functions that cancel the pending ``Woken`` events, by key."""
        self._congested = False
        self._held: deque[DriverEvent] = deque()
        """Events that wait for room in the log."""
        self._run_end = RunEnd()
        self.finished = False
        """Whether the run has ended."""

    # --- for the backend ------------------------------------------------------------------------

    def run(self, events: Iterable[DriverEvent]) -> None:
        """Handle events, and send what follows. A failure here ends the run with that error.

        With no events, send what has become due at ``deadline``.
        """
        with of_run(self._fields):
            try:
                for event in events:
                    self._handle(event)
                self._flush()
            except BaseException as error:  # a bug, or user code in a reducer that did it
                self.collapse(error)

    def repeat(self, start: RunStarted) -> None:
        """Arrive where an earlier driver of the run was lost, and go on from there.

        The engine handles the events of the journal again. What it asks for is done already, or
        is asked for again if no reply is in the journal. Attempts that had not ended are lost.

        Args:
            start: Starts the run, if the earlier driver was lost before it did.
        """
        try:
            begun = self._repeat()
        except BaseException as error:
            lost = error if isinstance(error, DriverLost) else not_the_same()
            lost.__cause__ = lost.__cause__ or (None if lost is error else error)
            self.collapse(lost)
        else:
            self.run(() if begun else (start,))

    @property
    def wanted(self) -> Container[AttemptId]:
        """The attempts whose outcomes are wanted. Any thread may look."""
        return self._attempts

    @property
    def minds_acks(self) -> bool:
        """Whether anything waits for the news that the log has taken a batch. If nothing does, the
        news can wait for the next event."""
        return self._congested or self._outbox.minds_acks

    @property
    def deadline(self) -> float | None:
        """When to call ``run`` though nothing has happened, by the clock. None for never."""
        return None if self._congested else self._batcher.deadline()

    # --- events ---------------------------------------------------------------------------------

    def _handle(self, event: DriverEvent) -> None:
        if self._congested and type(event) not in _NEVER_HELD and not self._machine.finished:
            self._held.append(event)
            return
        _HANDLERS.get(type(event), RunDriver._feed)(self, event)
        if self._held:
            self._release()

    def _release(self) -> None:
        """Handle what was held, as far as the log has room."""
        while self._held and (self._machine.finished or not self._congested):
            event = self._held.popleft()
            _HANDLERS.get(type(event), RunDriver._feed)(self, event)

    def _feed(self, event: InputEvent) -> None:
        """Pass an event to the engine, and carry out the engine's instructions."""
        if self.finished:
            return
        for instruction in self._decided(event):
            _CARRY_OUT[type(instruction)](self, instruction)

    def _decided(self, event: InputEvent) -> list[Instruction]:
        """Let the engine handle an event, and note the event in the journal."""
        journal = self._journal
        if journal is None:
            return self._machine.handle(event)
        packed = journal.pack(event)
        with journal.draws.active():
            instructions = self._machine.handle(event)
        note = None if packed is None else journal.note(packed)
        if note is None:
            self._journal, self._journal_ended = None, True
            self._write.keep(EndNotes())
        else:
            self._write.keep(note)
        return instructions

    def _group_ended(self, event: GroupEnded) -> None:
        group = event.group
        if group.calls:  # nobody waits for their results
            group.calls.clear()
            self._batcher.lend(-1)
        self._batcher.ended(group.node, [outcome.duration for outcome in event.outcomes])
        self._run_end.ended(group)
        self._try_end()
        for outcome in event.outcomes:
            self._ended(outcome)
        if len(event.outcomes) < len(group.starts):
            for attempt_id, start in zip(group.ids, group.starts, strict=True):
                attempt = self._attempts.get(attempt_id)
                if attempt is not None and attempt.group is group:
                    self._lost(start, event.lost.get(attempt_id))

    def _group_recalled(self, event: GroupRecalled) -> None:
        """Send attempts again that have not begun; what has come of the others counts now."""
        group, first = event.group, event.first
        back = list(zip(group.ids[first:], group.starts[first:], strict=True))
        group.ids, group.starts = group.ids[:first], group.starts[:first]
        self._batcher.measured(group.node, [outcome.duration for outcome in event.outcomes])
        for attempt_id, start in back:
            attempt = self._attempts.get(attempt_id)
            if attempt is not None and attempt.group is group:
                attempt.group = None
                self._queue(start)
        for outcome in event.outcomes:
            self._ended(outcome)

    def _lost(self, start: StartTask, error: BaseException | None) -> None:
        """Let the engine know of an attempt that never came back."""
        request = start.request
        if self._workers.past_limit(request.attempt_id):
            # it resisted its limit of time, and went with its process
            self._ended(cut_off(start, status="timeout"))
            return
        outcome = outcome_of_loss(self._attempts[request.attempt_id], error)
        if outcome is not None:
            self._ended(outcome)
            return
        arrived = self._events.fence(request.attempt_id)
        if arrived is not None:
            self._fenced(Fenced(request.attempt_id, arrived))

    def _fenced(self, event: Fenced) -> None:
        """Decide what follows a lost attempt, by what of it is in the stream."""
        attempt = self._attempts.get(event.attempt_id)
        if attempt is None or attempt.lost is None:  # it was cancelled meanwhile
            return
        arrived = self._progress.without_start(event.arrived)
        self._ended(outcome_after_fence(attempt, arrived))

    def _overdue(self, event: AttemptOverdue) -> None:
        """End an attempt that did not end at its limit of time, whatever its process does."""
        attempt = self._attempts.get(event.attempt_id)
        if attempt is None or attempt.group is None or attempt.lost is not None:
            return
        group = attempt.group
        self._ended(cut_off(attempt.start, status="timeout", stack=event.stack))
        if not self._wanted(group):
            self._workers.cancel(group)

    def _ended(self, outcome: AttemptOutcome) -> None:
        """Handle the outcome of an attempt. The outcome of a cancelled attempt is ignored."""
        attempt = self._attempts.pop(outcome.attempt_id, None)
        if attempt is None:
            return
        if outcome.ignored:
            self._machine.ignored.update(dict.fromkeys(outcome.ignored))
        if attempt.admitted:
            if outcome.lost:
                self._write.fence(outcome.attempt_id)
            else:
                self._write.commit(outcome)
        self._progress.ended(attempt.start, outcome)
        self._streamed = attempt.admitted and outcome.published > 0
        self._feed(AttemptEnded(outcome))
        self._streamed = False

    def _task_called(self, event: TaskCalled) -> None:
        call = event.call
        attempt = self._attempts.get(call.attempt_id)
        if attempt is not None and attempt.group is not None:
            group = attempt.group
            if not group.calls:  # it only waits: meanwhile it counts as none that is at work
                self._batcher.lend(1)
            group.calls.add((call.attempt_id, call.seq))
        self._feed(event)

    def _call_dropped(self, event: CallDropped) -> None:
        self._settle_call(event.call.attempt_id, event.call.seq)
        self._feed(event)

    def _settle_call(self, attempt_id: AttemptId, seq: int) -> Group | None:
        """Note that a call has its result. Return the group that made it, if it is running."""
        attempt = self._attempts.get(attempt_id)
        group = None if attempt is None else attempt.group
        if group is not None and (attempt_id, seq) in group.calls:
            group.calls.discard((attempt_id, seq))
            if not group.calls:
                self._batcher.lend(-1)
        return group

    def _woken(self, event: Woken) -> None:
        self._wakes.pop(event.key, None)
        self._feed(event)

    def _synced(self, event: Synced) -> None:
        if not self._run_end.is_decided:
            self._feed(event)
        elif event.key == LAST:
            self._run_end.saved()
            self._try_end()

    def _storage_failed(self, event: StorageFailed) -> None:
        self._storage.broken = True
        if not self._run_end.is_decided:
            self._feed(event)
            return
        self._run_end.not_saved(event.error)
        self._try_end()

    def _acked(self, event: Acked) -> None:
        self._outbox.acked()
        self._congested = event.congested and not self.finished

    def _relieved(self, _: Relieved) -> None:
        self._congested = False

    # --- instructions ---------------------------------------------------------------------------

    def _emit(self, emit: Emit) -> None:
        self._write.emit(self._progress.stamped(emit))

    def _start(self, start: StartTask) -> None:
        self._queue(self._register(start))

    def _queue(self, start: StartTask) -> None:
        request = start.request
        node = (self._program, request.graph_path, request.node, request.kind, start.key)
        bound = None if start.part is None else start.part.max_concurrency
        scope = None if start.limit is None else (request.graph_path, start.limit)
        self._batcher.add(
            node, (start,), alone=not self._workers.batches(start), bound=bound, scope=scope
        )

    def _register(self, start: StartTask, *, again: bool = False) -> StartTask:
        """Note an attempt; ``again``: it was one of an earlier driver, which made its span."""
        request = start.request
        losses = self._losses.of(start.ray_options)
        if losses.on_lost_attempt == "reset":
            numbered = {**request.metadata, "attempt": shown_attempt(request.attempt)}
            start = replace(start, request=replace(request, metadata=numbered))
        if not again:
            start = self._progress.traced(start)
        self._attempts[request.attempt_id] = WantedAttempt(start, losses)
        self._progress.queued(start)
        return start

    def _cancel(self, cancel: CancelTask) -> None:
        attempt = self._attempts.pop(cancel.attempt_id, None)
        if attempt is None:  # it has ended, and only waited for calls to be known
            return
        if attempt.admitted:
            self._write.fence(cancel.attempt_id)
        self._progress.cancelled(attempt.start, cancel.attempt_id)
        if attempt.lost is not None:  # its group has come back
            return
        if attempt.group is None:
            self._batcher.discard(attempt.start)
        elif not self._wanted(attempt.group) and self._workers.cancel(attempt.group):
            self._run_end.cancelled(attempt.group)

    def _return(self, instruction: ReturnCall) -> None:
        result = instruction.result
        group = self._settle_call(result.attempt_id, result.seq)
        if group is not None:  # what the caller emits next follows the events of the task
            self._outbox.add_result(group, result, behind_events=self._streamed)

    def _wake(self, wake: Wake) -> None:
        self._wakes[wake.key] = self._later(wake.seconds, Woken(wake.key))

    def _end(self, finish: Finish) -> None:
        """End the run once all saved data is durable and all cancelled groups have ended."""
        self._run_end.decide(finish, is_durable=not self._storage.finish())
        self._try_end()

    def _try_end(self) -> None:
        finish = self._run_end.due()
        if finish is None:
            return
        self._write.finish(finish, self._machine.drain, tuple(self._machine.ignored))
        self._progress.finish(finish.status, finish.error)
        self._close()

    # --- sending --------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what is ready: groups of attempts, and operations on the log.

        A worker may be faster than the news of its admission; the log holds its events until then.
        """
        if not (self._congested or self.finished):
            self._send()
        self._outbox.deliver()
        answer = self._outbox.send(self._write.take(), at_once=self.finished)
        if answer is not None:
            self._acked(answer)
            self._outbox.deliver()
        if self._journal_ended:
            self._outbox.release_saves()

    def _send(self) -> None:
        # a refusal is followed by another look: the engine's reply may contain attempts to start
        while taken := self._batcher.take(self._clock(), WAVE):
            groups = [Group(node, starts) for node, starts in taken]
            while groups and (refused := self._workers.submit(groups)):
                for group, error in refused.items():
                    self._refuse(group, error)
                left = [group for group in groups if group not in refused]
                groups = [group for group in left if self._wanted(group)]
                for group in left:
                    if group not in groups:  # a refusal has ended the run
                        self._batcher.ended(group.node, ())
            for group in groups:
                self._sent(group)

    def _sent(self, group: Group) -> None:
        """Admit the attempts of a group when the group is sent, after the commits of earlier
        attempts."""
        for attempt_id, start in zip(group.ids, group.starts, strict=True):
            attempt = self._attempts.get(attempt_id)
            if attempt is not None:
                attempt.group = group
                self._progress.sent(attempt_id)
                if self._write.streams and not attempt.admitted:
                    attempt.admitted = True
                    buffer = attempt.losses.on_lost_attempt == "buffer"
                    step = start.request.step
                    self._write.admit(attempt_id, step, buffer=buffer, after=start.after)

    def _refuse(self, group: Group, error: Exception) -> None:
        """Fail an attempt whose input cannot be sent."""
        self._batcher.ended(group.node, ())
        for start in group.starts:
            request = start.request
            notes = (f"While sending node {request.node!r}, step {request.step}, to a worker",)
            self._ended(cut_off(start, error=capture_error(error, note_lines=notes)))

    def _wanted(self, group: Group) -> bool:
        return any(attempt_id in self._attempts for attempt_id in group.ids)

    # --- after another driver -------------------------------------------------------------------

    def _repeat(self) -> bool:
        """Repeat the journal. Return whether the run had been started."""
        journal = self._journal
        assert journal is not None
        self._storage.saves_known = journal.saved_before
        with self._progress.repeating():
            repeated = repeat_journal(journal, self._handled_again, self._carry_out_again)
        if self._write.is_behind:
            raise not_the_same()
        self._feed(DriverReplaced((self._outbox.last_sent + 1) // GENERATION))
        for request in repeated.unanswered:
            _CARRY_OUT[type(request)](self, request)
        if repeated.finish is not None:
            self._end(repeated.finish)
        for attempt in list(self._attempts.values()):
            self._lose_with_driver(attempt)
        return repeated.begun

    def _handled_again(self, event: InputEvent) -> list[Instruction]:
        """Let the engine handle an event of the journal."""
        if isinstance(event, AttemptEnded):
            outcome = event.outcome
            self._machine.ignored.update(dict.fromkeys(outcome.ignored))
            self._progress.ended(self._attempts.pop(outcome.attempt_id).start, outcome)
        return self._machine.handle(event)

    def _carry_out_again(self, instruction: Instruction) -> None:
        carry_out = _AGAIN.get(type(instruction))
        if carry_out is not None:  # else what it is for has ended with the earlier driver
            carry_out(self, instruction)

    def _start_again(self, start: StartTask) -> None:
        self._register(start, again=True)

    def _cancel_again(self, cancel: CancelTask) -> None:
        attempt = self._attempts.pop(cancel.attempt_id, None)
        if attempt is not None:
            self._progress.cancelled(attempt.start, cancel.attempt_id)

    def _lose_with_driver(self, attempt: WantedAttempt) -> None:
        request = attempt.start.request
        attempt.admitted = self._write.streams
        error = WorkerDied(
            f"node {request.node!r}, step {request.step}: the superstep driver died while the node "
            "ran, and the node's process went with it"
        )
        self._lost(attempt.start, error)

    # --- the end --------------------------------------------------------------------------------

    def collapse(self, error: BaseException) -> None:
        """End the run without its engine.

        Another thread may call this where code of users does not come back from a turn.
        """
        if self.finished:
            return
        groups = {a.group: None for a in self._attempts.values() if a.group is not None}
        self._progress.finish("error", error)
        self._close()
        self._write.take()
        self._outbox.clear()
        for group in groups:
            self._workers.cancel(group)
        self._events.terminate(error)

    def _close(self) -> None:
        """Start nothing any more, and hold nothing: what still comes does nothing."""
        self.finished = True
        self._run_end.reported()
        self._congested = False
        self._attempts.clear()
        self._batcher.clear()
        while self._wakes:
            self._wakes.popitem()[1]()
        self._storage.close()


_HANDLERS: dict[type, Callable[[RunDriver, Any], None]] = {
    GroupEnded: RunDriver._group_ended,
    GroupRecalled: RunDriver._group_recalled,
    AttemptOverdue: RunDriver._overdue,
    Fenced: RunDriver._fenced,
    TaskCalled: RunDriver._task_called,
    CallDropped: RunDriver._call_dropped,
    Synced: RunDriver._synced,
    StorageFailed: RunDriver._storage_failed,
    Woken: RunDriver._woken,
    Acked: RunDriver._acked,
    Relieved: RunDriver._relieved,
    BackendFailed: lambda driver, event: driver.collapse(event.error),
}
"""Handlers of events. The engine is given all others as they are."""

_CARRY_OUT: dict[type, Callable[[RunDriver, Any], None]] = {
    Emit: RunDriver._emit,
    StartTask: RunDriver._start,
    CancelTask: RunDriver._cancel,
    ReturnCall: RunDriver._return,
    LoadCheckpoint: lambda driver, request: driver._storage.ask(request),
    LookUp: lambda driver, request: driver._storage.ask(request),
    Sync: lambda driver, request: driver._storage.ask(request),
    SaveWrites: lambda driver, save: driver._storage.save(save),
    SaveCheckpoint: lambda driver, save: driver._storage.save(save),
    Remember: lambda driver, save: driver._storage.save(save),
    Wake: RunDriver._wake,
    Finish: RunDriver._end,
}
"""The method that carries out each type of instruction."""

_AGAIN: dict[type, Callable[[RunDriver, Any], None]] = {
    Emit: RunDriver._emit,
    StartTask: RunDriver._start_again,
    CancelTask: RunDriver._cancel_again,
    SaveWrites: lambda driver, save: driver._storage.save_again(save),
    SaveCheckpoint: lambda driver, save: driver._storage.save_again(save),
    Remember: lambda driver, save: driver._storage.save_again(save),
}
"""The method for each type of instruction while a journal is repeated."""


def _fields(spec: GraphSpec, options: RunOptions) -> dict[str, str]:
    """Return what log records of the driver have."""
    shared = options.shared
    thread_id = shared.configurable.get("thread_id")
    thread = {} if thread_id is None else {"thread_id": str(thread_id)}
    return {"run_id": shared.run_id, **thread, "graph": spec.name}
