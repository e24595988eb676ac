"""Threads that wait for one connection receive by themselves, one at a time."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distgraph.wire import Connection, Frame, Listener, connect, leading, new_secret
from distgraph.wire.leading import Lead
from distgraph.wire.loop import loop
from tests.support.tls import use_tls

SECRET = new_secret()
KIND = 20
TWO_LOOPS: Any = (object(), object())
"""Event loops of which none is alone."""


class Box:
    """What one reader gets, and on which thread each frame was taken."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, int]] = []
        self.end: Callable[[], None] = lambda: None

    def put(self, data: bytes) -> None:
        self.got.append((data, threading.get_ident()))
        self.end()


class Ends:
    """Both ends of a connection. Frames name the box that they are for."""

    def __init__(self) -> None:
        accepted: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self.listener = Listener(
            "127.0.0.1",
            SECRET,
            on_open=accepted.put,
            on_frame=lambda connection, frame: None,
            on_closed=lambda connection, error: None,
        )
        self.boxes: dict[bytes, Box] = {}
        self.closed: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.near = connect(
            self.listener.address,
            SECRET,
            "test",
            on_frame=self._take,
            on_closed=lambda connection, error: self.closed.put(error),
        )
        self.far = accepted.get(timeout=60)
        self.lead = Lead(lambda: self.near)

    def _take(self, connection: Connection, frame: Frame) -> None:
        name, data = map(bytes, frame.parts)
        self.boxes[name].put(data)

    def send(self, name: bytes, data: bytes) -> None:
        self.far.send(KIND, name, data)

    def read(self, name: bytes, then: Callable[[], object] = lambda: None) -> tuple[bytes, int]:
        """Wait for what a box gets, as a reader does. ``then`` is called before the wait."""
        box = self.boxes[name]
        while not box.got:
            waiter, box.end = self.lead.waiter()
            if not box.got:
                then()
                then = lambda: None  # noqa: E731
                self.lead.wait(waiter, None)
        return box.got.pop(0)

    def settle(self) -> None:
        """Wait until the thread of the loop has done what it was asked for."""
        done = threading.Event()
        loop().soon(done.set)
        assert done.wait(60)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    made.boxes = {b"a": Box(), b"b": Box()}
    yield made
    made.near.close()
    made.listener.close()


