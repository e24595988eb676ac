"""Metrics of runs: their names, and counts that a process gathers until its backend exports them.

Pure. Counting costs no call to anything outside of the process: a backend takes the counts at
intervals. On Ray they go to ``ray.util.metrics`` (``actors/metrics.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from distgraph._internal.settings import setting

__all__ = ("METRICS", "Meter", "Metric", "Sample", "interval_from_environment")

_VALUES_KEPT = 10_000
"""Values of one histogram and one set of labels that are kept between two exports; of more, the
later ones are dropped."""


@dataclass(frozen=True, slots=True, eq=False)  # counts are found by it: each is there once
class Metric:
    """A metric, under the name that Ray is given. In Prometheus, ``ray_`` precedes the name, and
    ``_total`` follows the name of a counter."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()
    """Of a histogram: the upper bounds of its buckets."""


_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0)

RUNS_STARTED = Metric("distgraph_runs_started", "counter", "Runs that have started", ("graph",))
RUNS_ENDED = Metric(
    "distgraph_runs_ended", "counter", "Runs that have ended, by status", ("graph", "status")
)
STEPS = Metric("distgraph_steps", "counter", "Supersteps of root graphs", ("graph",))
ATTEMPTS = Metric(
    "distgraph_attempts",
    "counter",
    "Attempts of nodes and tools that have ended, by status",
    ("graph", "node", "status"),
)
RETRIES = Metric(
    "distgraph_retries",
    "counter",
    "Attempts that are not the first of their task",
    ("graph", "node"),
)
WAIT = Metric(
    "distgraph_attempt_wait_seconds",
    "histogram",
    "Time from the moment an attempt could run until it began",
    ("graph", "node"),
    _SECONDS,
)
DURATION = Metric(
    "distgraph_attempt_seconds",
    "histogram",
    "Time that an attempt ran",
    ("graph", "node"),
    _SECONDS,
)
RUNS = Metric("distgraph_runs", "gauge", "Runs of a driver that go on")
QUEUED = Metric(
    "distgraph_attempts_queued", "gauge", "Attempts that a driver has not handed to Ray yet"
)
SENT = Metric("distgraph_attempts_sent", "gauge", "Attempts that wait for a worker or run on one")
EVENTS = Metric("distgraph_stream_events", "counter", "Events that entered the streams of runs")
BUFFERED = Metric(
    "distgraph_stream_buffered_bytes", "gauge", "Bytes of events that a stream broker holds"
)
UNREAD = Metric(
    "distgraph_stream_unread_bytes", "gauge", "The part of them that readers have not consumed"
)
STREAMS = Metric("distgraph_streams", "gauge", "Runs whose streams a broker holds")
READERS = Metric("distgraph_stream_readers", "gauge", "Open readers of a stream broker")
PAUSED = Metric(
    "distgraph_streams_paused", "gauge", "Runs whose writers wait because readers are behind"
)
EMITTED = Metric("distgraph_worker_events", "counter", "Events that attempts in a worker emitted")
STALLED = Metric(
    "distgraph_worker_stalled_seconds",
    "counter",
    "Time that attempts in a worker waited for room in their stream",
)
RUNNING = Metric("distgraph_worker_attempts", "gauge", "Attempts that run in a worker")

METRICS = (
    RUNS_STARTED,
    RUNS_ENDED,
    STEPS,
    ATTEMPTS,
    RETRIES,
    WAIT,
    DURATION,
    RUNS,
    QUEUED,
    SENT,
    EVENTS,
    BUFFERED,
    UNREAD,
    STREAMS,
    READERS,
    PAUSED,
    EMITTED,
    STALLED,
    RUNNING,
)
"""All metrics. Those without labels have one value for each driver, broker or worker process."""


Key = tuple[Metric, tuple[str, ...]]
"""A metric, and the values of its labels."""


class Sample(NamedTuple):
    """What has come together for one metric and one set of labels."""

    metric: Metric
    labels: tuple[str, ...]
    """Values of the metric's labels."""
    values: tuple[float, ...]
    """Of a counter: what is to be added; of a gauge: the present value; of a histogram: each value
    that was observed."""


class Meter:
    """Gathers the counts of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, float] = {}
        self._observed: dict[Key, list[float]] = {}
        self._gauges: list[Callable[[], Iterable[tuple[Metric, float]]]] = []
        self._totals: dict[Metric, float] = {}

    def add(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        key = (metric, labels)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0.0) + amount

    def note(self, counted: Key, observed: Iterable[tuple[Key, float]]) -> None:
        """Add one to a counter, and note values of histograms: what the end of an attempt is."""
        with self._lock:
            self._counts[counted] = self._counts.get(counted, 0.0) + 1.0
            for key, value in observed:
                values = self._observed.get(key)
                if values is None:
                    values = self._observed[key] = []
                if len(values) < _VALUES_KEPT:
                    values.append(value)

    def watch(self, look: Callable[[], Iterable[tuple[Metric, float]]]) -> None:
        """Ask a function, at each export, for values of metrics without labels: the present values
        of gauges, and the totals of counters."""
        with self._lock:
            self._gauges.append(look)

    def take(self) -> list[Sample]:
        """Return what has come together since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
            observed, self._observed = self._observed, {}
            looks = list(self._gauges)
        samples = [Sample(metric, labels, (count,)) for (metric, labels), count in counts.items()]
        samples += [Sample(*key, tuple(values)) for key, values in observed.items()]
        for look in looks:
            for metric, value in look():
                if metric.kind == "counter":
                    value, self._totals[metric] = value - self._totals.get(metric, 0.0), value
                if metric.kind == "gauge" or value > 0:
                    samples.append(Sample(metric, (), (value,)))
        return samples


def interval_from_environment() -> float | None:
    """Return the seconds between two exports that ``DISTGRAPH_METRICS`` asks for; None for none.

    Raises:
        ValueError: The setting is neither "off" nor a number of seconds above 0.
    """
    every: float | None = 5.0
    return setting("DISTGRAPH_METRICS", every)
