"""OpenTelemetry spans: run, superstep, attempt, tool; the same tree on both backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from distgraph import spans as own_spans
from distgraph.errors import GraphRecursionError, MissingExtraError
from distgraph.graph import START, StateGraph
from tests.observe import taken_over, traced
from tests.observe.taken_over import LOST, TURNS
from tests.observe.traced import TREE, graph, paths, plain
from tests.support.graphs import Items

ROOT = Path(__file__).parents[2]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans of this process, with a provider for this test only."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(own_spans, "_tracer", lambda: provider.get_tracer("distgraph"))
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    monkeypatch.setenv("DISTGRAPH_OTEL", "on")
    yield exporter


def seen(exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [plain(span) for span in exporter.get_finished_spans()]


def test_the_spans_of_a_run_are_a_tree_below_the_caller_s_span(
    exported: InMemorySpanExporter,
) -> None:
    with trace.get_tracer("test").start_as_current_span("request"):
        graph("local").invoke({})
    found = seen(exported)
    assert paths(found) == TREE
    assert len({span["trace"] for span in found}) == 1


async def _ainvoke() -> None:
    with trace.get_tracer("test").start_as_current_span("request"):
        await graph("local").ainvoke({})


def test_coroutines_give_the_same_tree(exported: InMemorySpanExporter) -> None:
    import asyncio

    asyncio.run(_ainvoke())
    assert paths(seen(exported)) == TREE


def test_spans_say_what_ran_and_how_it_ended(exported: InMemorySpanExporter) -> None:
    graph("local").invoke({}, {"configurable": {"thread_id": "t"}})
    found = seen(exported)
    (run,) = [span for span in found if span["name"] == "run g"]
    assert run["parent"] is None
    assert run["attributes"]["distgraph.thread_id"] == "t"
    assert run["attributes"]["distgraph.status"] == "done"
    flaky = [span for span in found if span["name"] == "node flaky"]
    assert [s["attributes"]["distgraph.attempt"] for s in flaky] == [1, 2]
    assert [(s["status"], s["error"]) for s in flaky] == [
        ("ERROR", "ConnectionError: again"),
        ("UNSET", None),
    ]
    (act,) = [span for span in found if span["name"] == "node act"]
    assert act["attributes"]["distgraph.node"] == "sub/act"
    (fail,) = [span for span in found if span["name"] == "tool fail"]
    assert fail["status"] == "ERROR"
    assert fail["attributes"]["distgraph.tool_call_id"] == "call-fail"


def test_a_run_that_fails_or_is_left_ends_all_of_its_spans(exported: InMemorySpanExporter) -> None:
    def node(state: Items, writer: Any) -> Any:
        writer("begun")
        raise ValueError("no")

    failing = StateGraph(Items).add_node("n", node).add_edge(START, "n").compile(backend="local")
    with pytest.raises(ValueError, match="no"):
        failing.invoke({"items": []})
    assert [(s["name"], s["status"]) for s in seen(exported)] == [
        ("node n", "ERROR"),
        ("step 1", "UNSET"),
        ("run LangGraph", "ERROR"),
    ]
    exported.clear()
    stream = failing.stream({"items": []}, stream_mode="custom")
    next(stream)
    stream.close()
    assert {s["name"] for s in seen(exported)} >= {"step 1", "run LangGraph"}


def test_the_span_of_a_run_has_an_error_of_the_engine(exported: InMemorySpanExporter) -> None:
    endless = StateGraph(Items).add_node("n", lambda s: {"items": []})
    endless.add_edge(START, "n").add_edge("n", "n")
    with pytest.raises(GraphRecursionError):
        endless.compile(backend="local").invoke({"items": []}, {"recursion_limit": 1})
    (run,) = [span for span in seen(exported) if span["name"] == "run LangGraph"]
    assert (run["status"], run["attributes"]["distgraph.status"]) == ("ERROR", "error")
    assert run["error"].startswith("GraphRecursionError: graph 'LangGraph': recursion limit of 1 s")


def test_nothing_is_traced_unless_asked(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTGRAPH_OTEL")
    monkeypatch.setattr(own_spans, "_propagator", None)  # any use would fail
    graph("local").invoke({})
    assert {span["name"] for span in seen(exported)} == {"hands", "lungs"}  # the user's own


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_OTEL", "on")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"distgraph\[otel\]"):
        own_spans.caller_trace()


@pytest.mark.ray
@pytest.mark.matrix
def test_ray_gives_the_same_tree_from_several_processes(tmp_path: Path) -> None:
    file = tmp_path / "spans"
    done = subprocess.run(
        [sys.executable, "-m", traced.__name__, str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DISTGRAPH_OTEL": "on", traced.FILE: str(file)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert paths(found) == TREE
    assert len({span["trace"] for span in found}) == 1
    pids = {name: {s["pid"] for s in found if s["name"] == name} for name in ("request", "run g")}
    assert not pids["request"] & pids["run g"]
    assert len({span["pid"] for span in found}) >= 3  # caller, driver, workers


@pytest.mark.ray
@pytest.mark.faults
def test_spans_and_metrics_of_a_run_whose_driver_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("opencensus.stats", reason='needs "ray[default]"')
    file = tmp_path / "spans"
    done = subprocess.run(
        [sys.executable, "-m", taken_over.__name__, str(file)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DISTGRAPH_OTEL": "on",
            "DISTGRAPH_METRICS": "0.5",
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    before, after = metrics["before"], metrics["after"]
    turns = "ray_distgraph_attempts_total graph=g node=turn status="
    assert before[turns + "ok"] == LOST
    assert (after[turns + "ok"], after[turns + "lost"]) == (TURNS, 1)
    assert after["ray_distgraph_retries_total graph=g node=turn"] == 1
    assert after["ray_distgraph_steps_total graph=g"] == TURNS
    assert after["ray_distgraph_runs_started_total graph=g"] == 1
    assert after["ray_distgraph_runs_ended_total graph=g status=done"] == 1
    assert all(value >= 0 for value in after.values())

    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len({span["trace"] for span in found}) == 1
    known = {span["id"]: span for span in found}
    assert len(known) == len(found)
    (run,) = [span for span in found if span["name"] == "run g"]  # of the driver that ended it
    assert known[run["parent"]]["name"] == "request"
    steps = [span for span in found if span["parent"] == run["id"]]
    assert [span["name"] for span in steps] == [f"step {n + 1}" for n in range(LOST, TURNS)]
    attempts = [
        (known[span["parent"]]["name"], span["attributes"]["distgraph.attempt"])
        for span in found
        if span["name"] == "node turn" and span["parent"] in known
    ]
    assert sorted(attempts) == [
        *((f"step {n + 1}", 1) for n in range(LOST)),
        (f"step {LOST + 1}", 2),
        *((f"step {n + 1}", 1) for n in range(LOST + 1, TURNS)),
    ]