def serving() -> int:
    """Return the thread of the loop."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    loop().soon(lambda: told.put(threading.get_ident()))
    return told.get(timeout=60)


def lead_once(ends: Ends, name: bytes = b"a") -> None:
    """From here on, frames are taken by the threads that wait."""
    found = in_thread(ends, name)
    leads(ends)
    ends.settle()
    ends.send(name, b"first")
    assert found.get(timeout=60)[0] == b"first"


def in_thread(ends: Ends, name: bytes) -> queue.SimpleQueue[tuple[bytes, int]]:
    """Read once in another thread, which waits when this returns. Return where the frame goes."""
    found: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()
    threading.Thread(target=lambda: found.put(ends.read(name)), daemon=True).start()
    while not ends.lead._waiting:
        time.sleep(0.001)
    return found


def leads(ends: Ends) -> int:
    """Wait until a thread leads, and return it."""
    while not ends.lead._leader:
        time.sleep(0.001)
    return ends.lead._leader


def test_the_thread_that_waits_takes_its_frames_itself(ends: Ends) -> None:
    lead_once(ends)
    me = threading.get_ident()
    for number in range(50):
        data = b"%d" % number
        assert ends.read(b"a", lambda data=data: ends.send(b"a", data)) == (data, me)


def test_the_thread_that_leads_wakes_the_others(ends: Ends) -> None:
    lead_once(ends)
    first = in_thread(ends, b"a")
    leader = leads(ends)
    assert ends.read(b"b", lambda: ends.send(b"b", b"for me")) == (b"for me", leader)
    ends.send(b"a", b"for it")
    assert first.get(timeout=60) == (b"for it", leader)


def test_the_thread_that_waits_takes_the_frames_of_all_connections(ends: Ends) -> None:
    others = Ends()
    others.boxes, others.lead = ends.boxes, ends.lead
    ends.lead.also(lambda: others.near)
    me = threading.get_ident()
    lead_once(ends)
    for number in range(20):
        data = b"%d" % number
        assert ends.read(b"a", lambda data=data: others.send(b"a", data)) == (data, me)
        assert ends.read(b"a", lambda data=data: ends.send(b"a", data)) == (data, me)
    others.near.close()  # the others go on
    others.listener.close()
    for number in range(5):
        data = b"%d" % number
        assert ends.read(b"a", lambda data=data: ends.send(b"a", data)) == (data, me)


def test_no_connection_is_left_unread_when_no_thread_leads_any_more(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "LOOK", 0.01)
    others = Ends()
    others.boxes, others.lead = ends.boxes, ends.lead
    ends.lead.also(lambda: others.near)
    lead_once(ends)
    for sent in (ends, others):
        sent.send(b"b", b"meanwhile")
        while not ends.boxes[b"b"].got:
            time.sleep(0.001)
        assert ends.boxes[b"b"].got.pop() == (b"meanwhile", serving())
    others.near.close()
    others.listener.close()


def test_another_thread_that_waits_leads_when_the_first_one_goes_on(ends: Ends) -> None:
    lead_once(ends)
    first = in_thread(ends, b"a")
    leader = leads(ends)
    second: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: second.put(ends.read(b"b")), daemon=True)
    thread.start()
    while len(ends.lead._waiting) < 2:
        time.sleep(0.001)
    ends.send(b"a", b"for it")
    assert first.get(timeout=60) == (b"for it", leader)
    ends.send(b"b", b"for the second")
    assert second.get(timeout=60) == (b"for the second", thread.ident)


def test_the_loops_thread_receives_if_no_thread_leads_any_more(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "LOOK", 0.01)
    lead_once(ends)
    ends.send(b"b", b"meanwhile")
    while not ends.boxes[b"b"].got:
        time.sleep(0.001)
    assert ends.boxes[b"b"].got == [(b"meanwhile", serving())]
    monkeypatch.undo()
    lead_once(ends)
    assert ends.read(b"a", lambda: ends.send(b"a", b"own")) == (b"own", threading.get_ident())


def test_no_thread_leads_while_others_than_threads_wait(ends: Ends) -> None:
    lead_once(ends)
    first = in_thread(ends, b"a")
    leads(ends)
    ends.lead.share(TWO_LOOPS)
    while ends.lead._leader:
        time.sleep(0.001)
    ends.settle()
    ends.send(b"b", b"for a loop")
    while not ends.boxes[b"b"].got:
        time.sleep(0.001)
    assert ends.boxes[b"b"].got == [(b"for a loop", serving())]
    ends.send(b"a", b"for a thread")
    assert first.get(timeout=60) == (b"for a thread", serving())
    ends.lead.share(())
    lead_once(ends)
    assert ends.read(b"a", lambda: ends.send(b"a", b"own")) == (b"own", threading.get_ident())


def test_others_wait_for_a_connection_that_no_thread_has_read_for_long(ends: Ends) -> None:
    lead_once(ends)
    ends.lead.share(TWO_LOOPS)
    ends.send(b"b", b"for a loop")
    while not ends.boxes[b"b"].got:
        time.sleep(0.001)
    assert ends.boxes[b"b"].got == [(b"for a loop", serving())]


def test_the_thread_that_leads_can_be_woken_by_any_other_and_waits_no_longer_than_asked(
    ends: Ends,
) -> None:
    lead_once(ends)
    first = in_thread(ends, b"a")
    leader = leads(ends)
    ends.boxes[b"a"].put(b"by another way")
    assert first.get(timeout=60) == (b"by another way", threading.get_ident())
    assert leader != threading.get_ident()
    waiter, _ = ends.lead.waiter()
    begun = time.monotonic()
    ends.lead.wait(waiter, 0.05)
    assert time.monotonic() - begun >= 0.05
    assert ends.lead._leader == 0


def test_the_end_of_the_connection_is_noticed_by_the_thread_that_leads(ends: Ends) -> None:
    lead_once(ends)
    in_thread(ends, b"a")
    leads(ends)
    ends.far.close()
    assert ends.closed.get(timeout=60) is None
    while ends.lead._leader:
        time.sleep(0.001)


def test_with_tls_the_loops_thread_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tls(monkeypatch)
    ends = Ends()
    ends.boxes = {b"a": Box()}
    assert ends.read(b"a", lambda: ends.send(b"a", b"x")) == (b"x", serving())
    ends.listener.close()


def test_a_signal_handler_may_wait_itself_within_the_wait(ends: Ends) -> None:
    lead_once(ends)
    told: list[tuple[bytes, int]] = []

    def handler(number: int, frame: object) -> None:
        told.append(ends.read(b"b", lambda: ends.send(b"b", b"inner")))
        ends.send(b"a", b"outer")

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        me = threading.main_thread().ident
        assert me is not None

        def strike() -> None:
            leads(ends)
            signal.pthread_kill(me, signal.SIGUSR1)

        outer = ends.read(b"a", threading.Thread(target=strike).start)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert told == [(b"inner", serving())]
    assert outer[0] == b"outer"
