"""A thread that receives by itself, and the loop's thread in its place while it does not."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator

import pytest

from distgraph.wire import Connection, Frame, Listener, connect, new_secret
from distgraph.wire.loop import loop
from tests.support.tls import use_tls

SECRET = new_secret()
KIND = 20


class Ends:
    """Both ends of a connection. The near one notes what it takes, and on which thread."""

    def __init__(self) -> None:
        accepted: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self.listener = Listener(
            "127.0.0.1",
            SECRET,
            on_open=accepted.put,
            on_frame=lambda connection, frame: None,
            on_closed=lambda connection, error: None,
        )
        self.got: queue.Queue[tuple[bytes, int]] = queue.Queue()
        self.closed: queue.Queue[BaseException | None] = queue.Queue()
        self.near = connect(
            self.listener.address,
            SECRET,
            "test",
            on_frame=self._take,
            on_closed=lambda connection, error: self.closed.put(error),
        )
        self.far = accepted.get(timeout=60)

    def _take(self, connection: Connection, frame: Frame) -> None:
        self.got.put((bytes(frame.parts[0]), threading.get_ident()))

    def receive(self, *parts: bytes) -> tuple[bytes, int]:
        """Receive on this thread until there is a frame. ``parts`` are sent once it does."""
        assert self.near.take_turn()
        try:
            for part in parts:
                self.far.send(KIND, part)
            while self.got.empty():
                self.near.receive()
            return self.got.get_nowait()
        finally:
            self.near.leave_turn()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.near.close()
    made.listener.close()


def serving() -> int:
    """Return the thread of the loop."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    loop().soon(lambda: told.put(threading.get_ident()))
    return told.get(timeout=60)


def test_frames_of_any_size_are_taken_on_the_thread_that_receives(ends: Ends) -> None:
    me = threading.get_ident()
    ends.far.send(KIND, b"before")
    assert ends.got.get(timeout=60) == (b"before", serving())
    for part in (b"x", b"y" * 70_000, b"z" * (3 << 20), b"end"):
        assert ends.receive(part) == (part, me)
    for number in range(100):
        ends.far.send(KIND, b"%d" % number)  # whichever thread takes it
        assert ends.receive()[0] == b"%d" % number
        assert ends.receive(b"own") == (b"own", me)


def test_the_loops_thread_takes_frames_while_the_other_does_something_else(ends: Ends) -> None:
    for _ in range(3):
        assert ends.receive(b"own") == (b"own", threading.get_ident())
        ends.far.send(KIND, b"meanwhile")
        assert ends.got.get(timeout=60) == (b"meanwhile", serving())


def test_what_the_loops_thread_has_taken_is_there_when_the_turn_begins(ends: Ends) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection, frame: Frame) -> None:
        begun.set()
        assert go_on.wait(60)
        ends.got.put((bytes(frame.parts[0]), threading.get_ident()))

    ends.near._on_frame = slow
    ends.far.send(KIND, b"under way")
    assert begun.wait(60)
    taken: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def turn() -> None:
        assert ends.near.take_turn()
        taken.put(ends.got.empty())

    thread = threading.Thread(target=turn)
    thread.start()
    go_on.set()
    thread.join(60)
    assert taken.get_nowait() is False


def test_the_end_of_the_connection_ends_the_wait(ends: Ends) -> None:
    assert ends.near.take_turn()
    ends.far.close()
    while ends.closed.empty():
        ends.near.receive()
    assert ends.closed.get_nowait() is None
    assert not ends.near.take_turn()


def test_the_end_is_noticed_while_the_other_thread_does_something_else(ends: Ends) -> None:
    ends.receive(b"own")
    ends.far.close()
    assert ends.closed.get(timeout=60) is None


def test_a_descriptor_that_became_another_file_is_not_read(ends: Ends) -> None:
    left, right = os.pipe()
    os.write(right, b"of the user")
    assert ends.near.take_turn()
    os.dup2(left, ends.near._sock.fileno())
    while ends.closed.empty():
        ends.near.receive()
    error = ends.closed.get_nowait()
    assert isinstance(error, OSError)
    assert str(error) == "[Errno 9] code of the user has closed the file descriptor"
    assert os.read(left, 100) == b"of the user"
    assert ends.got.empty()


def test_with_tls_the_loops_thread_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tls(monkeypatch)
    ends = Ends()
    assert not ends.near.take_turn()
    ends.far.send(KIND, b"all the same")
    assert ends.got.get(timeout=60) == (b"all the same", serving())
    ends.listener.close()
