"""``is_collecting``: the garbage collector runs in this thread."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
from types import FunctionType
from typing import Any

import pytest

from distgraph.concurrency.collecting import collect_less, is_collecting, uncollected
from distgraph.concurrency.threads import elsewhere
from tests.support.cluster import eventually


class Notes:
    def __init__(self, notes: list[bool]) -> None:
        self.notes = notes
        self.circle = self

    def __del__(self) -> None:
        self.notes.append(is_collecting())


def test_it_is_known_while_garbage_is_collected() -> None:
    notes: list[bool] = []
    Notes(notes)
    assert not is_collecting()
    gc.collect()
    assert notes == [True]
    assert not is_collecting()


def test_it_is_not_so_where_the_last_reference_goes() -> None:
    notes: list[bool] = []
    noted = Notes(notes)
    noted.circle = None
    del noted
    assert notes == [False]


def test_it_is_so_in_one_thread_only() -> None:
    elsewhere: list[bool] = []

    class Asks:
        def __init__(self) -> None:
            self.circle = self

        def __del__(self) -> None:
            asks = threading.Thread(target=lambda: elsewhere.append(is_collecting()))
            asks.start()
            asks.join()

    Asks()
    gc.collect()
    assert elsewhere == [False]


def test_a_call_elsewhere_is_made_while_this_thread_holds_every_lock_of_threads() -> None:
    made = threading.Event()
    with threading._active_limbo_lock:  # type: ignore[attr-defined]
        elsewhere(made.set)
        assert made.wait(60)


def test_a_call_elsewhere_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ran = threading.Event()

    def fails() -> None:
        ran.set()
        raise LookupError("of the call")

    with caplog.at_level(logging.ERROR, "distgraph"):
        elsewhere(fails)
        assert ran.wait(60)
        eventually(lambda: "of the call" in caplog.text, "the failure is logged")


def test_what_a_signal_handler_raises_during_a_pass_reaches_the_program() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    many = [[number] for number in range(1_500_000)]
    while gc.collect():  # callbacks of weak references lose what is raised in them
        pass
    started = time.perf_counter()
    gc.collect()
    seconds = time.perf_counter() - started
    before, callbacks = signal.signal(signal.SIGALRM, interrupt), list(gc.callbacks)
    try:
        # those of Hypothesis are written in Python: what a handler raises there is lost
        gc.callbacks[:] = [call for call in callbacks if not isinstance(call, FunctionType)]
        for part in (0.3, 0.5, 0.7):
            with pytest.raises(Interrupted):
                signal.setitimer(signal.ITIMER_REAL, seconds * part)
                gc.collect()
                time.sleep(10)
    finally:
        gc.callbacks[:] = callbacks
        signal.signal(signal.SIGALRM, before)
    del many


@pytest.mark.parametrize(
    ("before", "after"),
    [((700, 10, 10), (5000, 10, 10)), ((9000, 5, 5), (9000, 5, 5)), ((0, 10, 10), (0, 10, 10))],
    ids=["a lower threshold", "a higher one", "turned off"],
)
def test_the_collector_runs_more_rarely_and_never_more_often(before, after) -> None:
    known = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        collect_less(5000)
        assert gc.get_threshold() == after
    finally:
        gc.set_threshold(*known)


def test_a_block_can_be_without_passes_and_leaves_the_collector_as_it_was():
    assert gc.isenabled()
    with uncollected():
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
