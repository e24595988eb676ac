"""Graphs in a worker process: offered by a driver, loaded once, kept by their hash."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from actors import prestart, worker
from distgraph.errors import SerializationError
from distgraph.graph import START, StateGraph
from distgraph.serde.program import check_program
from distgraph.worker import programs as programs_module
from distgraph.worker.programs import Programs
from tests.support.graphs import Items


class Driver:
    """What a process asks its driver for, and what it gets."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def fetch(self, digest: str, session: str) -> tuple[bytes, tuple[str, ...]]:
        self.asked.append((digest, session))
        return blob(), ()

    async def afetch(self, digest: str, session: str) -> tuple[bytes, tuple[str, ...]]:
        await asyncio.sleep(0)
        return self.fetch(digest, session)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def programs(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Programs:
    # this is the tests' process
    monkeypatch.setattr(programs_module, "stand_in_for_script", lambda: None)
    return Programs(driver.fetch, driver.afetch)


def blob() -> bytes:
    builder = StateGraph(Items).add_node("node", lambda state: {"items": ["ran"]})
    return check_program(builder.add_edge(START, "node").compile(backend="local").program)


def test_an_offered_graph_is_loaded_without_the_driver(programs: Programs, driver: Driver) -> None:
    programs.offer("digest", blob(), ())
    assert programs.loaded == ()
    program = programs.get("digest", "session")
    assert "node" in program.nodes
    assert programs.loaded == ("digest",)
    assert programs.get("digest", "session") is program
    assert driver.asked == []


def test_a_graph_that_was_loaded_ahead_is_used_by_attempts(
    programs: Programs, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "process", lambda: SimpleNamespace(programs=programs))
    prestart.load_graph("digest", blob(), ())
    first = programs.get("digest", "session")
    prestart.load_graph("digest", blob(), ())
    assert programs.get("digest", "session") is first
    assert driver.asked == []


def test_a_graph_that_was_not_offered_is_asked_for_once(programs: Programs, driver: Driver) -> None:
    programs.offer("another", blob(), ())
    assert programs.get("digest", "session") is programs.get("digest", "session")
    assert driver.asked == [("digest", "session")]


def test_attempts_of_a_loop_that_need_the_same_graph_wait_for_one_load(
    programs: Programs, driver: Driver
) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(*(programs.aget("digest", "session") for _ in range(2)))

    first, second = asyncio.run(both())
    assert first is second is programs.known("digest")
    assert driver.asked == [("digest", "session")]


def test_an_attempt_that_is_cancelled_leaves_the_load_to_the_others(
    programs: Programs, driver: Driver
) -> None:
    async def one_is_cancelled() -> Any:
        first = asyncio.create_task(programs.aget("digest", "session"))
        second = asyncio.create_task(programs.aget("digest", "session"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(one_is_cancelled()) is programs.known("digest")
    assert driver.asked == [("digest", "session")]


def test_two_threads_that_need_a_graph_load_it_once(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on = threading.Event(), threading.Event()
    loads: list[bytes] = []

    def load_program(given: bytes) -> Any:
        loads.append(given)
        loading.set()
        assert go_on.wait(30)
        return object()

    monkeypatch.setattr(programs_module, "load_program", load_program)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(programs.load, "digest", b"program", ())
        assert loading.wait(30)
        second = pool.submit(programs.load, "digest", b"program", ())
        go_on.set()
        assert first.result(30) is second.result(30)
    assert loads == [b"program"]


def test_a_graph_that_could_not_be_loaded_is_tried_again(programs: Programs) -> None:
    with pytest.raises(SerializationError):
        programs.load("digest", b"no program", ())
    assert "node" in programs.load("digest", blob(), ()).nodes


def test_the_graph_that_was_used_longest_ago_is_dropped(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs_module, "_KEPT", 2)
    monkeypatch.setattr(programs_module, "load_program", lambda given: object())
    for digest in ("a", "b"):
        programs.load(digest, b"", ())
    programs.known("a")
    programs.load("c", b"", ())
    assert programs.loaded == ("a", "c")


@pytest.mark.parametrize(("between_attempts", "frozen"), [(True, 2), (False, 1)])
def test_what_a_later_graph_loads_is_frozen_only_where_no_attempt_runs(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, between_attempts: bool, frozen: int
) -> None:
    freezes: list[None] = []
    monkeypatch.setattr(programs_module, "stand_in_for_script", lambda: None)
    monkeypatch.setattr(programs_module, "load_program", lambda given: object())
    monkeypatch.setattr(programs_module, "freeze", lambda: freezes.append(None))
    programs = Programs(driver.fetch, driver.afetch, lambda: between_attempts)
    for digest in ("a", "b"):
        programs.load(digest, b"", ())
    assert len(freezes) == frozen
