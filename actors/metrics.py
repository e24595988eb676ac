"""Exports the counts of a process to ``ray.util.metrics``, at intervals."""

from __future__ import annotations

import logging
from typing import Any

from ray.util import metrics as ray_metrics

from distgraph.concurrency.timers import Timers
from distgraph.metrics import Meter, Metric, Sample

__all__ = ("Exporter", "export")

logger = logging.getLogger("distgraph")

_KINDS = {"counter": ray_metrics.Counter, "gauge": ray_metrics.Gauge}


class Exporter:
    """Hands samples to Ray."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._known: dict[str, Any] = {}

    def flush(self) -> None:
        """Hand over what has come together since the last call."""
        for sample in self._meter.take():
            self._record(sample)

    def _record(self, sample: Sample) -> None:
        metric = sample.metric
        known = self._known.get(metric.name)
        if known is None:
            known = self._known[metric.name] = _made(metric)
        tags = dict(zip(metric.labels, sample.labels, strict=True))
        if metric.kind == "counter":
            known.inc(sample.values[0], tags)
        elif metric.kind == "gauge":
            known.set(sample.values[0], tags)
        else:
            for value in sample.values:
                known.observe(value, tags)


def _made(metric: Metric) -> Any:
    if metric.kind == "histogram":
        return ray_metrics.Histogram(
            metric.name, metric.help, boundaries=list(metric.boundaries), tag_keys=metric.labels
        )
    return _KINDS[metric.kind](metric.name, metric.help, tag_keys=metric.labels)


def export(meter: Meter, interval: float | None) -> None:
    """Export what a meter gathers, every ``interval`` seconds until the process ends; None: never.

    A failure ends the export, and is logged.
    """
    if interval is None:
        return
    exporter = Exporter(meter)
    timers = Timers("distgraph-metrics", linger=interval)  # one of its own: Ray may take its time

    def flush() -> None:
        try:
            exporter.flush()
        except Exception as error:
            logger.warning("metrics are no longer exported: %s: %s", type(error).__name__, error)
        else:
            timers.after(interval, flush)

    timers.after(interval, flush)
