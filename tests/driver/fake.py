"""A backend where nothing happens by itself: what was sent waits until the test lets it go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.calls import CallResult
from distgraph.contract.events import (
    CancelRequested,
    Finish,
    RunOptions,
    RunStarted,
    StartTask,
    Storage,
    Woken,
)
from distgraph.contract.stream import AttemptId, Op
from distgraph.driver.operations import OperationWriter
from distgraph.driver.ports import Acked, DriverEvent, Group, GroupEnded
from distgraph.driver.run_driver import RunDriver
from tests.engine.play import attempt, options


@dataclass
class FakeBackend:
    """Workers, event plane, store and clock of one run."""

    in_flight: list[Group] = field(default_factory=list)
    cancelled: list[Group] = field(default_factory=list)
    delivered: list[tuple[Group, CallResult]] = field(default_factory=list)
    refuses: Callable[[Group], Exception | None] = lambda group: None
    tells: Callable[[Group], bool] = lambda group: False
    """Whether a group's code is told of its cancel."""
    batched: bool = False
    batches_sent: list[list[Op]] = field(default_factory=list)
    awaited: list[bool] = field(default_factory=list)
    """Of each batch, whether something waits for its acknowledgement."""
    fenced: list[AttemptId] = field(default_factory=list)
    past: set[AttemptId] = field(default_factory=set)
    """Attempts that have reached their limits of time."""
    arrived: int | None = 0
    """Events that the log has of an attempt that is fenced; None where it answers later."""
    acks: bool = True
    """Whether batches of operations are answered at once."""
    terminated: BaseException | None = None
    wakes: dict[str, float] = field(default_factory=dict)
    stored: list[Storage] = field(default_factory=list)
    closed: int = 0
    time: float = 0.0

    def batches(self, start: StartTask) -> bool:
        return self.batched

    def submit(self, groups: Sequence[Group]) -> Mapping[Group, Exception]:
        refused = {group: error for group in groups if (error := self.refuses(group)) is not None}
        self.in_flight += [] if refused else groups
        return refused

    def cancel(self, group: Group) -> bool:
        assert group not in self.cancelled
        self.cancelled.append(group)  # it may have come back, with the news on its way
        return self.tells(group)

    def past_limit(self, attempt_id: AttemptId) -> bool:
        return attempt_id in self.past

    def deliver(self, results: Sequence[tuple[Group, CallResult]]) -> None:
        self.delivered += results

    def drive(self, batch_no: int, ops: Sequence[Op], *, awaited: bool) -> Acked | None:
        self.batches_sent.append(list(ops))
        self.awaited.append(awaited)
        assert batch_no == len(self.batches_sent)
        return Acked() if self.acks else None

    def fence(self, attempt_id: AttemptId) -> int | None:
        self.fenced.append(attempt_id)
        return self.arrived

    def terminate(self, error: BaseException) -> None:
        self.terminated = error

    def later(self, seconds: float, event: Woken) -> Callable[[], None]:
        self.wakes[event.key] = self.time + seconds
        return lambda: self.wakes.pop(event.key, None) and None

    def do(self, instruction: Storage) -> None:
        assert not self.closed
        self.stored.append(instruction)

    def close(self) -> None:
        self.closed += 1


class Operations(OperationWriter):
    """Keeps the end that it wrote."""

    end: Finish | None = None

    def finish(self, finish: Finish, drain: str | None, ignored: Sequence[str] = ()) -> None:
        assert self.end is None
        self.end = finish
        super().finish(finish, drain, ignored)


class Told(NamedTuple):
    """What came of one event."""

    ops: list[Any]
    cancelled: list[Group]


NOTHING = Told([], [])


class FakeRun:
    """A run on the fake backend. ``room``: groups in flight at once, None for no bound."""

    def __init__(
        self,
        graph: Any,
        run: RunOptions | None = None,
        *,
        room: int | None = None,
        encode: Callable[[list[Any]], Any] = list,
        want_output: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        backend: FakeBackend | None = None,
        delivered: int = 0,
        **settings: Any,
    ) -> None:
        self.graph = graph
        self.run = run or options()
        self.backend = backend or FakeBackend()
        self.writer = Operations(
            self.run.shared.stream.modes,
            encode=encode,
            want_output=want_output,
            now=now,
            delivered=delivered,
        )
        self.driver = RunDriver(
            graph.spec,
            self.run,
            workers=self.backend,
            events=self.backend,
            operations=self.writer,
            store=self.backend,
            later=self.backend.later,
            max_concurrency=room,
            clock=lambda: self.backend.time,
            **settings,
        )

    # --- what happens ---------------------------------------------------------------------------

    def post(self, *events: DriverEvent) -> Told:
        """Let the driver handle events together."""
        sent, cancelled = len(self.backend.batches_sent), len(self.backend.cancelled)
        self.driver.run(events)
        ops = [op for batch in self.backend.batches_sent[sent:] for op in batch]
        return Told(ops, self.backend.cancelled[cancelled:])

    def start(self, value: Any) -> Told:
        return self.post(RunStarted(value))

    def end(self, start: StartTask, **fields: Any) -> Told:
        """End an attempt by running its node."""
        outcome, _ = attempt(self.graph, start.request, self.run)
        return self.ended(replace(outcome, **fields))

    def ended(self, outcome: AttemptOutcome) -> Told:
        """End a group of one attempt."""
        return self.post(GroupEnded(self.take(outcome.attempt_id), (outcome,)))

    def lose(self, start: StartTask, error: BaseException) -> Told:
        """Lose a group of one attempt with its worker."""
        attempt_id = start.request.attempt_id
        return self.post(GroupEnded(self.take(attempt_id), lost={attempt_id: error}))

    def cancel(self) -> Told:
        return self.post(CancelRequested())

    def take(self, attempt_id: AttemptId) -> Group:
        """Take the group of an attempt off the workers."""
        group = next(group for group in self.backend.in_flight if attempt_id in group.ids)
        self.backend.in_flight.remove(group)
        return group

    # --- what there is --------------------------------------------------------------------------

    @property
    def ops(self) -> list[Any]:
        return [op for batch in self.backend.batches_sent for op in batch]

    @property
    def running(self) -> dict[AttemptId, StartTask]:
        """Attempts that were sent and whose outcomes are wanted."""
        starts = [start for group in self.backend.in_flight for start in group.starts]
        wanted = {start.request.attempt_id: start for start in starts}
        return {name: start for name, start in wanted.items() if name in self.driver.wanted}

    @property
    def waiting(self) -> list[StartTask]:
        """Attempts that wait to be sent."""
        return self.driver._batcher.waiting()

    @property
    def finished(self) -> Finish | None:
        return self.writer.end

    def of(self, name: str) -> StartTask:
        (found,) = (s for s in self.running.values() if s.request.node == name)
        return found
