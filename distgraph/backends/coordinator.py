"""From engine to backend: instructions become stream operations, and work to start or cancel.

Every backend feeds events in and carries out the actions that come back, and says when it sends an
attempt. What a backend has to know of ordering is in the operations that it gets for both: it hands
them to the log as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from distgraph._internal.ids import NewCheckpointId
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import (
    LAST,
    AttemptEnded,
    CallDropped,
    CancelRequested,
    CancelTask,
    CheckpointLoaded,
    DrainRequested,
    Emit,
    Found,
    InputEvent,
    LoadCheckpoint,
    LookUp,
    Remember,
    ReturnCall,
    RunOptions,
    RunStarted,
    SaveCheckpoint,
    SaveWrites,
    StartTask,
    Storage,
    StorageFailed,
    Sync,
    Synced,
    TaskCalled,
    Wake,
    Woken,
)
from distgraph.contract.events import Finish as RunFinished
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import (
    DRIVER,
    END_MODE,
    Admit,
    Commit,
    Event,
    Fence,
    Finish,
    Op,
    Publish,
    Segment,
)
from distgraph.engine.checkpoints import increment
from distgraph.engine.machine import Machine
from distgraph.serde.exceptions import capture_error
from distgraph.streaming.codec import encode_events

Encode = Callable[[list[Event]], Any]


@dataclass(slots=True)
class Actions:
    """What a backend does next: first the operations, then the rest."""

    ops: list[Op] = field(default_factory=list)
    start: list[StartTask] = field(default_factory=list)
    """To be sent when there is room; ``Coordinator.sent`` is told of each."""
    cancel: list[CancelTask] = field(default_factory=list)
    returns: list[CallResult] = field(default_factory=list)
    """For code that called tasks: told outside of any lock, for it may run more of that code."""
    storage: list[Storage] = field(default_factory=list)
    """For the saver, in order; what it reports goes to ``Coordinator.stored``."""
    wakes: list[Wake] = field(default_factory=list)
    """When the time of one is over, its key goes to ``Coordinator.woken``."""
    finished: RunFinished | None = None


class Coordinator:
    """One run's engine, as a backend drives it. Not thread-safe: one event at a time."""

    def __init__(
        self,
        spec: GraphSpec,
        options: RunOptions,
        *,
        encode: Encode,
        want_output: bool,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        next_version: Callable[[Any], Any] = increment,
        new_checkpoint_id: NewCheckpointId | None = None,
    ) -> None:
        new_id: NewCheckpointId | None = None
        if options.thread.saves:  # what is saved sorts by its id
            new_id = new_checkpoint_id
        self._machine = Machine(spec, options, new_checkpoint_id=new_id, next_version=next_version)
        self._saves = False
        """Whether anything was saved that may not be durable yet."""
        self._broken = False
        """Whether the saver has failed: nothing is durable from there on."""
        self._held: RunFinished | None = None
        """The end of the run, until all that it saved is durable."""
        self._modes = options.stream.modes
        # where nothing is streamed, no worker publishes: there is nothing to put in order
        self._silent = not options.stream.modes
        self._encode = encode
        self._want_output = want_output
        self._now = now
        self._published = 0
        self._awaited: set[tuple[str, int]] = set()
        """Attempts that the engine waits for, sent or not."""
        self._admitted: set[tuple[str, int]] = set()
        """Those of them that the log knows."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self._machine.finished and self._held is None

    def start(self, value: Any) -> Actions:
        """Begin the run with its input."""
        return self._feed(RunStarted(value), [])

    def awaits(self, start: StartTask) -> bool:
        """Whether an attempt is still wanted: it was not cancelled, and the run has not ended."""
        return (start.request.task_id, start.request.attempt) in self._awaited

    def sent(self, start: StartTask) -> Sequence[Op]:
        """Learn that an attempt is on its way to a worker, and return what the log is told of it.

        It is admitted now, behind whatever has ended before, and not when the engine asked for it:
        where attempts wait for a slot, those that go first have the stream to themselves. One that
        was cancelled meanwhile is never admitted.
        """
        key = (start.request.task_id, start.request.attempt)
        if self._silent or key not in self._awaited:
            return ()
        self._admitted.add(key)
        return (Admit(*key, start.request.step),)

    def ended(self, outcome: AttemptOutcome) -> Actions:
        """Take the outcome of an attempt. One that is no longer wanted does nothing."""
        key = (outcome.task_id, outcome.attempt)
        if self._machine.finished or key not in self._awaited:
            return Actions()
        self._awaited.discard(key)
        if outcome.extra.get("lost"):
            gate = self._fence(key)
        else:
            gate = [] if self._silent else [Commit(*key, outcome.published, outcome.tail)]
            self._admitted.discard(key)
        return self._feed(AttemptEnded(outcome), gate)

    def called(self, call: TaskCall | DroppedCall) -> Actions:
        """Take a call that the code of an attempt made, or has cancelled."""
        event = TaskCalled(call) if isinstance(call, TaskCall) else CallDropped(call)
        return self._feed(event, [])

    def cancel(self) -> Actions:
        """End the run."""
        return self._feed(CancelRequested(), [])

    def woken(self, key: str) -> Actions:
        """Learn that the time of a ``Wake`` is over."""
        return self._feed(Woken(key), [])

    def drain(self, reason: str) -> Actions:
        """Let the run stop behind the current superstep. It may be asked before the start."""
        return self._feed(DrainRequested(reason), [])

    def stored(self, event: CheckpointLoaded | Found | Synced | StorageFailed) -> Actions:
        """Take what the saver reports."""
        self._broken = self._broken or isinstance(event, StorageFailed)
        if self._held is None:
            return self._feed(event, [])
        finish, self._held = self._held, None
        if isinstance(event, StorageFailed) and finish.error is None:
            finish = RunFinished("error", error=event.error)
        return Actions([self._terminal(finish)], finished=finish)

    def _feed(self, event: InputEvent, ops: list[Op]) -> Actions:
        actions = Actions(ops)
        events: list[Event] = []
        step = 0
        for instruction in self._machine.handle(event):
            if isinstance(instruction, Emit):
                if events and step != instruction.step:
                    self._flush(actions, events, step)
                step = instruction.step
                events.extend(self._shown(instruction))
                continue
            if isinstance(
                instruction, (LoadCheckpoint, SaveWrites, SaveCheckpoint, Sync, LookUp, Remember)
            ):
                keeps = (SaveWrites, SaveCheckpoint, Remember)
                self._saves = self._saves or isinstance(instruction, keeps)
                actions.storage.append(instruction)
                continue
            if isinstance(instruction, Wake):
                actions.wakes.append(instruction)
                continue
            if isinstance(instruction, ReturnCall):
                actions.returns.append(instruction.result)
                continue
            self._flush(actions, events, step)
            if isinstance(instruction, StartTask):
                self._awaited.add((instruction.request.task_id, instruction.request.attempt))
                actions.start.append(instruction)
            elif isinstance(instruction, CancelTask):
                key = (instruction.task_id, instruction.attempt)
                self._awaited.discard(key)
                actions.ops += self._fence(key)
                actions.cancel.append(instruction)
            else:
                self._finish(actions, instruction)
        self._flush(actions, events, step)
        return actions

    def _fence(self, key: tuple[str, int]) -> list[Op]:
        """Cut an attempt off; of one that was never sent, nothing can come."""
        if key not in self._admitted:
            return []
        self._admitted.discard(key)
        return [Fence(*key)]

    def _finish(self, actions: Actions, finish: RunFinished) -> None:
        """End the run; what it has saved is durable before anybody learns of it."""
        if self._saves and not self._broken:
            self._held = finish
            actions.storage.append(Sync(LAST))
            return
        actions.finished = finish
        actions.ops.append(self._terminal(finish))

    def _shown(self, emit: Emit) -> Sequence[Event]:
        payload = _portable(emit.payload)
        shown = []
        if emit.mode in self._modes:
            shown.append(Event(emit.ns, emit.mode, payload))
        if emit.debug_type is not None and "debug" in self._modes:
            wrapped = {
                "step": emit.step,
                "timestamp": self._now().isoformat(),
                "type": emit.debug_type,
                "payload": payload,
            }
            shown.append(Event(emit.ns, "debug", wrapped))
        return shown

    def _flush(self, actions: Actions, events: list[Event], step: int) -> None:
        if events:
            first = self._published + 1
            self._published += len(events)
            segment = Segment(DRIVER, 1, step, first, len(events), self._encode(list(events)))
            actions.ops.append(Publish(segment))
            events.clear()

    def _terminal(self, finish: RunFinished) -> Op:
        value = finish.value if self._want_output or finish.status == "command" else None
        drain = self._machine.drain
        event = end_event(finish.status, value, finish.error, finish.interrupts, drain=drain)
        return Finish(self._encode([event]), finish.status == "cancelled")


def end_event(
    status: str,
    value: Any = None,
    error: ShippedError | BaseException | None = None,
    interrupts: Sequence[Any] = (),
    *,
    drain: str | None = None,
    orphan: bool = False,
) -> Event:
    """Return a run's terminal event. ``drain``: why the run was asked to stop, if it was.
    ``orphan``: its driver does not know that it ended."""
    if isinstance(error, BaseException):
        error = capture_error(error)
    end = {
        "status": status,
        "value": value,
        "error": error,
        "interrupts": tuple(interrupts),
        "drain": drain,
        "orphan": orphan,
    }
    return Event((), END_MODE, end)


def end_blob(status: str, *, error: BaseException, orphan: bool = False) -> bytes:
    """Return the terminal event of a run that ends outside of its engine, encoded."""
    return encode_events([end_event(status, error=error, orphan=orphan)])


def _portable(payload: Any) -> Any:
    """Replace an exception in a payload by what survives the way to the caller."""
    if isinstance(payload, dict) and isinstance(payload.get("error"), BaseException):
        return {**payload, "error": capture_error(payload["error"])}
    return payload
