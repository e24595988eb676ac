"""Langfuse's callback handler: the observations of LangGraph, with the same parents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from distgraph import distribute
from tests.ecosystem.observed import graph

pytest.importorskip("langfuse.langchain", reason="needs langfuse")

from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SHOWN = ("type", "input", "output")


@pytest.fixture
def langfuse(backend: str) -> Iterator[tuple[str, Langfuse, InMemorySpanExporter]]:
    """A client that keeps in memory what it would send. There is one in a process for each key."""
    key = f"pk-{backend}"
    exporter = InMemorySpanExporter()
    client = Langfuse(
        public_key=key,
        secret_key="sk-test",
        base_url="http://127.0.0.1:9",
        tracer_provider=TracerProvider(),
        span_exporter=exporter,
    )
    yield key, client, exporter
    client.shutdown()


def observed(run: Any, key: str, client: Langfuse, exporter: InMemorySpanExporter) -> list[Any]:
    """Return the observations of a run, sorted: the path, the type, the input and the output."""
    exporter.clear()
    run.invoke({"text": ""}, {"callbacks": [CallbackHandler(public_key=key)]})
    client.flush()
    found = {span.context.span_id: span for span in exporter.get_finished_spans()}

    def path(span: Any) -> str:
        above = "" if span.parent is None else path(found[span.parent.span_id])
        return f"{above}/{span.name}"

    return sorted(
        (path(span), *(span.attributes.get(f"langfuse.observation.{name}") for name in SHOWN))
        for span in found.values()
    )


def test_the_observations_of_a_run_are_langgraphs(
    backend: str, langfuse: tuple[str, Langfuse, InMemorySpanExporter]
) -> None:
    expected = observed(graph(), *langfuse)
    assert "/LangGraph/sub/child/act/shout" in [path for path, *_ in expected]
    assert observed(distribute(graph(), backend=backend), *langfuse) == expected
