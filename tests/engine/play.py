"""A run of the engine without a backend: every attempt ends when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distgraph._internal.ids import NewCheckpointId
from distgraph._internal.keys import INTERRUPT
from distgraph.contract.attempt import AttemptOutcome, AttemptRequest, RunInfo, SharedRunOptions
from distgraph.contract.events import (
    AttemptEnded,
    CancelRequested,
    CancelTask,
    Emit,
    Finish,
    Found,
    InputEvent,
    Instruction,
    LookUp,
    RunOptions,
    RunStarted,
    StartTask,
    Wake,
    Woken,
)
from distgraph.contract.stream import Event, Segment, StreamRequest
from distgraph.engine.machine import Machine
from distgraph.worker.attempt import run_sync

MODES = frozenset({"values", "updates", "custom", "tasks"})
RUN_ID = "0f5f1f1e-0000-4000-8000-000000000001"

Key = tuple[str, int]


def options(
    *,
    run_id: str = RUN_ID,
    limit: int = 25,
    modes: frozenset[str] = MODES,
    subgraphs: bool = True,
    tags: tuple[str, ...] = (),
    **more: Any,
) -> RunOptions:
    """Options of a run whose caller looks at everything."""
    shared = SharedRunOptions(run_id, StreamRequest(modes, subgraphs), limit, tags=tags)
    return RunOptions(shared, **more)


class Recorder:
    """An attempt's stream: keeps what is emitted."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def emit(self, event: Event) -> None:
        assert not self.closed
        self.events.append(event)

    def emitted(self) -> int:
        return len(self.events)

    def close(self, *, unconfirmed: bool = False) -> tuple[int, tuple[Segment, ...]]:
        self.closed = True
        return len(self.events), ()


def attempt(graph: Any, request: AttemptRequest, run: RunOptions) -> tuple[AttemptOutcome, Any]:
    """Run an attempt here and now; return its outcome and the events that it emitted."""
    recorder = Recorder()
    outcome = run_sync(graph.program, request, RunInfo(run.shared), recorder)
    return outcome, recorder.events


class Play:
    """A machine, and what it has asked for so far. Every call checks what holds at any time."""

    def __init__(
        self,
        graph: Any,
        run: RunOptions | None = None,
        *,
        new_checkpoint_id: NewCheckpointId | None = None,
        random: Callable[[], float] | None = None,
        record: bool = False,
    ) -> None:
        self.graph = graph
        self.run = run or options()
        self.machine = Machine(
            graph.spec,
            self.run,
            new_checkpoint_id=new_checkpoint_id,
            random=random,
            record=record,
        )
        self.running: dict[Key, StartTask] = {}
        self.wakes: dict[str, Wake] = {}
        """What the machine waits for of the clock."""
        self.lookups: list[LookUp] = []
        self.started: list[StartTask] = []
        self.said: list[Instruction] = []

    # --- events ---------------------------------------------------------------------------------

    def start(self, value: Any) -> list[Instruction]:
        return self._handle(RunStarted(value))

    def end(self, start: StartTask, outcome: AttemptOutcome | None = None) -> list[Instruction]:
        """End a running attempt: by running its node, unless an outcome is given."""
        if outcome is None:
            outcome, _ = attempt(self.graph, start.request, self.run)
        del self.running[key_of(start)]
        return self._handle(AttemptEnded(outcome))

    def end_node(self, name: str, **outcome: Any) -> list[Instruction]:
        """End the one running attempt of a node, with a made-up outcome if fields are given."""
        start = self.of(name)
        return self.end(start, made(start, **outcome) if outcome else None)

    def cancel(self) -> list[Instruction]:
        return self._handle(CancelRequested())

    def wake(self, key: str | None = None) -> list[Instruction]:
        """Let the time of a ``Wake`` pass, of the first by default."""
        key = key or next(iter(self.wakes))
        del self.wakes[key]
        return self._handle(Woken(key))

    def found(self, lookup: LookUp, values: Mapping[Any, Any]) -> list[Instruction]:
        """Answer what was looked up in a cache."""
        self.lookups.remove(lookup)
        return self._handle(Found(lookup.key, values))

    def finish(self, choose: Callable[[list[Any]], Any] | None = None) -> Finish:
        """Go on to the end; ``choose`` says what is the next to end, of the attempts that run and
        the times that pass."""
        while not self.machine.finished:
            waits: list[Any] = [*self.running.values(), *self.wakes.values()]
            assert waits, "the run waits for nobody"
            following = choose(waits) if choose else waits[0]
            if isinstance(following, Wake):
                self.wake(following.key)
            else:
                self.end(following)
        return self.result

    # --- what came out --------------------------------------------------------------------------

    @property
    def result(self) -> Finish:
        last = self.said[-1]
        assert isinstance(last, Finish)
        return last

    def of(self, name: str) -> StartTask:
        """Return the one running attempt of a node."""
        (found,) = (s for s in self.running.values() if s.request.node == name)
        return found

    def names(self) -> list[str]:
        """Names of the running nodes, in the order in which they were started."""
        return [s.request.node for s in self.running.values()]

    def emitted(self, *modes: str) -> list[Emit]:
        return [i for i in self.said if isinstance(i, Emit) and (not modes or i.mode in modes)]

    def payloads(self, mode: str) -> list[Any]:
        return [e.payload for e in self.emitted(mode)]

    def _handle(self, event: InputEvent) -> list[Instruction]:
        before = self.machine.finished
        out = self.machine.handle(event)
        for position, instruction in enumerate(out):
            assert not before, "instructions after the end"
            if isinstance(instruction, StartTask):
                assert key_of(instruction) not in {key_of(s) for s in self.started}
                self.started.append(instruction)
                self.running[key_of(instruction)] = instruction
            elif isinstance(instruction, Wake):
                self.wakes[instruction.key] = instruction
            elif isinstance(instruction, LookUp):
                self.lookups.append(instruction)
            elif isinstance(instruction, CancelTask):
                del self.running[instruction.task_id, instruction.attempt]
            elif isinstance(instruction, Finish):
                assert position == len(out) - 1
                assert not self.running
        assert self.machine.running == len(self.running)
        assert self.machine.finished == any(isinstance(i, Finish) for i in [*self.said, *out])
        self.said += out
        return out


