"""Calls that are due later, with a clock that the tests move."""

import threading

from distgraph.concurrency.timers import Timers


class Rig(Timers):
    def __init__(self):
        self.now = 100.0
        super().__init__("test", lambda: self.now, spawn=lambda body: None)
        self.made = []

    def note(self, name):
        return lambda: self.made.append(name)


def test_calls_are_made_in_the_order_of_their_times():
    timers = Rig()
    for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("a too", 1)):
        timers.after(seconds, timers.note(name))
    assert timers.run_due() == 1.0
    timers.now += 2
    assert timers.run_due() == 1.0
    assert timers.made == ["a", "a too", "b"]
    timers.now += 1
    assert timers.run_due() is None
    assert timers.made == ["a", "a too", "b", "c"]


def test_a_call_that_was_taken_back_is_not_made():
    timers = Rig()
    take_back = timers.after(1, timers.note("a"))
    timers.after(1, timers.note("b"))
    take_back()
    timers.now += 1
    timers.run_due()
    take_back()
    assert timers.made == ["b"]


def test_a_call_may_ask_for_another():
    timers = Rig()
    timers.after(1, lambda: timers.after(1, timers.note("a")))
    timers.now += 1
    assert timers.run_due() == 1.0
    timers.now += 1
    timers.run_due()
    assert timers.made == ["a"]


def test_a_call_that_fails_is_logged_and_ends_no_other(caplog):
    timers = Rig()
    timers.after(1, lambda: 1 / 0)
    timers.after(1, timers.note("a"))
    timers.now += 1
    timers.run_due()
    assert timers.made == ["a"]
    (record,) = caplog.records
    assert "a timer failed" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_a_call_that_is_due_earlier_is_made_earlier():
    timers, made, done = Timers("distgraph-test"), [], threading.Event()
    take_back = timers.after(600, done.set)
    timers.after(0.01, lambda: (made.append(threading.current_thread().name), done.set()))
    assert done.wait(60)
    take_back()
    assert made == ["distgraph-test"]


def test_the_thread_ends_without_work_and_starts_again_with_it():
    timers, threads = Timers("distgraph-test-ends", linger=0.01), []
    for _ in range(2):
        called = threading.Semaphore(0)
        timers.after(0, lambda: threads.append(threading.current_thread()))
        timers.after(0, called.release)
        assert called.acquire(timeout=60)
        threads[-1].join(60)
        assert not threads[-1].is_alive()
    assert len(set(threads)) == 2
