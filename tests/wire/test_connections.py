"""Listeners and connections on real sockets."""

from __future__ import annotations

import gc
import os
import queue
import resource
import socket
import struct
import sys
import threading
import time
import weakref
from contextlib import suppress
from functools import partial

import pytest

from distgraph.errors import UnsupportedClusterError
from distgraph.wire import (
    Connection,
    ConnectionClosed,
    Listener,
    check_room,
    connect,
    new_secret,
    sockets,
)
from distgraph.wire import connection as connection_module
from distgraph.wire import listener as listener_module
from distgraph.wire import loop as loop_module
from distgraph.wire.frames import FIRST_FREE, encode
from distgraph.wire.link import Link, answer
from distgraph.wire.loop import READ, WRITE, Loop
from tests.support.cluster import eventually
from tests.support.tls import use_tls

SECRET = new_secret()
KIND = 20


class Side:
    """Records what one side gets. ``echo`` sends frames back."""

    def __init__(self, echo: bool = False) -> None:
        self.echo = echo
        self.opened: queue.Queue[Connection] = queue.Queue()
        self.frames: queue.Queue[list[bytes]] = queue.Queue()
        self.closed: queue.Queue[BaseException | None] = queue.Queue()

    def on_frame(self, connection, frame):
        if self.echo:
            connection.send(frame.kind, *frame.parts)
        else:
            self.frames.put([bytes(part) for part in frame.parts])

    def calls(self):
        return {
            "on_frame": self.on_frame,
            "on_closed": lambda connection, error: self.closed.put(error),
        }


@pytest.fixture(params=["Unix", "TCP"])
def served(request):
    """A listener that echoes, and its side."""
    side = Side(echo=True)
    listener = Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())
    if request.param == "TCP":
        listener.address = listener.address._replace(local="")
    yield listener, side
    listener.close()


def dial(listener, side, secret=SECRET, **options):
    return connect(listener.address, secret, "test", name="me", **side.calls(), **options)


def works(listener) -> bool:
    side = Side()
    connection = dial(listener, side)
    connection.send(KIND, b"hello")
    answered = side.frames.get(timeout=60) == [b"hello"]
    connection.close()
    return answered


# --- frames ---------------------------------------------------------------------------------------


def test_answers_to_frames_that_came_together_leave_together(served, monkeypatch):
    listener, there = served
    side = Side()
    connection = dial(listener, side)
    ends = connection, there.opened.get(timeout=60)
    connection.send(KIND, b"first")
    assert side.frames.get(timeout=60) == [b"first"]
    pushed: list[int] = []
    push = Connection._push

    def count(self):
        if self in ends:  # connections of other tests may still end
            pushed.append(len(self._unsent))
        push(self)

    monkeypatch.setattr(Connection, "_push", count)
    with connection._lock:  # nothing is sent meanwhile
        sending = threading.Thread(target=connection._flush)
        connection._outbox.extend(
            (*encode(KIND, (b"%d" % n,))[:1], (b"%d" % n,), 0) for n in range(20)
        )
        sending.start()
    assert [side.frames.get(timeout=60) for _ in range(20)] == [[b"%d" % n] for n in range(20)]
    assert pushed == [40, 40], "20 frames, and 20 answers: of each a header and a part"


def test_frames_of_calls_in_a_row_leave_together(served, monkeypatch):
    listener, _ = served
    side = Side()
    connection = dial(listener, side)
    connection.send(KIND, b"first")
    assert side.frames.get(timeout=60) == [b"first"]
    begun, go_on, pushed = threading.Event(), threading.Event(), []
    push = Connection._push

    def count(self):
        if self is connection:
            pushed.append([bytes(view) for view in self._unsent][1::2])
        push(self)

    def hold():
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(Connection, "_push", count)
    monkeypatch.setattr(loop_module, "_BATCH", 10)
    loop = connection._loop
    loop.work(hold)
    assert begun.wait(60)
    for part in (b"a", b"b", b"large" * 20_000, b"c"):
        loop.work(partial(connection.send, KIND, part, wait=False))
    go_on.set()
    assert [side.frames.get(timeout=60)[0][:5] for _ in range(4)] == [b"a", b"b", b"large", b"c"]
    assert pushed == [[b"a", b"b", b"large" * 20_000], [b"c"]], "a large one does not wait"


