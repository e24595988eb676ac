"""The superstep machine: events in, instructions out, for a graph and all graphs nested in it.

A subgraph that was added as a node is a ``GraphRun`` of its own on this machine: its nodes are
tasks like any other, and no worker waits for a child. The machine is deterministic: the same events
give the same instructions (``Recording`` and ``replay``).

How to read it: ``handle`` looks the event up in ``_ON_EVENT``. The end of an attempt goes on in
``task_outcomes``, a call of a task in ``called_tasks``. Both end in ``superstep_loop``, the life of
a graph from its first superstep to its last, which starts tasks by ``task_starts`` and ends them by
``task_results``. All of them change one ``MachineState``. Other files decide the rest:
``superstep`` which tasks run, ``thread`` what is loaded and saved, ``graph_run`` what a worker is
sent, ``failures`` which failures are tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from distgraph._internal.ids import NewCheckpointId, derived_checkpoint_ids, scatter
from distgraph.contract.events import (
    AttemptEnded,
    CallDropped,
    CancelRequested,
    CheckpointLoaded,
    DrainRequested,
    DriverReplaced,
    Finish,
    Found,
    InputEvent,
    Instruction,
    ProgressMade,
    RunOptions,
    RunStarted,
    StorageFailed,
    Synced,
    TaskCalled,
    Woken,
)
from distgraph.contract.spec import GraphSpec
from distgraph.engine import invariants
from distgraph.engine.called_tasks import CalledTasks
from distgraph.engine.checkpoints import increment
from distgraph.engine.idle_timeout import take_report
from distgraph.engine.machine_state import MachineState
from distgraph.engine.superstep_loop import SuperstepLoop
from distgraph.engine.task_outcomes import TaskOutcomes
from distgraph.engine.task_results import TaskResults
from distgraph.engine.transitions import Recording, Transition
from distgraph.errors import InvalidTransition

__all__ = ("Machine", "replay")


class Machine:
    """Decides what runs next. Pure: no I/O, clock, thread or lock.

    Args:
        spec: The root graph.
        options: What the run was asked for.
        new_checkpoint_id: By default, ids are derived from the run's id.
        next_version: The saver's rule for versions of channels.
        random: Numbers of [0, 1) for the jitter of retries; by default, derived from the run's id.
        record: Keep a ``recording`` of all events. It grows with the run.
    """

    validates: ClassVar[bool] = False
    """Whether every event is followed by ``validate``. On in tests, off in production."""

    def __init__(
        self,
        spec: GraphSpec,
        options: RunOptions,
        *,
        new_checkpoint_id: NewCheckpointId | None = None,
        next_version: Callable[[Any], Any] = increment,
        random: Callable[[], float] | None = None,
        record: bool = False,
    ) -> None:
        new_checkpoint_id = new_checkpoint_id or derived_checkpoint_ids(options.shared.run_id)
        random = random or scatter(options.shared.run_id)
        self.recording: Recording | None = None
        """All events so far, with ``record``."""
        if record:
            self.recording = Recording(spec, options)
            new_checkpoint_id = self.recording.drawing(new_checkpoint_id)
            next_version = self.recording.drawing(next_version)
            random = self.recording.drawing(random)
        self._state = MachineState(
            options,
            new_checkpoint_id=new_checkpoint_id,
            next_version=next_version,
            random=random,
        )
        results = TaskResults(self._state)
        self._loop = SuperstepLoop(self._state, results)
        self._outcomes = TaskOutcomes(self._state, results, self._loop)
        self._called = CalledTasks(self._state, results, self._loop)
        self._started = False
        self._root = self._state.add_graph(spec, options.ns, (), options.output_keys, None)

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self._state.finished

    @property
    def running(self) -> int:
        """Number of attempts that are on workers."""
        return len(self._state.attempts)

    @property
    def drain(self) -> str | None:
        """The reason to stop behind the current superstep, None if nobody asked for it."""
        return self._state.drain

    @property
    def ignored(self) -> dict[str, None]:
        """Messages about writes that were ignored, without repetitions."""
        return self._state.ignored

    def story(self, id: str | None = None) -> tuple[Transition, ...]:
        """Return the last transitions: of one task id or graph namespace, or of everything."""
        return self._state.story.of(id)

    def validate(self) -> None:
        """Check the invariants of the machine.

        Raises:
            InvalidTransition: One of them does not hold.
        """
        state = self._state
        broken = invariants.broken(state.graphs, list(state.attempts), state.waiting)
        if broken is not None and self._started:
            raise InvalidTransition(f"invariant broken: {broken}", story=self.story())

    def handle(self, event: InputEvent) -> list[Instruction]:
        """Take one event and return the instructions that follow from it, in order.

        Raises:
            InvalidTransition: The event is impossible in the machine's state: a bug of the caller.
        """
        out: list[Instruction] = []
        self._state.out = out
        if self._state.finished:
            return out
        take = self._ON_EVENT.get(type(event))
        if take is None:
            raise InvalidTransition(
                f"the engine does not know the event {event!r}", story=self.story()
            )
        if self.recording is not None:
            self.recording.keep(event)
        self._state.story.begin(event)
        take(self, event)
        if self.validates:
            self.validate()
        return out

    # --- events -----------------------------------------------------------------------------------

    def _run_started(self, event: RunStarted) -> None:
        if self._started:
            raise InvalidTransition("the run was started already", story=self.story())
        self._started = True
        self._state.story.note("", "", "new", "started")
        self._loop.begin(self._root, event.input)

    def _task_called(self, event: TaskCalled) -> None:
        outcome = self._called.call(event.call)
        if outcome is not None:
            self._outcomes.take(outcome)

    def _progress_made(self, event: ProgressMade) -> None:
        running = self._state.attempts.find(event.attempt_id)
        if running is not None:
            take_report(running.graph.idle_windows(), event)

    def _drain_requested(self, event: DrainRequested) -> None:
        self._state.drain = event.reason

    def _driver_replaced(self, event: DriverReplaced) -> None:
        self._state.attempts.generation = event.generation

    _ON_EVENT: ClassVar[Mapping[type[Any], Callable[[Machine, Any], None]]] = {
        RunStarted: _run_started,
        AttemptEnded: lambda self, event: self._outcomes.take(event.outcome),
        TaskCalled: _task_called,
        CallDropped: lambda self, event: self._called.drop(event.call),
        ProgressMade: _progress_made,
        CancelRequested: lambda self, event: self._state.finish(Finish("cancelled")),
        DrainRequested: _drain_requested,
        DriverReplaced: _driver_replaced,
        StorageFailed: lambda self, event: self._state.finish(Finish("error", error=event.error)),
        CheckpointLoaded: lambda self, event: self._state.reply(event.key, event.saved),
        Found: lambda self, event: self._state.reply(event.key, event.values),
        Synced: lambda self, event: self._state.reply(event.key),
        Woken: lambda self, event: self._state.reply(event.key),
    }


def replay(recording: Recording) -> list[list[Instruction]]:
    """Return the instructions that a machine gave for each event of a recording."""
    drawn = iter(recording.drawn)

    def draw(*_: Any) -> Any:
        return next(drawn)

    machine = Machine(
        recording.spec,
        recording.options,
        new_checkpoint_id=draw,
        next_version=draw,
        random=draw,
    )
    return [machine.handle(event) for event in recording.events]
