"""The state of a run as a view shows it: made of the run's events, pure and without a clock.

``RunModel.take`` takes the events in their order; ``RunModel.snapshot(now)`` returns everything
that a renderer draws. Times are seconds since the epoch. Clocks of machines differ: an attempt
never starts before it was queued, and never ends before it started.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from distgraph.contract.progress import (
    AttemptEnded,
    AttemptQueued,
    AttemptStarted,
    RetryScheduled,
    TaskCached,
)
from distgraph.contract.stream import shown_attempt

__all__ = ("LEFT", "Attempt", "NodeRow", "RunModel", "Snapshot", "WorkerRow", "node_label")

HIDDEN = "__"
"""Names of tasks that only run edges begin with this: a timeline shows them, the bars do not."""

TEXT_KEPT = 20_000
"""Characters of the streamed text that are kept."""

LEFT = "left"
"""Status of a view that its reader left: the run goes on."""

NodeState = Literal["waiting", "running", "done", "failed", "interrupted", "cancelled"]


def node_label(path: Sequence[str], part: str = "") -> str:
    """Return the name of a node, or of a tool of a node, in the whole graph."""
    return "/".join((*path, part) if part else path)


@dataclass(slots=True)
class Attempt:
    """One attempt of one task, as far as its events have arrived."""

    task_id: str
    number: int
    path: tuple[str, ...]
    part: str
    kind: str
    step: int
    queued_at: float
    resources: dict[str, float] = field(default_factory=dict)
    max_concurrency: int | None = None
    host: str = ""
    pid: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    cpu: float = 0.0
    """CPU seconds, once it has ended; 0 for coroutines that share a process."""
    status: str = "queued"
    """``queued``, ``running``, or how the attempt ended."""
    error: str = ""

    @property
    def label(self) -> str:
        """Name of the node, or of the tool."""
        return node_label(self.path, self.part)

    @property
    def counts(self) -> bool:
        """Whether the attempt runs the code of a node or tool, not only the edges behind it."""
        return self.kind != "writers" and not self.path[-1].startswith(HIDDEN)

    def seconds(self, now: float) -> float:
        """Seconds that the attempt has run."""
        if self.started_at is None:
            return 0.0
        return (now if self.ended_at is None else self.ended_at) - self.started_at


class NodeRow(NamedTuple):
    """The bar of one node or tool."""

    label: str
    node: str
    """The node of the root graph that it is, or is a part of."""
    state: NodeState
    total: int
    """Tasks that are known so far."""
    done: int
    running: int
    waiting: int
    failed: int
    retries: int
    rate: float | None
    """Tasks that ended in a second of ``seconds``, None before the first has ended."""
    eta: float | None
    """Seconds until the known tasks have ended, None if none is left or no rate is known."""
    seconds: float
    """Time in which at least one attempt ran."""
    reason: str
    """What the waiting tasks wait for; "" if none waits."""
    interrupted: int = 0
    """Tasks that wait for a resume value."""
    cancelled: int = 0
    """Tasks that ended with their run, or were not wanted any more."""


class Ran(NamedTuple):
    """Attempts of one node or tool that have ended."""

    label: str
    number: int
    seconds: float


class WorkerRow(NamedTuple):
    """One process that runs attempts."""

    host: str
    pid: int
    running: tuple[str, ...]
    """Labels of the attempts that run now."""
    ran: tuple[Ran, ...]
    """The attempts that have ended, by label."""
    busy: float
    """Seconds that attempts ran, those that run now included."""
    cpu: float
    """CPU seconds of the attempts that have ended; without coroutines."""


class Snapshot(NamedTuple):
    """Everything that a view shows."""

    elapsed: float
    status: str
    """``starting``, ``running``, or how the run ended."""
    step: int
    nodes: tuple[NodeRow, ...]
    workers: tuple[WorkerRow, ...]
    machines: int
    tokens: int
    token_rate: float | None
    """Tokens a second, of the time in which tokens came."""
    retries: int
    waits: tuple[str, ...]
    """What the run waits for now, with reasons."""
    work: float
    """Seconds that attempts ran, added up."""
    cpu: float
    """CPU seconds of the attempts that have ended, added up; without coroutines."""
    text: str
    """The text that models streamed last."""

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status not in ("starting", "running")

    def states(self) -> dict[str, NodeState]:
        """Return the state of each node of the root graph that has had a task."""
        found: dict[str, NodeState] = {}
        order: tuple[NodeState, ...]
        order = ("done", "cancelled", "interrupted", "failed", "waiting", "running")
        for row in self.nodes:
            found[row.node] = max(found.get(row.node, "done"), row.state, key=order.index)
        return found


class RunModel:
    """Takes the events of one run.

    Args:
        started_at: When the run was requested.
    """

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.ended_at: float | None = None
        self.status = "starting"
        self.error = ""
        self.attempts: list[Attempt] = []
        """All attempts, in the order in which they were queued."""
        self.cached: list[TaskCached] = []
        self.retries: list[RetryScheduled] = []
        self.tokens = 0
        self.text = ""
        self._speaker: tuple[str, str] | None = None
        self._first_token: float | None = None
        self._last_token = 0.0
        self._open: dict[tuple[str, int], Attempt] = {}
        self._labels: dict[str, str] = {}
        """Labels in the order of their first task, with the node of the root graph."""

    # --- events -----------------------------------------------------------------------------------

    def take(self, event: Any) -> None:
        """Take an event about an attempt. Events of an unknown attempt are ignored."""
        if self.status == "starting":
            self.status = "running"
        take = self._TAKE.get(type(event))
        if take is not None:
            take(self, event)

    def _queued(self, event: AttemptQueued) -> None:
        attempt = Attempt(
            event.task_id,
            shown_attempt(event.attempt),
            event.path,
            event.part,
            event.kind,
            event.step,
            event.at,
            dict(event.resources),
            event.max_concurrency,
        )
        self.attempts.append(attempt)
        self._open[event.task_id, event.attempt] = attempt
        if attempt.counts:
            self._labels.setdefault(attempt.label, attempt.path[0])

    def _started(self, event: AttemptStarted) -> None:
        attempt = self._open.get((event.task_id, event.attempt))
        if attempt is not None:
            self._begin(attempt, event.host, event.pid, event.at)

    def _begin(self, attempt: Attempt, host: str, pid: int, at: float) -> None:
        attempt.host, attempt.pid = host, pid
        attempt.started_at = max(at, attempt.queued_at)
        attempt.status = "running"

    def _ended(self, event: AttemptEnded) -> None:
        attempt = self._open.pop((event.task_id, event.attempt), None)
        if attempt is None:
            return
        if attempt.started_at is None and event.started_at is not None:
            self._begin(attempt, event.host, event.pid, event.started_at)
        if event.started_at is not None and attempt.started_at is not None:
            attempt.ended_at = attempt.started_at + event.duration
        else:
            attempt.ended_at = max(event.at, attempt.started_at or attempt.queued_at)
        attempt.cpu = event.cpu
        attempt.status, attempt.error = event.status, event.error

    def _retry(self, event: RetryScheduled) -> None:
        self.retries.append(event)

    def _cached(self, event: TaskCached) -> None:
        self.cached.append(event)
        self._labels.setdefault(node_label(event.path), event.path[0])

    _TAKE: ClassVar[dict[type, Callable[[RunModel, Any], None]]] = {
        AttemptQueued: _queued,
        AttemptStarted: _started,
        AttemptEnded: _ended,
        RetryScheduled: _retry,
        TaskCached: _cached,
    }

    def token(self, node: str, message: str, text: str, at: float) -> str:
        """Take one token of a model: its node, the id of its message, and its text.

        Return what it adds to the text that is shown.
        """
        self.tokens += 1
        if self._first_token is None:
            self._first_token = at
        self._last_token = at
        if text:
            if self._speaker not in (None, (node, message)) and not self.text.endswith("\n"):
                text = f"\n{text}"
            self._speaker = (node, message)
            self.text = (self.text + text)[-TEXT_KEPT:]
        return text

    def finish(self, status: str, at: float, error: str = "") -> None:
        """Note that the run has ended, or that the view was left. The first end counts."""
        if self.ended_at is not None:
            return
        self.ended_at, self.status, self.error = at, status, error
        if status == LEFT:
            return
        for attempt in self._open.values():
            attempt.ended_at, attempt.status = max(at, attempt.started_at or 0.0), "cancelled"
        self._open.clear()

    # --- what a view shows ------------------------------------------------------------------------

    def snapshot(self, now: float) -> Snapshot:
        """Return what a view shows at a time."""
        now = now if self.ended_at is None else self.ended_at
        counted = [a for a in self.attempts if a.counts]
        by_label: dict[str, list[Attempt]] = {label: [] for label in self._labels}
        for attempt in counted:
            by_label[attempt.label].append(attempt)
        pending = self._pending_retries()
        again = {event.task_id for event in pending}
        rows = tuple(self._row(label, found, again, now) for label, found in by_label.items())
        workers = _workers(counted, now)
        spell = self._last_token - (self._first_token or 0.0)
        return Snapshot(
            elapsed=now - self.started_at,
            status=self.status,
            step=max((a.step for a in self.attempts if len(a.path) == 1), default=0),
            nodes=rows,
            workers=workers,
            machines=len({worker.host for worker in workers}),
            tokens=self.tokens,
            token_rate=(self.tokens - 1) / spell if self.tokens > 1 and spell > 0 else None,
            retries=len(self.retries),
            waits=self._waits(rows, pending, now),
            work=sum(attempt.seconds(now) for attempt in counted),
            cpu=sum(attempt.cpu for attempt in counted),
            text=self.text,
        )

    def _row(self, label: str, attempts: Sequence[Attempt], again: set[str], now: float) -> NodeRow:
        last: dict[str, Attempt] = {a.task_id: a for a in attempts}
        cached = sum(1 for event in self.cached if node_label(event.path) == label)
        ends = [a for a in last.values() if a.ended_at is not None and a.task_id not in again]
        how = Counter(a.status for a in ends)
        failed = how["error"] + how["lost"] + how["timeout"]
        interrupted, cancelled = how["interrupt"], how["cancelled"] + how["drained"]
        running = sum(1 for a in last.values() if a.status == "running")
        done = len(ends) - failed - interrupted - cancelled + cached
        total = len(last) + cached
        waiting = len(last) - len(ends) - running
        open_tasks = running + waiting
        seconds = _covered(attempts, now)
        rate = len(ends) / seconds if ends and seconds > 0 else None
        found: dict[NodeState, int] = {
            "running": running,
            "waiting": waiting,
            "failed": failed,
            "interrupted": interrupted,
            "cancelled": cancelled,
        }
        state: NodeState = next((name for name, number in found.items() if number), "done")
        return NodeRow(
            label=label,
            node=self._labels[label],
            state=state,
            total=total,
            done=done,
            running=running,
            waiting=waiting,
            failed=failed,
            retries=sum(1 for e in self.retries if e.task_id in last),
            rate=rate,
            eta=open_tasks / rate if rate and open_tasks else None,
            seconds=seconds,
            reason=_reason(last.values(), running) if waiting and self.ended_at is None else "",
            interrupted=interrupted,
            cancelled=cancelled,
        )

    def _pending_retries(self) -> list[RetryScheduled]:
        """Return the retries whose next attempt is not queued yet, while the run goes on."""
        if self.ended_at is not None or not self.retries:
            return []
        newest = {a.task_id: a.queued_at for a in self.attempts}
        pending = {e.task_id: e for e in self.retries if newest.get(e.task_id, 0.0) < e.at}
        return list(pending.values())

    def _waits(
        self, rows: Sequence[NodeRow], pending: Sequence[RetryScheduled], now: float
    ) -> tuple[str, ...]:
        if self.ended_at is not None:
            return ()
        waits = [
            f"{row.label}: {row.waiting} {'waits' if row.waiting == 1 else 'wait'} for {row.reason}"
            for row in rows
            if row.reason
        ]
        for event in pending:
            left = max(0.0, event.at + event.seconds - now)
            errors = [a.error for a in self.attempts if a.task_id == event.task_id]
            waits.append(f"{node_label(event.path)}: retries in {left:.1f} s after {errors[-1]}")
        return tuple(waits)


def _covered(attempts: Sequence[Attempt], now: float) -> float:
    """Return the seconds in which at least one of the attempts ran."""
    total, reached = 0.0, 0.0
    spans = [(a.started_at, a.ended_at or now) for a in attempts if a.started_at is not None]
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _reason(attempts: Any, running: int) -> str:
    """Return what the attempts that wait are waiting for."""
    queued = [a for a in attempts if a.status == "queued"]
    if not queued:
        return ""  # a retry, which is a wait of its own
    bound = queued[0].max_concurrency
    if bound is not None and running >= bound:
        return f"its max_concurrency of {bound}"
    needs = queued[0].resources
    if not needs:
        return "a worker"
    return "a free " + ", ".join(
        name if amount == 1 else f"{name} {amount:g}" for name, amount in needs.items()
    )


def _workers(attempts: Sequence[Attempt], now: float) -> tuple[WorkerRow, ...]:
    by_process: dict[tuple[str, int], list[Attempt]] = {}
    for attempt in attempts:
        if attempt.started_at is not None:
            by_process.setdefault((attempt.host, attempt.pid), []).append(attempt)
    rows = []
    for (host, pid), own in sorted(by_process.items()):
        ended = [a for a in own if a.ended_at is not None]
        number = Counter(a.label for a in ended)
        seconds: defaultdict[str, float] = defaultdict(float)
        for attempt in ended:
            seconds[attempt.label] += attempt.seconds(now)
        running = tuple(a.label for a in own if a.ended_at is None)
        busy = sum(a.seconds(now) for a in own)
        cpu = sum(a.cpu for a in own)
        ran = tuple(Ran(label, number[label], seconds[label]) for label in sorted(number))
        rows.append(WorkerRow(host, pid, running, ran, busy, cpu))
    return tuple(rows)