def test_frames_of_any_size_arrive_in_order(served):
    listener, there = served
    side = Side()
    connection = dial(listener, side)
    sent = [[bytes([n]) * size, b"", b"x"] for n, size in enumerate((0, 1, 70_000, 3 << 20, 5))]
    for parts in sent:
        connection.send(KIND, *parts)
    assert [side.frames.get(timeout=60) for _ in sent] == sent
    assert there.opened.get(timeout=60).peer == ("test", "me")
    connection.close()


def test_frames_of_many_threads_are_not_mixed(served):
    listener, _ = served
    side = Side()
    connection = dial(listener, side)

    def send(number):
        for i in range(200):
            connection.send(KIND, b"%d %d" % (number, i), bytes([number]) * 5000)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    got = [side.frames.get(timeout=60) for _ in range(800)]
    for number in range(4):
        own = [head for head, body in got if body == bytes([number]) * 5000]
        assert own == [b"%d %d" % (number, i) for i in range(200)]
    connection.close()


def test_what_was_sent_before_the_end_arrives():
    there, side = Side(), Side()
    listener = Listener("127.0.0.1", SECRET, on_open=there.opened.put, **there.calls())
    connection = dial(listener, side)
    for _ in range(20):
        connection.send(KIND, b"z" * 500_000)
    connection.close()
    assert [len(there.frames.get(timeout=60)[0]) for _ in range(20)] == [500_000] * 20
    assert there.closed.get(timeout=60) is None
    assert side.closed.get(timeout=60) is None
    with pytest.raises(ConnectionClosed, match="has ended"):
        connection.send(KIND, b"late")
    listener.close()


def test_a_sender_waits_until_the_other_side_has_consumed(monkeypatch):
    monkeypatch.setattr(connection_module, "WINDOW", 1 << 20)
    kept, side = [], Side()
    there = Side()
    listener = Listener(
        "127.0.0.1",
        SECRET,
        on_open=there.opened.put,
        on_frame=lambda connection, frame: kept.append(frame),
        on_closed=lambda connection, error: None,
        auto_credit=False,
    )
    connection = dial(listener, side)
    sent = []

    def send():
        for number in range(64):
            connection.send(KIND, bytes(100_000))
            sent.append(number)

    thread = threading.Thread(target=send)
    thread.start()
    eventually(lambda: len(kept) == 11, "a window is full")
    assert not connection.has_room
    assert len(sent) == 11
    receiver = there.opened.get(timeout=60)
    for _ in range(64):
        eventually(lambda: kept, "frames arrive")
        receiver.consumed(kept.pop(0))
    thread.join(60)
    assert len(sent) == 64
    connection.close()
    listener.close()


def test_a_signal_handler_that_raises_cuts_no_frame_off(served):
    """The exception may strike anywhere: between two bytecodes of ``send`` as well."""
    import signal

    listener, _ = served
    side = Side()
    connection = dial(listener, side)

    class Struck(Exception):
        pass

    def strike(number, frame):
        raise Struck

    # SIGALRM belongs to the limit of the test itself
    previous = signal.signal(signal.SIGPROF, strike)
    sent = strikes = 0
    try:
        while strikes <= 30:
            try:
                signal.setitimer(signal.ITIMER_PROF, 0.0003)
                # an exception within a finalizer is swallowed: then the next signal strikes
                again = time.monotonic() + 0.5
                while time.monotonic() < again:
                    connection.send(KIND, b"%d" % sent, b"body")
                    sent += 1
            except Struck:
                strikes += 1
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    connection.send(KIND, b"end", b"body")
    numbers = []
    while (parts := side.frames.get(timeout=60))[0] != b"end":
        assert parts[1] == b"body"
        numbers.append(int(parts[0]))
    assert sorted(set(numbers)) == list(range(max(numbers) + 1))  # a struck send may have sent
    assert numbers == sorted(numbers)
    connection.close()


# --- the way --------------------------------------------------------------------------------------


def family(local=None, lines=False):
    """Return the family of a connection to a listener that is said to have another Unix socket."""
    roles = ("test",) if lines else ()
    side = Side()
    listener = Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls(), lines=roles)
    if local is not None:
        listener.address = listener.address._replace(local=local)
    connection = dial(listener, Side(), lines=lines)
    found = connection._sock.family
    connection.close()
    listener.close()
    return found


