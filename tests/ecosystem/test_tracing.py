"""OpenInference's instrumentation of LangChain: the spans of LangGraph, with the same parents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from distgraph import distribute
from tests.ecosystem.observed import graph

pytest.importorskip("openinference.instrumentation.langchain", reason="not installed")

from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    """An instrumented process, and what it exports."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    LangChainInstrumentor().instrument(tracer_provider=provider)
    yield provider, exporter
    LangChainInstrumentor().uninstrument()


def traced(run: Any, provider: TracerProvider, exporter: InMemorySpanExporter) -> list[str]:
    """Return the paths of the spans of a run inside of a request, sorted."""
    exporter.clear()
    with provider.get_tracer("test").start_as_current_span("request"):
        run.invoke({"text": ""})
    found = {span.context.span_id: span for span in exporter.get_finished_spans()}

    def path(span: Any) -> str:
        return (
            span.name
            if span.parent is None
            else f"{path(found[span.parent.span_id])} > {span.name}"
        )

    return sorted(map(path, found.values()))


def test_the_spans_of_a_run_are_langgraphs(
    backend: str, spans: tuple[TracerProvider, InMemorySpanExporter]
) -> None:
    expected = traced(graph(), *spans)
    assert "request > LangGraph > sub > child > act > shout" in expected
    assert traced(distribute(graph(), backend=backend), *spans) == expected
