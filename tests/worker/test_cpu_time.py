"""CPU time of attempts that run alone in their process, and of those that do not."""

from __future__ import annotations

import threading
import time

import pytest

from distgraph.worker import cpu_time
from distgraph.worker.cpu_time import CpuTime


@pytest.fixture(autouse=True)
def nothing_else_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that other tests left behind in this process do not count."""
    monkeypatch.setattr(cpu_time, "_running", 0)


def _burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_alone_the_threads_that_the_code_starts_count() -> None:
    cpu = CpuTime(on_loop=True)
    thread = threading.Thread(target=_burn, args=(0.1,))
    thread.start()
    thread.join()
    assert cpu.end() >= 0.1


def test_beside_another_attempt_only_the_own_thread_counts() -> None:
    first = CpuTime()
    second = CpuTime()
    thread = threading.Thread(target=_burn, args=(0.1,))
    thread.start()
    thread.join()
    assert 0.0 <= second.end() < 0.1
    assert 0.0 <= first.end() < 0.1


def test_on_an_event_loop_beside_another_attempt_nothing_is_known() -> None:
    first, second = CpuTime(on_loop=True), CpuTime(on_loop=True)
    _burn(0.01)
    assert (second.end(), first.end()) == (0.0, 0.0)


def test_after_others_have_ended_an_attempt_is_alone_again() -> None:
    CpuTime().end()
    cpu = CpuTime(on_loop=True)
    _burn(0.02)
    assert cpu.end() >= 0.02


def test_on_an_event_loop_beside_another_attempt_no_clock_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = CpuTime(on_loop=True)
    monkeypatch.setattr(cpu_time, "time", None)
    second = CpuTime(on_loop=True)
    assert (second.end(), first.end()) == (0.0, 0.0)
