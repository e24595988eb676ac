"""Counts of one run: its steps, attempts, retries and waits, for the metrics of its driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from distgraph import metrics
from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import StartTask
from distgraph.contract.stream import AttemptId
from distgraph.metrics import Key, Meter, Metric

__all__ = ("DriverMeter", "RunMeter")


class DriverMeter:
    """The counts of all runs of a driver. Thread-safe."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._open: set[RunMeter] = set()
        meter.watch(self.present)

    def run(self, graph: str, clock: Callable[[], float], *, again: bool = False) -> RunMeter:
        """Return the counts of a run that starts now; ``again``: an earlier driver started it."""
        run = RunMeter(self, graph, clock)
        if not again:
            self.meter.add(metrics.RUNS_STARTED, graph)
        self._open.add(run)
        return run

    def forget(self, run: RunMeter) -> None:
        """Drop a run that has ended."""
        self._open.discard(run)

    def present(self) -> Iterable[tuple[Metric, float]]:
        """Return the present values of gauges."""
        runs = list(self._open)
        yield metrics.RUNS, len(runs)
        yield metrics.QUEUED, sum(run.queued_now for run in runs)
        yield metrics.SENT, sum(run.sent_now for run in runs)


class RunMeter:
    """The counts of one run. One thread at a time calls it; any thread may read the numbers.

    Args:
        driver: Where the counts go.
        graph: Name of the root graph.
        clock: Seconds since the epoch, as workers report them.
    """

    def __init__(self, driver: DriverMeter, graph: str, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._meter = driver.meter
        self._graph = graph
        self._clock = clock
        self._since: dict[AttemptId, float] = {}
        """When each open attempt was queued."""
        self._sent: set[AttemptId] = set()
        self._nodes: dict[tuple[tuple[str, ...], str], _Node] = {}
        self._step = 0
        self._repeats = False
        self.has_ended = False

    @contextmanager
    def repeating(self) -> Iterator[None]:
        """Keep what is noted meanwhile out of the counts: an earlier driver has counted it."""
        self._repeats = True
        try:
            yield
        finally:
            self._repeats = False

    @property
    def queued_now(self) -> int:
        """Attempts that were not handed over yet."""
        return max(0, len(self._since) - len(self._sent))

    @property
    def sent_now(self) -> int:
        """Attempts that were handed over and have not ended."""
        return len(self._sent)

    def queued(self, start: StartTask) -> None:
        """Note an attempt that could run now."""
        request = start.request
        self._since[request.attempt_id] = self._clock()
        if request.attempt > 1 and request.shown_attempt > 1:
            self._add(metrics.RETRIES, self._node(start).label)
        step = start.steps_around[0] if start.steps_around else request.step
        if step > self._step:
            self._step = step
            self._add(metrics.STEPS)

    def sent(self, attempt_id: AttemptId) -> None:
        """Note that an attempt was handed over to be run."""
        self._sent.add(attempt_id)

    def ended(self, start: StartTask, outcome: AttemptOutcome) -> None:
        """Note the outcome of an attempt."""
        since = self._forget(outcome.attempt_id)
        if self._repeats:
            return
        node = self._node(start)
        observed: tuple[tuple[Key, float], ...] = ()
        if outcome.started_at and since is not None:
            wait = max(0.0, outcome.started_at - since)  # clocks of machines differ
            observed = (node.wait, wait), (node.duration, outcome.duration)
        lost = outcome.lost and outcome.status != "timeout"
        status = "lost" if lost else outcome.status
        self._meter.note((metrics.ATTEMPTS, (self._graph, node.label, status)), observed)

    def cancelled(self, start: StartTask) -> None:
        """Note an attempt that is not wanted any more."""
        self._forget(start.request.attempt_id)
        self._add(metrics.ATTEMPTS, self._node(start).label, "cancelled")

    def finish(self, status: str) -> None:
        """Note the end of the run. The first end counts."""
        if not self.has_ended:
            self.has_ended = True
            self._since.clear()
            self._sent.clear()
            self._add(metrics.RUNS_ENDED, status)
            self._driver.forget(self)

    def _add(self, metric: Metric, *labels: str) -> None:
        if not self._repeats:
            self._meter.add(metric, self._graph, *labels)

    def _forget(self, attempt_id: AttemptId) -> float | None:
        self._sent.discard(attempt_id)
        return self._since.pop(attempt_id, None)

    def _node(self, start: StartTask) -> _Node:
        request = start.request
        key = request.graph_path, request.node
        node = self._nodes.get(key)
        if node is None:
            label = "/".join((*request.graph_path, request.node))
            labels = self._graph, label
            node = self._nodes[key] = _Node(
                label, (metrics.WAIT, labels), (metrics.DURATION, labels)
            )
        return node


class _Node(NamedTuple):
    """Where the counts of a node go."""

    label: str
    """The node with those around it; attempts of its tools count as the node's."""
    wait: Key
    duration: Key