def test_processes_of_one_machine_are_connected_by_a_unix_socket():
    assert family() == socket.AF_UNIX


def test_a_process_that_does_not_find_the_unix_socket_connects_by_tcp():
    """It runs on another machine, or in another container."""
    assert family(local="distgraph-of-another-machine") == socket.AF_INET


def test_lines_go_through_tcp():
    """A stack written in C consists of many small writes, which would fill a Unix socket."""
    assert family(lines=True) == socket.AF_INET


def test_what_is_not_acknowledged_is_sent_again_in_time(served):
    """A network that was gone for ten seconds is found again after one more, and not after ten."""
    listener, there = served
    listener.address = listener.address._replace(local="")
    connection = dial(listener, Side())
    for end in (connection, there.opened.get(timeout=60)):
        if newest_linux():
            assert end._sock.getsockopt(socket.IPPROTO_TCP, sockets._RTO_MAX_MS) == 1000
        elif sys.platform == "linux":
            assert end._sock.getsockopt(socket.IPPROTO_TCP, sockets._THIN_LINEAR) == 1
    connection.close()


def newest_linux() -> bool:
    with socket.socket() as sock:
        try:
            sock.getsockopt(socket.IPPROTO_TCP, sockets._RTO_MAX_MS)
        except OSError:
            return False
    return True


def test_with_tls_there_is_no_unix_socket(monkeypatch):
    """The certificates show who may connect, on the same machine too."""
    use_tls(monkeypatch)
    side = Side()
    listener = Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())
    assert listener.address.local == ""
    listener.close()


# --- who may connect ------------------------------------------------------------------------------


def test_a_listener_that_does_not_know_the_secret_is_not_trusted():
    other = Side()
    listener = Listener("127.0.0.1", new_secret(), on_open=other.opened.put, **other.calls())
    with pytest.raises(UnsupportedClusterError, match="not it"):
        dial(listener, Side())
    listener.close()


def test_an_address_without_listener_is_an_error_with_a_remedy():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()
    with pytest.raises(UnsupportedClusterError, match=f"127.0.0.1:{address[1]}.*DISTGRAPH_PORTS"):
        connect(address, SECRET, "test", patience=0.2, **Side().calls())


CONNECTIONS = 1000
"""As those of a driver with so many workers."""


