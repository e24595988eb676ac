"""A view and a timeline of a started run, by its handle."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from typing import Any

import pytest

import distgraph
from distgraph.errors import UnsupportedError
from distgraph.graph import START, StateGraph
from distgraph.runs import RunHandle
from tests.views.test_progress import State, graph

WORDS = {"words": ["one", "three"]}
CHUNKS = [{"measure": {"lengths": [3]}}, {"measure": {"lengths": [5]}}, {"total": {"lengths": [8]}}]


def _sorted(chunks: list[Any]) -> list[Any]:
    return sorted(chunks, key=repr)


@pytest.mark.parametrize("given", ["handle", "events", "aevents"])
def test_a_view_of_a_started_run_passes_its_chunks_through(given: str, backend: str) -> None:
    out = io.StringIO()
    handle = graph(backend).start(WORDS, progress=True)

    async def read() -> list[Any]:
        run = distgraph.progress(handle.aevents(), view="lines", file=out)
        return [chunk.chunk async for chunk in run]

    if given == "aevents":
        chunks = asyncio.run(read())
    else:
        run = distgraph.progress(
            handle if given == "handle" else handle.events(), view="lines", file=out
        )
        chunks = [chunk.chunk for chunk in run]
    assert _sorted(chunks) == _sorted(CHUNKS)
    text = out.getvalue()
    assert "lengths" in text.splitlines()[0]
    assert "measure: 2 of 2 done" in text
    assert "total: 1 of 1 done" in text


def test_the_chunks_of_a_run_that_reports_its_attempts_are_the_same() -> None:
    chunks = [c.chunk for c in graph().start(WORDS, progress=True).events()]
    assert _sorted(chunks) == _sorted(CHUNKS)


def test_the_timeline_of_a_finished_run(backend: str) -> None:
    handle = graph(backend).start(WORDS, progress=True)
    handle.result(30)
    drawn = distgraph.timeline(handle)
    assert drawn.title == "lengths"
    assert drawn.svg().count('class="attempt"') >= 3


def test_the_timeline_of_a_run_that_still_runs_does_not_wait_for_its_end() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(state: State) -> dict[str, Any]:
        entered.set()
        go_on.wait(30)
        return {"lengths": [0]}

    builder = StateGraph(State).add_node(wait).add_edge(START, "wait")
    handle = builder.compile(backend="local").start(WORDS, progress=True)
    assert entered.wait(60)
    drawn = distgraph.timeline(handle)
    go_on.set()
    assert drawn.svg().count('class="attempt"') == 1
    assert handle.result(30)["lengths"] == [0]


def test_a_view_of_a_run_that_has_ended_shows_the_time_that_the_run_took() -> None:
    begin = time.time()
    handle = graph().start(WORDS, progress=True)
    handle.result(60)
    took = time.time() - begin
    time.sleep(0.01)  # the view must not count it
    run = distgraph.progress(handle, view="none")
    list(run)
    snapshot = run.snapshot()
    assert snapshot.status == "done"
    assert snapshot.elapsed <= took


def test_who_leaves_the_view_leaves_the_run(backend: str) -> None:
    handle = graph(backend).start(WORDS, progress=True)
    out = io.StringIO()
    with distgraph.progress(handle, view="lines", file=out) as run:
        next(run)
    assert "left in " in out.getvalue().splitlines()[-1]
    assert handle.result(30)["lengths"][-1] == 8


def test_a_run_that_reports_nothing_has_a_view_of_its_chunks_and_no_timeline() -> None:
    handle: RunHandle = graph().start(WORDS)
    assert len(list(distgraph.progress(handle, view="none"))) == 3
    with pytest.raises(UnsupportedError, match=r"start it with start\(\.\.\., progress=True\)"):
        distgraph.timeline(handle)


def test_a_handle_that_has_seen_the_end_knows_its_number(backend: str) -> None:
    handle = graph(backend).start(WORDS)
    assert handle.end_seq is None
    handle.result(30)
    assert handle.end_seq == handle.info.last


def test_the_process_that_started_a_run_reads_it_without_asking_how(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = graph(backend).start(WORDS)
    monkeypatch.setattr(type(handle._run), "face", lambda self: pytest.fail("the process knows it"))
    assert _sorted([chunk.chunk for chunk in handle.events()]) == _sorted(CHUNKS)