def key_of(start: StartTask) -> Key:
    return start.request.task_id, start.request.attempt


def made(start: StartTask, status: str = "ok", **fields: Any) -> AttemptOutcome:
    """An outcome that no worker has produced."""
    return AttemptOutcome(*key_of(start), status, **fields)  # type: ignore[arg-type]


def check_order(play: Play) -> None:
    """Check what holds of the instructions of every run, whatever the order of completion."""
    steps: dict[tuple[str, ...], int] = {}
    values: dict[tuple[tuple[str, ...], int], int] = {}
    begun: dict[str, int] = {}
    results: dict[str, int] = {}
    for at, said in enumerate(play.said):
        if isinstance(said, StartTask):
            ns, step = said.request.ns, said.request.step
        elif isinstance(said, Emit):
            ns, step = said.ns, said.step
        else:
            continue
        assert step >= steps.get(ns, -1), f"step {step} of {ns} comes late"
        steps[ns] = step
        if not isinstance(said, Emit):
            continue
        if said.mode == "values" and INTERRUPT not in said.payload:
            assert (ns, step) not in values
            values[ns, step] = at
        else:
            assert (ns, step) not in values, f"{said.mode} of step {step} behind its values"
        if said.debug_type == "task":
            assert said.payload["id"] not in begun
            begun[said.payload["id"]] = at
        elif said.debug_type == "task_result":
            task = said.payload["id"]
            assert begun.get(task, -1) < at and task not in results
            results[task] = at
            if not said.payload["error"] and not said.payload["interrupts"]:
                update = play.said[at - 1]
                assert isinstance(update, Emit) and update.mode == "updates"
                assert update.ns == ns and list(update.payload) == [said.payload["name"]]
    shown = {r.request.task_id: r for r in play.started if r.request.task_id in begun}
    for task, start in shown.items():
        first = next(i for i, said in enumerate(play.said) if said is start)
        assert begun[task] < first or start.request.kind == "writers"
    finishes = [i for i, said in enumerate(play.said) if isinstance(said, Finish)]
    assert finishes == [len(play.said) - 1]


def by_step(play: Play) -> dict[Any, list[str]]:
    """What was emitted, by namespace and step, in an order of its own."""
    found: dict[Any, list[str]] = {}
    for emit in play.emitted():
        found.setdefault((emit.ns, emit.step), []).append(f"{emit.mode} {emit.payload!r}")
    return {key: sorted(entries) for key, entries in found.items()}


def lost(start: StartTask, error: Any = None) -> AttemptOutcome:
    """The outcome of an attempt whose worker is gone."""
    return made(start, "error", error=error, lost=True)
