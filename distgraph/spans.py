"""OpenTelemetry spans of runs, supersteps, attempts and tools, if ``DISTGRAPH_OTEL`` is on.

Each process makes the spans of what happens there: the driver those of runs and supersteps, a
worker those of attempts and tools. Parents travel as W3C trace context. Spans go to the process's
tracer provider; a process without one exports nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from distgraph._internal.settings import setting
from distgraph.concurrency.forking import free_in_forks
from distgraph.concurrency.threads import daemon
from distgraph.errors import GraphBubbleUp, MissingExtraError

__all__ = (
    "ENV",
    "NO_SPAN",
    "AttemptSpan",
    "NoSpan",
    "RunSpans",
    "caller_trace",
    "flush_soon",
    "tool_span",
)

ENV = "DISTGRAPH_OTEL"

_FLUSH_MS = 1000
"""Milliseconds that the end of a run may wait until its spans are exported."""

Trace = Mapping[str, str]
"""W3C trace context: ``traceparent`` and, where there is one, ``tracestate``."""


def caller_trace() -> dict[str, str] | None:
    """Return the current span of the caller, {} for none; None where no spans are wanted.

    Raises:
        MissingExtraError: ``DISTGRAPH_OTEL`` is on, and OpenTelemetry is not installed.
    """
    if not setting(ENV, False):
        return None
    try:
        from opentelemetry import context
    except ImportError as error:
        raise MissingExtraError(
            f"{ENV} is on, and OpenTelemetry is not installed: pip install 'distgraph[otel]'"
        ) from error
    return _carrier(context.get_current())


@lru_cache(maxsize=1)
def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def _carrier(context: Any) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _propagator().inject(carrier, context)
    return carrier


def _tracer() -> Any:
    from opentelemetry import trace

    return trace.get_tracer("distgraph")


def _within(span: Any) -> Any:
    from opentelemetry import trace

    return trace.set_span_in_context(span)


def _fail(span: Any, error: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, error))


# --- in the driver --------------------------------------------------------------------------------


class RunSpans:
    """The spans of one run and its supersteps. Not thread-safe.

    A superstep of a subgraph is below a span of the subgraph, which is below the superstep around
    it. A superstep lasts until the next one of its graph, or until what is around it ends.

    Args:
        trace: Span of the caller.
        graph: Name of the root graph.
        attributes: Attributes of the run.
        flush: Whether the process may end soon after the run: the end of the run waits until the
            spans are exported.
    """

    def __init__(
        self,
        trace: Trace,
        graph: str,
        attributes: Mapping[str, str],
        *,
        flush: bool = False,
    ) -> None:
        self._tracer = _tracer()
        self._flush = flush
        self._run = self._tracer.start_span(
            f"run {graph}",
            context=_propagator().extract(dict(trace)),
            attributes={"distgraph.graph": graph, **attributes},
        )
        self._steps: dict[tuple[str, ...], tuple[int, Any, dict[str, str]]] = {}
        self._graphs: dict[tuple[str, ...], Any] = {}
        self._ended = False

    def step(self, ns: tuple[str, ...], path: tuple[str, ...], steps: tuple[int, ...]) -> Trace:
        """Return the superstep that an attempt is to be a part of.

        Args:
            ns: Namespace of the attempt's graph.
            path: Names of the subgraph nodes that lead to that graph.
            steps: Numbers of the supersteps of the graphs around it and its own, the root first.
        """
        carrier: Trace = {}
        for depth, step in enumerate(steps):
            end = len(ns) - (len(steps) - 1 - depth)
            carrier = self._open_step(ns[:end], path[:depth], step)
        return carrier

    def _open_step(self, ns: tuple[str, ...], path: tuple[str, ...], step: int) -> Trace:
        known = self._steps.get(ns)
        if known is not None and known[0] == step:
            return known[2]
        if known is not None:
            self._end_step(ns)
        parent = self._graph(ns, path) if path else self._run
        span = self._tracer.start_span(
            f"step {step}", context=_within(parent), attributes={"distgraph.step": step}
        )
        carrier = _carrier(_within(span))
        self._steps[ns] = (step, span, carrier)
        return carrier

    def finish(self, status: str, error: str = "") -> None:
        """End all spans that are open. The first end counts."""
        if self._ended:
            return
        self._ended = True
        for ns in sorted(self._steps, key=len, reverse=True):
            self._end_step(ns)
        self._run.set_attribute("distgraph.status", status)
        if status == "error":
            _fail(self._run, error)
        self._run.end()
        if self._flush:
            flush(_FLUSH_MS)

    def _graph(self, ns: tuple[str, ...], path: tuple[str, ...]) -> Any:
        known = self._graphs.get(ns)
        if known is None:
            around = self._steps.get(ns[:-1])
            parent = self._run if around is None else around[1]
            known = self._graphs[ns] = self._tracer.start_span(
                f"graph {path[-1]}",
                context=_within(parent),
                attributes={"distgraph.graph": "/".join(path)},
            )
        return known

    def _end_step(self, ns: tuple[str, ...]) -> None:
        inner = [known for known in self._graphs if len(known) > len(ns) and known[: len(ns)] == ns]
        for graph in sorted(inner, key=len, reverse=True):
            if graph in self._steps:
                self._steps.pop(graph)[1].end()
            self._graphs.pop(graph).end()
        known = self._steps.pop(ns, None)
        if known is not None:
            known[1].end()


# --- in a worker ----------------------------------------------------------------------------------


class AttemptSpan:
    """The span of one attempt."""

    def __init__(self, trace: Trace, name: str, attributes: Mapping[str, Any]) -> None:
        self._context = _propagator().extract(dict(trace))
        self._span = _tracer().start_span(name, context=self._context, attributes=dict(attributes))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the span the current one; the baggage of the context around it stays."""
        from opentelemetry import trace

        with trace.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        ):
            yield

    def end(self, status: str, error: str | None) -> None:
        """End the span with the status of the attempt, and class and message of its error."""
        self._span.set_attribute("distgraph.status", status)
        if status in ("error", "timeout"):
            _fail(self._span, error or status)
        self._span.end()


class NoSpan:
    """In place of a span that is not wanted."""

    def current(self) -> AbstractContextManager[None]:
        """Change nothing."""
        return nullcontext()

    def end(self, status: str, error: str | None) -> None:
        """Do nothing."""


NO_SPAN = NoSpan()


def tool_span(trace: Trace | None, call: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return the span of a tool call, below the current span. ``trace`` is that of the attempt."""
    return nullcontext() if trace is None else _tool_span(str(call["name"]), call.get("id"))


@contextmanager
def _tool_span(tool: str, call_id: str | None) -> Iterator[None]:
    attributes = {"distgraph.tool": tool} | ({"distgraph.tool_call_id": call_id} if call_id else {})
    with _tracer().start_as_current_span(
        f"tool {tool}",
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            if not isinstance(error, GraphBubbleUp):
                span.record_exception(error)
                _fail(span, f"{type(error).__name__}: {error}")
            raise


# --- export ---------------------------------------------------------------------------------------

_flushing = free_in_forks(threading.Lock())


def flush(milliseconds: int = _FLUSH_MS) -> None:
    """Wait until the spans of this process are exported, for so long at most."""
    from opentelemetry import trace

    force = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force is not None:
        force(milliseconds)


def flush_soon() -> None:
    """Export the spans of this process on another thread: the process may end without a word."""
    if _flushing.acquire(blocking=False):
        daemon(_flush_once, "distgraph-spans").start()


def _flush_once() -> None:
    _flushing.release()
    flush()
