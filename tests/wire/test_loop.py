"""The thread of the connections makes calls that take long, and another one goes on beside them."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

import pytest

from distgraph.wire.loop import IN_A_ROW, LONG, OFTEN, Loop


class Looks:
    """A loop whose looks at long calls are made when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.asked = threading.Semaphore(0)
        self.got: queue.SimpleQueue[tuple[object, ...]] = queue.SimpleQueue()
        self.loop = Loop(self._later)

    def _later(self, seconds: float, look: Callable[[], None]) -> None:
        assert seconds == LONG
        self.due.append(look)
        self.asked.release()

    def look(self) -> None:
        assert self.asked.acquire(timeout=30)
        self.due.pop()()

    def note(self, name: str) -> None:
        self.got.put((name, threading.get_ident(), self.loop.is_current))

    def next(self) -> tuple[object, ...]:
        return self.got.get(timeout=30)

    def thread(self) -> object:
        """Return the thread that serves."""
        self.loop.soon(lambda: self.note("serves"))
        _, thread, current = self.next()
        assert current
        return thread


class Held:
    """A call that goes on until it is let go."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._go_on = threading.Event()
        self.thread = threading.current_thread()
        looks.loop.work(self._call)
        looks.next()

    def _call(self) -> None:
        self.thread = threading.current_thread()
        self._looks.note("held")
        assert self._go_on.wait(30)

    def release(self) -> None:
        self._go_on.set()


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_calls_that_may_take_long_are_made_in_their_order_by_the_thread_that_serves(
    looks: Looks,
) -> None:
    thread = looks.thread()
    for name in "abc":
        looks.loop.work(lambda name=name: looks.note(name))  # type: ignore[misc]
    assert [looks.next() for _ in "abc"] == [(name, thread, False) for name in "abc"]
    assert looks.thread() == thread


def test_a_call_that_such_a_call_asks_for_needs_nobody_to_wake_the_thread(looks: Looks) -> None:
    looks.loop.work(lambda: looks.loop.work(lambda: looks.note("inner")))
    assert looks.next()[0] == "inner"
    looks.loop.work(lambda: looks.loop.soon(lambda: looks.note("soon")))
    assert looks.next()[0] == "soon"


def test_another_thread_goes_on_beside_a_call_that_takes_long(looks: Looks) -> None:
    first = looks.thread()
    held = Held(looks)
    looks.loop.soon(lambda: looks.note("soon"))
    looks.loop.work(lambda: looks.note("work"))
    looks.look()
    assert looks.got.empty(), "it may have begun just now"
    looks.look()
    (name, second, current), work = looks.next(), looks.next()
    assert (name, current) == ("soon", True)
    assert second != first
    assert work == ("work", second, False)
    held.release()
    held.thread.join(30)
    assert not held.thread.is_alive(), "another thread serves in its place"
    assert looks.thread() == second


def test_a_call_that_ends_before_the_second_look_keeps_its_thread(looks: Looks) -> None:
    first = looks.thread()
    held = Held(looks)
    looks.look()
    held.release()
    assert looks.thread() == first
    looks.look()
    assert looks.due == [], "nobody looks while there is no call"
    assert looks.thread() == first
    held = Held(looks)
    looks.look()
    looks.look()
    assert looks.thread() != first
    held.release()
    held.thread.join(30)


def test_many_calls_that_take_long_all_begin(looks: Looks) -> None:
    held = []
    for _ in range(4):
        held.append(Held(looks))
        looks.look()
        looks.look()
    looks.loop.work(lambda: looks.note("last"))
    assert looks.next()[0] == "last"
    for one in held:
        one.release()
    for one in held:
        one.thread.join(30)
        assert not one.thread.is_alive()


def test_beside_calls_that_take_long_threads_hand_the_interpreter_over_more_often(
    looks: Looks,
) -> None:
    usual, held = sys.getswitchinterval(), []
    for _ in range(2):
        held.append(Held(looks))
        looks.look()
        looks.look()
        assert sys.getswitchinterval() == pytest.approx(OFTEN)
    for one, then in zip(held, (OFTEN, usual), strict=True):
        one.release()
        one.thread.join(30)
        assert sys.getswitchinterval() == pytest.approx(then)


def test_a_call_that_fails_ends_no_other(looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyboardInterrupt("of a reducer")

    looks.loop.work(fail)
    looks.loop.work(lambda: looks.note("other"))
    assert looks.next()[0] == "other"
    (failed,) = (record.exc_info for record in caplog.records if record.exc_info)
    assert failed[0] is KeyboardInterrupt


def test_what_calls_in_a_row_ask_for_is_done_once_behind_them(looks: Looks) -> None:
    held, asked = Held(looks), []

    def work(name: str) -> None:
        looks.note(name)
        asked.append(looks.loop.collects)
        if looks.loop.collects:
            assert looks.loop.collect(lambda: looks.note(f"behind {name}"))

    for name in "abc":
        looks.loop.work(lambda name=name: work(name))  # type: ignore[misc]
    held.release()
    order = ["a", "b", "c", "behind a", "behind b"]
    assert [looks.next()[0] for _ in order] == order
    assert asked == [True, True, False], "nothing follows the last one"


def test_what_a_call_that_takes_long_has_asked_for_is_done_beside_it(looks: Looks) -> None:
    go_on, asked = threading.Event(), queue.SimpleQueue[bool]()
    thread: list[threading.Thread] = []

    def work() -> None:
        thread.append(threading.current_thread())
        assert looks.loop.collect(lambda: looks.note("behind"))
        looks.note("begun")
        assert go_on.wait(30)
        asked.put(looks.loop.collects)
        asked.put(looks.loop.collect(lambda: looks.note("never")))
        looks.note("ended")

    first = looks.thread()
    looks.loop.work(work)
    assert looks.next()[0] == "begun"
    looks.look()
    looks.look()
    name, second, _ = looks.next()
    assert name == "behind"
    assert second != first
    go_on.set()
    assert looks.next()[0] == "ended"
    assert [asked.get(timeout=30) for _ in range(2)] == [False, False]
    thread[0].join(30)


def test_sockets_are_served_between_many_calls(looks: Looks) -> None:
    held = Held(looks)
    for number in range(3 * IN_A_ROW):
        looks.loop.work(lambda number=number: looks.note(str(number)))  # type: ignore[misc]
    looks.loop.soon(lambda: looks.note("soon"))
    held.release()
    order = [looks.next()[0] for _ in range(3 * IN_A_ROW + 1)]
    assert order.index("soon") <= IN_A_ROW
    order.remove("soon")
    assert order == [str(number) for number in range(3 * IN_A_ROW)]
