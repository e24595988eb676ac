"""Graphs in a worker process: offered by a driver, loaded ahead, kept by their hash."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from actors import prestart, worker
from distgraph.errors import SerializationError
from distgraph.graph import START, StateGraph
from distgraph.serde.program import check_program
from distgraph.worker.packing import Packet
from tests.support.graphs import Items


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> worker.WorkerProcess:
    """A process that cannot ask a driver for anything."""

    def refuse(digest: str, session: str) -> Any:
        raise AssertionError("the driver was asked")

    made = worker.WorkerProcess()
    monkeypatch.setattr(made, "_fetch", refuse)
    monkeypatch.setattr(worker, "process", lambda: made)
    monkeypatch.setattr(worker, "stand_in_for_script", lambda: None)  # this is the tests' process
    return made


def packet(digest: str) -> Packet:
    return Packet("", "", digest, b"", b"", [], ())


def blob() -> bytes:
    builder = StateGraph(Items).add_node("node", lambda state: {"items": ["ran"]})
    return check_program(builder.add_edge(START, "node").compile(backend="local").program)


def test_an_offered_graph_is_loaded_without_the_driver(process: worker.WorkerProcess) -> None:
    process.offer("digest", blob(), ())
    assert process.programs == ()
    program = process.program(packet("digest"))
    assert "node" in program.nodes
    assert process.programs == ("digest",)
    assert process.program(packet("digest")) is program


def test_a_graph_that_was_loaded_ahead_is_used_by_attempts(process: worker.WorkerProcess) -> None:
    prestart.load_graph("digest", blob(), ())
    first = process.program(packet("digest"))
    prestart.load_graph("digest", blob(), ())
    assert process.program(packet("digest")) is first


def test_a_graph_that_was_not_offered_is_asked_for(process: worker.WorkerProcess) -> None:
    process.offer("another", blob(), ())
    with pytest.raises(AssertionError, match="the driver was asked"):
        process.program(packet("digest"))


def test_two_threads_that_need_a_graph_load_it_once(
    process: worker.WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on = threading.Event(), threading.Event()
    loads: list[bytes] = []

    def load_program(given: bytes) -> Any:
        loads.append(given)
        loading.set()
        assert go_on.wait(30)
        return object()

    monkeypatch.setattr(worker, "load_program", load_program)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(process.load, "digest", b"program", ())
        assert loading.wait(30)
        second = pool.submit(process.load, "digest", b"program", ())
        go_on.set()
        assert first.result(30) is second.result(30)
    assert loads == [b"program"]


def test_a_graph_that_could_not_be_loaded_is_tried_again(process: worker.WorkerProcess) -> None:
    with pytest.raises(SerializationError):
        process.load("digest", b"no program", ())
    assert "node" in process.load("digest", blob(), ()).nodes