@pytest.fixture
def files():
    """Room for both ends of ``CONNECTIONS``: some systems let a process open 256 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"a process may open {hard} files here, and this test needs {needed}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_connections_need_no_more_threads_than_one(served, files):
    listener, there = served
    side = Side()
    first = dial(listener, side)
    first.send(KIND, b"0")
    assert side.frames.get(timeout=60) == [b"0"]
    threads = set(threading.enumerate())
    connections = [first, *(dial(listener, side) for _ in range(CONNECTIONS - 1))]
    for number, connection in enumerate(connections):
        connection.send(KIND, b"%d" % number)
    echoed = [side.frames.get(timeout=60) for _ in connections]
    assert sorted(int(number) for (number,) in echoed) == list(range(CONNECTIONS))
    assert set(threading.enumerate()) <= threads  # one of another test may end
    for connection in connections:
        connection.close()
    assert [side.closed.get(timeout=60) for _ in connections] == [None] * CONNECTIONS
    assert [there.closed.get(timeout=60) for _ in connections] == [None] * CONNECTIONS
    assert set(threading.enumerate()) <= threads  # one of another test may end


def test_a_frame_that_is_none_ends_a_greeted_connection(served):
    listener, there = served
    side = Side()
    connection = dial(listener, side)
    connection._sock.send(struct.pack("!QBI", 2**64 - 1, KIND, 1))
    assert "allowed" in str(there.closed.get(timeout=60))
    side.closed.get(timeout=60)
    assert works(listener)


# --- ports and TLS --------------------------------------------------------------------------------


def test_a_listener_takes_a_port_of_the_range(monkeypatch):
    side = Side()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        monkeypatch.setenv("DISTGRAPH_PORTS", f"{first}-{min(first + 50, 65535)}")
        listener = Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())
        assert first < listener.address.port <= first + 50
        listener.close()
        monkeypatch.setenv("DISTGRAPH_PORTS", str(first))
        with pytest.raises(UnsupportedClusterError, match=f"DISTGRAPH_PORTS={first}-{first} is"):
            Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())


def test_a_range_without_room_for_a_session_is_refused(monkeypatch):
    check_room("127.0.0.1", 100)  # any free port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        monkeypatch.setenv("DISTGRAPH_PORTS", f"{first}-{first}")
        with pytest.raises(UnsupportedClusterError) as caught:
            check_room("127.0.0.1", 2)
        assert str(caught.value).startswith(
            f"the session needs 2 ports on 127.0.0.1, and DISTGRAPH_PORTS={first}-{first} has 0 "
            "free ones: name a larger range, or end other programs"
        )
    monkeypatch.setenv("DISTGRAPH_PORTS", f"{first}-{min(first + 200, 65535)}")
    for _ in range(2):  # it leaves the ports as they are
        check_room("127.0.0.1", 2)


@pytest.mark.parametrize("told", ["x", "1-", "5-4", "0-9", "1-70000"])
def test_a_range_that_is_none_is_refused(monkeypatch, told):
    monkeypatch.setenv("DISTGRAPH_PORTS", told)
    side = Side()
    with pytest.raises(UnsupportedClusterError, match="DISTGRAPH_PORTS must be a range"):
        Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())


def test_with_tls_frames_arrive_and_plain_connections_do_not(monkeypatch):
    use_tls(monkeypatch)
    monkeypatch.setattr(listener_module, "SILENCE", 0.5)
    there, side = Side(echo=True), Side()
    listener = Listener("127.0.0.1", SECRET, on_open=there.opened.put, **there.calls())
    connection = dial(listener, side)
    sent = [[b"a" * size, b"b"] for size in (1, 70_000, 3 << 20, 1)]
    for parts in sent:
        connection.send(KIND, *parts)
    assert [side.frames.get(timeout=60) for _ in sent] == sent
    assert connection._sock.version() in ("TLSv1.2", "TLSv1.3")
    connection.close()
    monkeypatch.setenv("RAY_USE_TLS", "0")
    with pytest.raises(UnsupportedClusterError):
        dial(listener, side, patience=0.2)
    use_tls(monkeypatch, "stranger", "ca")
    with pytest.raises(UnsupportedClusterError):
        dial(listener, side, patience=0.2)
    listener.close()


def test_tls_without_its_files_is_refused_with_their_names(monkeypatch):
    use_tls(monkeypatch)
    side = Side()
    monkeypatch.delenv("RAY_TLS_CA_CERT")
    with pytest.raises(UnsupportedClusterError, match="RAY_TLS_CA_CERT is not set"):
        Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())
    monkeypatch.setenv("RAY_TLS_CA_CERT", "/nowhere.crt")
    with pytest.raises(UnsupportedClusterError, match=r"RAY_TLS_CA_CERT=/nowhere.crt"):
        Listener("127.0.0.1", SECRET, on_open=side.opened.put, **side.calls())


def test_a_selector_whose_file_was_closed_is_replaced(caplog):
    loop, got = Loop(), queue.SimpleQueue()
    (left, right), (_kept, closed) = socket.socketpair(), socket.socketpair()
    loop.soon(lambda: loop.watch(right, READ, lambda mask: got.put(right.recv(10))))
    loop.soon(lambda: loop.watch(closed, READ, lambda mask: got.put("closed")))
    loop.soon(lambda: got.put("watched"))
    assert got.get(timeout=60) == "watched"
    os.close(loop._selector.fileno())
    os.close(closed.detach())
    loop.soon(lambda: got.put("before"))
    left.send(b"after")
    assert {got.get(timeout=60) for _ in range(3)} == {"before", b"after", "closed"}
    (message,) = caplog.messages
    assert message.startswith("sockets are watched anew, as code of the user closed a file: ")


@pytest.mark.parametrize("harm", ["closed", "replaced"])
@pytest.mark.parametrize("known", [False, True])
def test_a_socket_is_watched_though_the_selector_is_lost_in_that_moment(harm, known, caplog):
    loop, got = Loop(), queue.SimpleQueue()
    left, right = socket.socketpair()
    right.setblocking(False)

    def ready(mask):
        with suppress(BlockingIOError):
            got.put(right.recv(10))

    def watches():
        if known:
            loop.watch(right, WRITE, ready)
        lost = loop._selector.fileno()
        if harm == "closed":
            os.close(lost)
        else:
            with open(os.devnull, "rb+") as other:
                os.dup2(other.fileno(), lost)
        loop.watch(right, READ, ready)  # the thread has not waited since

    loop.soon(watches)
    left.send(b"read")
    assert got.get(timeout=60) == b"read"
    loop.soon(lambda: got.put("woken"))
    assert got.get(timeout=60) == "woken"
    assert caplog.messages[0].startswith("sockets are watched anew")
    assert len(caplog.messages) == 1


def test_a_socket_with_the_number_of_one_that_was_closed_under_the_loop_is_watched():
    loop, got = Loop(), queue.SimpleQueue()
    (_kept, lost), (left, right) = socket.socketpair(), socket.socketpair()
    loop.soon(lambda: loop.watch(lost, READ, lambda mask: got.put("of the lost one")))
    loop.soon(lambda: got.put("watched"))
    assert got.get(timeout=60) == "watched"
    number = lost.fileno()
    os.close(number)
    right = socket.socket(fileno=os.dup2(right.detach(), number))
    loop.soon(lambda: loop.watch(right, READ, lambda mask: got.put(right.recv(10))))
    left.send(b"read")
    assert got.get(timeout=60) == b"read"
    lost.detach()


@pytest.mark.parametrize("which", ["_wakes", "_woken", "both", "all", "replaced"])
def test_a_loop_whose_sockets_were_closed_is_woken_all_the_same(which, caplog):
    loop, got = Loop(), queue.SimpleQueue()
    names = ["_wakes", "_woken"] if which in ("both", "all") else [which]
    loop.soon(lambda: got.put("begun"))
    assert got.get(timeout=60) == "begun"
    with open(os.devnull, "rb+") as other:
        if which == "replaced":
            os.dup2(other.fileno(), loop._wakes.fileno())
        else:
            files = [getattr(loop, name).fileno() for name in names]
            if which == "all":
                files.append(loop._selector.fileno())
            for file in files:
                with suppress(OSError):  # the loop has noticed the first one, and closed them all
                    os.close(file)
    for number in range(3):
        loop.soon(partial(got.put, number))
    assert [got.get(timeout=60) for _ in range(3)] == [0, 1, 2]
    (left, right), watched = socket.socketpair(), queue.SimpleQueue()
    loop.soon(lambda: loop.watch(right, READ, lambda mask: watched.put(right.recv(10))))
    left.send(b"read")
    assert watched.get(timeout=60) == b"read"
    told = "the thread of the wire is woken anew"
    assert any(message.startswith(told) for message in caplog.messages)


def test_a_request_whose_connection_was_closed_under_it_is_sent_again():
    asked: queue.SimpleQueue[Connection] = queue.SimpleQueue()

    def on_frame(connection, frame):
        asked.put(connection)
        if asked_before:  # the first one is never answered
            answer(connection, frame, b"answer")
        asked_before.append(connection)

    asked_before: list[Connection] = []
    listener = Listener(
        "127.0.0.1",
        SECRET,
        on_open=lambda connection: None,
        on_frame=on_frame,
        on_closed=lambda connection, error: None,
    )
    link = Link(lambda: (listener.address, SECRET), "worker", "the listener")
    request = link.request(FIRST_FREE + 1, b"question")
    asked.get(timeout=60)
    os.close(link._connection._sock.fileno())
    assert request.result(timeout=60) == b"answer"
    link.close()
    listener.close()


def test_a_link_that_is_closed_with_a_request_that_has_no_answer_is_held_by_nothing():
    asked: queue.SimpleQueue[Connection] = queue.SimpleQueue()
    listener = Listener(
        "127.0.0.1",
        SECRET,
        on_open=lambda connection: None,
        on_frame=lambda connection, frame: asked.put(connection),
        on_closed=lambda connection, error: None,
    )
    link = Link(lambda: (listener.address, SECRET), "worker", "the listener")
    link.request(FIRST_FREE + 1, b"question")
    asked.get(timeout=60)
    closed = weakref.ref(link)
    link.close()
    del link

    def is_gone() -> bool:
        gc.collect()
        return closed() is None

    eventually(is_gone, "nothing holds the link")
    listener.close()
