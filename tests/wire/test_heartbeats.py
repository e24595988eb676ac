"""Heartbeats of a worker process, on real sockets, in one process."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import queue
import socket
import threading
from contextlib import suppress

import pytest

from actors.heartbeats import WorkerHeartbeats
from distgraph.contract.heartbeats import HEARTBEAT, decode, encode
from distgraph.errors import UnsupportedClusterError
from distgraph.wire import Connection, Listener, new_secret
from distgraph.worker import heartbeat as heartbeat_module
from distgraph.worker.heartbeat import Heartbeat
from tests.support.cluster import eventually
from tests.support.tls import use_tls

SECRET = new_secret()


class Driver:
    """Records what a driver gets."""

    def __init__(self) -> None:
        self.opened: queue.Queue[Connection] = queue.Queue()
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.closed: queue.Queue[BaseException | None] = queue.Queue()
        self.listener = Listener(
            "127.0.0.1",
            SECRET,
            on_open=self.opened.put,
            on_frame=lambda connection, frame: self.lines.put(frame.parts[0]),
            on_closed=lambda connection, error: self.closed.put(error),
            lines=(HEARTBEAT,),
        )

    def next(self):
        return decode(self.lines.get(timeout=60))

    def until(self, **message):
        while (found := self.next()) is None or not message.items() <= found.items():
            pass
        return found


class Clock:
    def __init__(self, left):
        self.left = left

    def peek(self):
        return self.left


@pytest.fixture
def driver():
    made = Driver()
    yield made
    made.listener.close()


@pytest.fixture
def cancelled():
    return queue.Queue()


@pytest.fixture
def beats(driver, cancelled):
    made = Heartbeat(driver.listener.address, SECRET, "task", cancelled.put, identity="me")
    yield made
    made.end("a")
    if made._connection is not None:
        made._connection.close()


class Port:
    """Serves one role, as the port of a driver does."""

    def serve(self, role, server):
        self.listener = Listener(
            "127.0.0.1",
            SECRET,
            on_open=server.opened,
            on_frame=server.received,
            on_closed=server.ended,
            lines=(role,),
        )


@pytest.fixture
def heartbeats():
    port = Port()
    made = WorkerHeartbeats(port, 60.0, lambda process: None)
    made.port = port
    yield made
    port.listener.close()


@pytest.mark.parametrize("kills", [False, True])
def test_a_process_runs_nothing_else_while_it_may_be_killed(heartbeats, monkeypatch, kills):
    """Ray gives a process to another task as soon as the one before has ended there."""
    monkeypatch.setattr(heartbeat_module, "_KILLED", 0.0)
    monkeypatch.setattr(heartbeat_module, "_LEFT", 600.0)
    beats = Heartbeat(heartbeats.port.listener.address, SECRET, "task", print, identity="me")
    beats.begin("a")
    eventually(lambda: len(heartbeats._known) == 1, "the process is known")
    eventually(lambda: heartbeats._known.of("a"), "the group is known")
    if kills:
        assert heartbeats.doom("a").pid == os.getpid()
    left = threading.Thread(target=beats.leave, args=("a",), daemon=True)
    left.start()
    eventually(lambda: not heartbeats._known.of("a"), "the end is known")
    if kills:
        left.join(0.1)
        assert left.is_alive()
        beats._connection.close()  # as the kill does
    left.join(60)
    assert not left.is_alive()
    assert heartbeats.doom("a") is None
    if not kills:
        beats._connection.close()


def test_a_group_that_ends_soon_waits_for_no_answer(driver, beats):
    beats.begin("a")
    beats.leave("a")
    driver.until(end="a")


def test_a_process_says_what_it_is_and_what_runs(driver, beats):
    beats.begin("a")
    hello = driver.next()
    assert hello == {
        "hello": "me",
        "role": "task",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "place": "",
    }
    assert driver.opened.get(timeout=60).peer.role == HEARTBEAT
    assert driver.next() == {"begin": "a"}
    beats.limit("a", Clock(30.0))
    assert driver.until(limit="a")["left"] == 30.0
    driver.until(beat={"a": 30.0})
    beats.end("a")
    driver.until(end="a")


def test_the_driver_asks_for_the_end_of_a_group(driver, beats, cancelled):
    beats.begin("a")
    driver.opened.get(timeout=60).send_line(encode(cancel="a"))
    assert cancelled.get(timeout=60) == "a"


@pytest.mark.parametrize("may", [True, False])
def test_a_task_asks_whether_it_may_run_its_group(driver, beats, may):
    answers = queue.Queue()
    thread = threading.Thread(target=lambda: answers.put(beats.may_run("a", 2)))
    thread.start()
    driver.until(asks="a", number=2)
    connection = driver.opened.get(timeout=60)
    connection.send_line(encode(may=not may, number=1, name="a"))  # of another task
    connection.send_line(encode(may=may, number=2, name="a"))
    thread.join(60)
    assert answers.get(timeout=60) is may


def test_a_task_whose_connection_is_lost_asks_again(driver, beats):
    answers = queue.Queue()
    thread = threading.Thread(target=lambda: answers.put(beats.may_run("a", 1)))
    thread.start()
    driver.until(asks="a", number=1)
    driver.opened.get(timeout=60).close()
    driver.until(asks="a", number=1)
    driver.opened.get(timeout=60).send_line(encode(may=True, number=1, name="a"))
    thread.join(60)
    assert answers.get(timeout=60) is True


def test_a_driver_that_does_not_answer_a_task_is_an_error(driver, beats, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "_ANSWER", 0.2)
    with pytest.raises(UnsupportedClusterError, match=r"did not answer process \d+ on"):
        beats.may_run("a", 1)


def test_the_secret_is_not_sent(driver, beats, monkeypatch):
    said = []
    for method in ("send", "sendall", "sendmsg"):
        real = getattr(socket.socket, method)

        def record(self, data, *rest, real=real):
            said.append(b"".join(map(bytes, data)) if isinstance(data, list) else bytes(data))
            return real(self, data, *rest)

        monkeypatch.setattr(socket.socket, method, record)
    beats.begin("a")
    driver.until(begin="a")
    sent = b"".join(said)
    assert b'"begin":"a"' in sent
    assert SECRET not in sent
    assert SECRET.hex().encode() not in sent


def test_a_driver_that_cannot_be_reached_is_an_error_with_both_names_and_the_address(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()
    monkeypatch.setattr(heartbeat_module, "PATIENCE", 0.2)
    lone = Heartbeat(address, SECRET, "executor", print)
    with pytest.raises(UnsupportedClusterError, match=f"executor process {os.getpid()} on") as lost:
        lone.begin("a")
    assert f"the superstep driver at 127.0.0.1:{address[1]}" in str(lost.value)
    assert "DISTGRAPH_PORTS" in str(lost.value)


def test_a_process_connects_again_and_says_what_still_runs(driver, beats, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "_AGAIN", 0.0)
    beats.begin("a")
    beats.limit("a", Clock(20.0))
    driver.until(limit="a")
    driver.opened.get(timeout=60).close()
    driver.until(hello="me")
    assert driver.next() == {"begin": "a"}
    assert driver.next() == {"limit": "a", "left": 20.0}


def keep_the_interpreter_lock(seconds):
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_stacks_are_written_while_the_code_keeps_the_interpreter_lock(driver, beats):
    beats.begin("a")
    beats.limit("a", Clock(0.0))
    keep_the_interpreter_lock(2.0)
    while b"Timeout (0:00:01.5" not in (line := driver.lines.get(timeout=60)):
        pass
    assert decode(line) is None
    assert "most recent call first" in driver.lines.get(timeout=60).decode()


@pytest.mark.parametrize("left", [0.0, 0.2])
def test_no_stack_is_written_of_a_process_that_runs(driver, beats, monkeypatch, left):
    """``faulthandler`` may crash a process whose threads run while it reads their frames."""
    armed = []

    def arm(seconds, **options):
        armed.append(seconds - beats._pause())

    monkeypatch.setattr(faulthandler, "dump_traceback_later", arm)
    beats.begin("a")
    beats.begin("b")
    beats.limit("a", Clock(left))
    beats.end("a")
    beats.limit("b", Clock(left))
    heard = [driver.next() for _ in range(12)]
    # each heartbeat puts the stacks off until well behind the next one
    assert len(armed) >= sum("beat" in message for message in heard)
    assert min(armed) >= heartbeat_module._STUCK
    assert {"limit": "b", "left": left} in heard
    assert [m["beat"] for m in heard if "beat" in m][-1] == {"b": left}


def test_a_heartbeat_is_sent_when_a_limit_is_reached(driver, beats, monkeypatch):
    """So that the stacks are written soon of code that keeps the interpreter lock from then on."""
    monkeypatch.setattr(heartbeat_module, "BEAT", 3600.0)
    beats.begin("a")
    driver.until(beat={})
    beats.limit("a", Clock(0.1))
    driver.until(beat={"a": 0.1})


def test_nothing_is_written_to_a_file_that_has_the_descriptor_of_the_connection(
    driver, beats, tmp_path, monkeypatch
):
    monkeypatch.setattr(heartbeat_module, "_AGAIN", 0.0)
    beats.begin("a")
    driver.until(begin="a")
    descriptor = beats._connection.descriptor
    path = tmp_path / "users.txt"
    with path.open("wb") as file:
        os.dup2(file.fileno(), descriptor)  # code of users has closed it, and opened a file
        beats.limit("a", Clock(0.0))
        driver.until(hello="me")
        keep_the_interpreter_lock(2.0)  # stacks would be written after 1.5 s
        os.close(descriptor)
    assert path.read_bytes() == b""


def test_with_tls_heartbeats_are_encrypted_and_no_stack_is_written_without_python(monkeypatch):
    use_tls(monkeypatch)
    driver = Driver()
    beats = Heartbeat(driver.listener.address, SECRET, "task", print, identity="me")
    beats.begin("a")
    driver.until(begin="a")
    assert beats._connection._sock.version() in ("TLSv1.2", "TLSv1.3")
    assert beats._connection.descriptor is None
    beats.end("a")
    driver.until(end="a")
    beats._connection.close()
    driver.listener.close()


def test_a_line_that_does_not_end_ends_the_connection(driver, beats):
    beats.begin("a")
    driver.until(begin="a")
    beats._connection._sock.setblocking(True)
    with suppress(OSError):  # the other side may end the connection before all is sent
        beats._connection._sock.sendall(bytes(2 << 20))
    assert "a line of more than" in str(driver.closed.get(timeout=60))
