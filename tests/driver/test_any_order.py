"""Whatever comes first: outcomes, congestion, refusals, losses, cancels, late results, drain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import (
    CancelRequested,
    CheckpointLoaded,
    DrainRequested,
    LoadCheckpoint,
    RunStarted,
    StartTask,
    StorageFailed,
    Sync,
    Synced,
    ThreadOptions,
    Woken,
)
from distgraph.contract.stream import DRIVER, Admit, Commit, Fence, Finish, Publish
from distgraph.driver.ports import Acked, DriverEvent, Group, GroupEnded, Relieved
from tests.engine.corpus import CASES, ENDING, Case
from tests.engine.play import attempt, options

from .fake import FakeBackend, FakeRun

AT_ONCE = (CancelRequested, DrainRequested)
"""What the engine is told though the log is over its limit."""


@dataclass
class Plan:
    """What may happen to a run besides that its attempts end."""

    congests: bool = True
    loses: bool = False
    refuses: bool = False
    cancels: bool = False
    drains: bool = False
    breaks: bool = False
    """Whether the saver fails."""


@dataclass
class Chance:
    """A run on the fake backend to which things happen in an order that hypothesis draws."""

    data: st.DataObject
    case: Case
    plan: Plan
    room: int | None = None
    saves: bool = False
    run: FakeRun = field(init=False)
    congested: bool = False
    unanswered: list[int] = field(default_factory=list)
    answered: int = 0
    submitted: set[Any] = field(default_factory=set)
    fed: list[DriverEvent] = field(default_factory=list)
    """What the engine was told."""

    def __post_init__(self) -> None:
        self.room = self.draw(st.none() | st.integers(1, 3))
        self.saves = self.plan.breaks or self.draw(st.booleans())
        backend = FakeBackend(acks=False, batched=self.draw(st.booleans()))
        backend.tells = lambda group: bool(self.draw(st.booleans()))
        if self.plan.refuses:
            backend.refuses = lambda group: TypeError("cannot be sent") if self.coin() else None
        self.run = FakeRun(
            self.case.graph(),
            options(thread=ThreadOptions(saves=self.saves)),
            room=self.room,
            backend=backend,
            slots=self.draw(st.integers(1, 3)),
        )
        handle = self.run.driver._machine.handle

        def told(event: Any) -> Any:
            self.fed.append(event)
            return handle(event)

        self.run.driver._machine.handle = told  # type: ignore[method-assign]

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    def coin(self) -> bool:
        return bool(self.draw(st.integers(0, 7)) == 0)

    # --- what can happen ------------------------------------------------------------------------

    def group_back(self, group: Group) -> Callable[[], DriverEvent]:
        def event() -> DriverEvent:
            self.run.backend.in_flight.remove(group)
            cancelled = group in self.run.backend.cancelled
            if self.plan.loses and self.coin():
                why = {s.request.attempt_id: ConnectionError("lost") for s in group.starts}
                return GroupEnded(group, lost=why)
            if cancelled and self.draw(st.booleans()):
                return GroupEnded(group)
            outcomes = [self.outcome(start) for start in group.starts]
            return GroupEnded(group, outcomes)

        return event

    def outcome(self, start: StartTask) -> AttemptOutcome:
        outcome, _ = attempt(self.run.graph, start.request, self.run.run)
        return replace(outcome, duration=0.001)  # by the clock, it would be another one each time

    def answer(self) -> DriverEvent:
        self.unanswered.pop(0)
        return Acked(congested=self.plan.congests and self.coin())

    def from_store(self) -> DriverEvent:
        asked = self.run.backend.stored.pop(0)
        if self.plan.breaks and self.coin():
            self.run.backend.stored.clear()
            self.plan.breaks = False
            return StorageFailed(OSError("disk"))
        if isinstance(asked, LoadCheckpoint):
            return CheckpointLoaded(asked.key, None)
        assert isinstance(asked, Sync)
        return Synced(asked.key)

    def wake(self, key: str) -> Callable[[], DriverEvent]:
        def event() -> DriverEvent:
            self.run.backend.time = max(self.run.backend.time, self.run.backend.wakes.pop(key))
            return Woken(key)

        return event

    def once(self, event: DriverEvent, option: str) -> Callable[[], DriverEvent]:
        def happens() -> DriverEvent:
            setattr(self.plan, option, False)
            return event

        return happens

    def possible(self) -> list[Callable[[], DriverEvent]]:
        backend = self.run.backend
        # a saver whose failure was told of answers nothing any more
        backend.stored[:] = [s for s in backend.stored if isinstance(s, (LoadCheckpoint, Sync))]
        found: list[Callable[[], DriverEvent]] = [self.group_back(g) for g in backend.in_flight]
        found += [self.answer] * bool(self.unanswered)
        found += [self.from_store] * bool(backend.stored)
        found += [self.wake(key) for key in backend.wakes]
        if self.congested:
            found.append(Relieved)
        if self.plan.cancels:
            found.append(self.once(CancelRequested(), "cancels"))
        if self.plan.drains:
            found.append(self.once(DrainRequested("stop"), "drains"))
        return found

    # --- a run ----------------------------------------------------------------------------------

    def post(self, *events: DriverEvent) -> None:
        """Let the driver handle events together, and check what holds at any time."""
        run, backend = self.run, self.run.backend
        in_flight, batches = list(backend.in_flight), len(backend.batches_sent)
        was_over = run.driver._machine.finished
        fed = len(self.fed)
        stuck = self.congested and not any(isinstance(e, (Relieved, Acked)) for e in events)
        run.post(*events)
        self.unanswered += range(batches, len(backend.batches_sent))
        for event in events:
            if isinstance(event, (Acked, Relieved)):
                self.congested = isinstance(event, Acked) and event.congested
        new = [group for group in backend.in_flight if group not in in_flight]
        if stuck and not was_over:
            assert not new, "something starts while the log is over its limit"
            ended = run.driver._machine.finished
            rest = [e for e in self.fed[fed:] if not isinstance(e, AT_ONCE)]
            assert ended or not rest, "the engine goes on while the log is over its limit"
        for group in new:
            ids = {start.request.attempt_id for start in group.starts}
            assert not ids & self.submitted, "an attempt is sent twice"
            self.submitted |= ids
        if self.room is not None:
            assert len(backend.in_flight) <= self.room
        assert len(self.unanswered) <= 2 or run.driver.finished

    def finish(self) -> None:
        """Let things happen until nothing is left that could."""
        run, backend = self.run, self.run.backend
        self.post(RunStarted(self.case.given))
        for _ in range(2_000):
            possible = self.possible()
            deadline = run.driver.deadline
            if deadline is not None and (not possible or self.coin()):
                backend.time = deadline
                self.post()
                continue
            if not possible:
                break
            if possible == [self.answer] and not run.driver.finished:
                assert run.driver.minds_acks, "the run waits for news that has no turn of its own"
                late = not any(backend.awaited[batch] for batch in self.unanswered)
                assert not late, "the run waits for an answer that may come late"
            together = [self.pick(possible)()]
            if self.coin() and (more := self.possible()):
                together.append(self.pick(more)())
            self.post(*together)
        assert run.driver.finished, "the run waits for nobody"
        self.check_end()

    def pick(self, found: list[Callable[[], DriverEvent]]) -> Callable[[], DriverEvent]:
        return found[self.draw(st.integers(0, len(found) - 1))]

    def check_end(self) -> None:
        run, backend = self.run, self.run.backend
        driver, batcher = run.driver, run.driver._batcher
        assert backend.terminated is None
        assert not backend.in_flight and not backend.wakes and backend.closed
        assert not driver._attempts and not driver._held
        assert not driver._congested and driver._outbox.is_empty
        assert batcher._in_flight == 0 and not batcher._queues
        open_, closed, published = set(), set(), 0
        for op in run.ops:
            if isinstance(op, Admit):
                assert op.attempt_id not in open_ | closed
                open_.add(op.attempt_id)
            elif isinstance(op, (Commit, Fence)):
                open_.remove(op.attempt_id)
                closed.add(op.attempt_id)
            elif isinstance(op, Publish):
                assert op.segment.task_id == DRIVER and op.segment.first == published + 1
                assert op.segment.count == len(op.segment.blob) > 0
                published += op.segment.count
        assert not open_, "an attempt is neither committed nor fenced"
        assert closed == self.submitted
        assert [op for op in run.ops if isinstance(op, Finish)] == [run.ops[-1]]

    # --- what came of it ------------------------------------------------------------------------

    @property
    def status(self) -> str:
        assert self.run.finished is not None
        return self.run.finished.status

    def said(self) -> dict[Any, list[str]]:
        return said_by_step(self.run)


def said_by_step(run: FakeRun) -> dict[Any, list[str]]:
    """What the driver has published, by namespace and step, in an order of its own."""
    found: dict[Any, list[str]] = {}
    for op in run.ops:
        if isinstance(op, Publish):
            for event in op.segment.blob:
                found.setdefault((event.ns, op.segment.step), []).append(
                    f"{event.mode} {event.payload!r}"
                )
    return {key: sorted(entries) for key, entries in found.items()}


def straight(case: Case) -> FakeRun:
    """The same run, one attempt after the other."""
    run = FakeRun(case.graph(), options())
    run.start(case.given)
    while run.running:
        run.end(next(iter(run.running.values())))
    return run


cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
ending = pytest.mark.parametrize("case", ENDING, ids=lambda case: case.name)
drawn = given(data=st.data())
some = settings(max_examples=10, deadline=None)


@cases
@some
@drawn
def test_the_result_does_not_depend_on_order_batches_or_congestion(
    case: Case, data: st.DataObject
) -> None:
    chance = Chance(data, case, Plan())
    chance.finish()
    assert chance.status == case.status
    assert chance.run.finished is not None
    if case.status == "done":
        assert chance.run.finished.value == case.value
    else:
        error: Any = chance.run.finished.error
        assert case.value in (getattr(error, "message", None) or str(error))


# what the siblings of a node that leaves its graph still say depends on who ends first
@pytest.mark.parametrize("case", [c for c in ENDING if c.name != "to_parent"], ids=lambda c: c.name)
@some
@drawn
def test_each_step_publishes_the_same_in_another_order(case: Case, data: st.DataObject) -> None:
    chance = Chance(data, case, Plan())
    chance.finish()
    assert chance.said() == said_by_step(straight(case))


@cases
@some
@drawn
def test_a_cancelled_run_ends_and_its_late_results_do_nothing(
    case: Case, data: st.DataObject
) -> None:
    chance = Chance(data, case, Plan(cancels=True))
    chance.finish()
    assert chance.status in (case.status, "cancelled")


@ending
@some
@drawn
def test_a_lost_group_or_one_that_cannot_be_sent_fails_its_run(
    case: Case, data: st.DataObject
) -> None:
    chance = Chance(data, case, Plan(loses=True, refuses=True))
    chance.finish()
    assert chance.run.finished is not None
    if chance.status == "done":
        assert chance.run.finished.value == case.value
    else:
        error: Any = chance.run.finished.error
        assert error.message in ("lost", "cannot be sent")


@ending
@some
@drawn
def test_a_drained_run_ends_behind_a_step(case: Case, data: st.DataObject) -> None:
    chance = Chance(data, case, Plan(drains=True))
    chance.finish()
    assert chance.run.finished is not None
    if chance.status == "done":
        assert chance.run.finished.value == case.value
    else:
        assert "GraphDrained" in type(chance.run.finished.error).__name__


@ending
@some
@drawn
def test_a_saver_that_fails_ends_its_run_with_its_error(case: Case, data: st.DataObject) -> None:
    chance = Chance(data, case, Plan(breaks=True, cancels=True))
    chance.finish()
    assert chance.status in ("done", "cancelled", "error")
    if chance.status == "error":
        assert chance.run.finished is not None
        assert str(chance.run.finished.error) == "disk"


@ending
@some
@drawn
def test_everything_at_once(case: Case, data: st.DataObject) -> None:
    Chance(
        data,
        case,
        Plan(loses=True, refuses=True, cancels=True, drains=True, breaks=True),
    ).finish()
