"""The driver's reports about attempts: to views of a run's progress, and to metrics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from distgraph.contract.attempt import AttemptOutcome
from distgraph.contract.events import Emit, RunOptions, StartTask
from distgraph.contract.failure import ShippedError
from distgraph.contract.progress import (
    PROGRESS_MODE,
    AttemptEnded,
    AttemptQueued,
    RetryScheduled,
    TaskCached,
)
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import AttemptId
from distgraph.driver.metering import RunMeter
from distgraph.driver.operations import OperationWriter
from distgraph.placement import resolve
from distgraph.spans import RunSpans

__all__ = ("ProgressWriter", "run_spans")

_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


class ProgressWriter:
    """Writes what becomes of attempts into the run's stream, in ``PROGRESS_MODE``, where a view
    watches; counts it, where metrics are exported; and makes the spans of the run.

    Args:
        operations: Writes into the stream.
        meter: Counts; None where nobody asks.
        spans: The spans of the run; None without tracing.
    """

    def __init__(
        self,
        operations: OperationWriter,
        meter: RunMeter | None = None,
        spans: RunSpans | None = None,
    ) -> None:
        self._write = operations
        self._meter = meter
        self._spans = spans
        self._on = operations.wants(PROGRESS_MODE)

    def queued(self, start: StartTask) -> None:
        """Report an attempt that waits for a worker."""
        if self._meter is not None:
            self._meter.queued(start)
        if not self._on:
            return
        request = start.request
        event = AttemptQueued(
            request.task_id,
            request.attempt,
            (*request.graph_path, request.node),
            start.key or _name_sent(start),
            request.kind,
            request.step,
            self._write.time(),
            _resources(start),
            None if start.part is None else start.part.max_concurrency,
        )
        self._emit(start, event)

    def ended(self, start: StartTask, outcome: AttemptOutcome) -> None:
        """Report the outcome of an attempt."""
        if self._meter is not None:
            self._meter.ended(start, outcome)
        if not self._on:
            return
        event = AttemptEnded(
            outcome.task_id,
            outcome.attempt,
            "lost" if outcome.lost and outcome.status != "timeout" else outcome.status,
            self._write.time(),
            outcome.host,
            outcome.pid,
            outcome.started_at or None,
            outcome.duration,
            outcome.cpu,
            "" if outcome.error is None else _one_line(outcome.error),
        )
        self._emit(start, event)

    def cancelled(self, start: StartTask, attempt_id: AttemptId) -> None:
        """Report an attempt that is not wanted any more."""
        if self._meter is not None:
            self._meter.cancelled(start)
        if self._on:
            self._emit(start, AttemptEnded(*attempt_id, "cancelled", self._write.time()))

    def sent(self, attempt_id: AttemptId) -> None:
        """Report that an attempt was handed to the backend."""
        if self._meter is not None:
            self._meter.sent(attempt_id)

    def traced(self, start: StartTask) -> StartTask:
        """Return an attempt with the span of its superstep, within which its own span begins."""
        if self._spans is None:
            return start
        request = start.request
        steps = (*start.steps_around, request.step)
        trace = self._spans.step(request.ns, request.graph_path, steps)
        return replace(start, request=replace(request, trace=trace))

    def finish(self, status: str, error: ShippedError | BaseException | None = None) -> None:
        """Report the end of the run. The first end counts."""
        if self._meter is not None:
            self._meter.finish(status)
        if self._spans is not None:
            self._spans.finish(status, "" if error is None else _in_words(error))

    def repeating(self) -> AbstractContextManager[None]:
        """Return what keeps reports out of the counts: an earlier driver has counted them."""
        return nullcontext() if self._meter is None else self._meter.repeating()

    def without_start(self, arrived: int) -> int:
        """Return how many events of an attempt's own code are among its events in the stream.

        In a run that a view watches, the first event of an attempt is its ``AttemptStarted``.
        """
        return max(0, arrived - 1) if self._on else arrived

    def stamped(self, emit: Emit) -> Emit:
        """Return an event of the engine, which has no clock, with the time."""
        payload = emit.payload
        if isinstance(payload, (RetryScheduled, TaskCached)):
            return replace(emit, payload=replace(payload, at=self._write.time()))
        return emit

    def _emit(self, start: StartTask, event: Any) -> None:
        request = start.request
        self._write.emit(Emit(request.ns, request.step, PROGRESS_MODE, event))


def _name_sent(start: StartTask) -> str:
    request = start.request
    name = getattr(start.node.split, "name_sent", None)
    sent = request.kind == "node" and request.reads is None
    return name(request.input) if sent and name is not None else ""


def _resources(start: StartTask) -> Mapping[str, float]:
    request = start.request
    is_async = request.is_async and request.kind != "writers"
    options = resolve(start.ray_options, is_async, start.node.name).options
    named = {name: options[key] for key, name in _RESOURCES.items() if options.get(key)}
    return {**named, **(options.get("resources") or {})}


def _one_line(error: ShippedError) -> str:
    """Return the class of an error and the first line of its message."""
    name = error.type_name.rsplit(".", 1)[-1]
    lines = error.message.strip().splitlines()
    return f"{name}: {lines[0]}" if lines else name


def _in_words(error: ShippedError | BaseException) -> str:
    if isinstance(error, BaseException):
        return f"{type(error).__name__}: {error}"
    return _one_line(error)


def run_spans(spec: GraphSpec, options: RunOptions, *, exits: bool) -> RunSpans | None:
    """Return the spans of a run; None without tracing. ``exits``: the process may end soon."""
    shared = options.shared
    if shared.trace is None:
        return None
    attributes = {"distgraph.run_id": shared.run_id}
    thread_id = shared.configurable.get("thread_id")
    if thread_id is not None:
        attributes["distgraph.thread_id"] = str(thread_id)
    return RunSpans(shared.trace, spec.name, attributes, flush=exits)
