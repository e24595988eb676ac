"""What code of users does to files of its process that it had not opened."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from distgraph.wire import Connection, Listener, connect, new_secret
from distgraph.worker.descriptors import Descriptors
from tests.support.cluster import eventually


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    made = os.pipe()
    yield made
    for number in made:
        try:
            os.close(number)
        except OSError:
            continue


def test_a_process_that_nobody_touched_is_not_damaged(pipe: tuple[int, int]) -> None:
    descriptors = Descriptors()
    descriptors.begin()
    assert descriptors.look() == ""


def test_a_closed_file_is_found(pipe: tuple[int, int]) -> None:
    descriptors = Descriptors()
    text = os.readlink(f"/proc/self/fd/{pipe[0]}")
    os.close(pipe[0])
    assert descriptors.look(inf) == f"{pipe[0]} ({text}) was closed"


def test_a_replaced_file_is_found_by_a_close_look(pipe: tuple[int, int]) -> None:
    descriptors = Descriptors()
    text = os.readlink(f"/proc/self/fd/{pipe[0]}")
    with open(os.devnull, "rb") as other:
        os.dup2(other.fileno(), pipe[0])
    assert descriptors.look(inf) == ""
    assert descriptors.look() == f"{pipe[0]} ({text}) was replaced"


def test_threads_look_at_the_same_time(pipe: tuple[int, int]) -> None:
    """That of the timers looks a second behind a Ray task, when the next one may begin."""
    descriptors, failed = Descriptors(), list[BaseException]()

    def look() -> None:
        try:
            for number in range(2000):
                descriptors.begin() if number % 2 else descriptors.look(inf)
        except RuntimeError as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    os.close(pipe[0])
    assert descriptors.look(inf).startswith(f"{pipe[0]} (")


def test_damage_is_told_again(pipe: tuple[int, int]) -> None:
    descriptors = Descriptors()
    os.close(pipe[0])
    found = descriptors.look(inf)
    assert found
    assert descriptors.look() == found


def test_what_was_closed_before_the_code_of_users_began_is_no_damage(
    pipe: tuple[int, int],
) -> None:
    descriptors = Descriptors()
    os.close(pipe[0])
    descriptors.begin()
    assert descriptors.look() == ""


def test_files_that_their_owners_close_at_any_time_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "read").write_text("text")
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        read, device = open(tmp_path / "read"), open(os.devnull, "rb")  # noqa: SIM115
        descriptors = Descriptors()
        for each in (client, accepted, read, device):
            each.close()
        assert descriptors.look() == ""


def test_a_connection_that_is_still_being_made_is_left_out() -> None:
    made = socket.socket()
    descriptors = Descriptors()
    made.close()
    assert descriptors.look(inf) == ""


def test_connections_of_this_machine_that_are_of_distgraph_are_left_out() -> None:
    """They look after themselves."""
    opened: queue.Queue[Connection] = queue.Queue()
    secret = new_secret()
    there = Listener(
        "127.0.0.1",
        secret,
        on_open=opened.put,
        on_frame=lambda connection, frame: None,
        on_closed=lambda connection, error: None,
    )
    here = connect(
        there.address,
        secret,
        "test",
        on_frame=lambda connection, frame: None,
        on_closed=lambda connection, error: None,
    )
    ends = here, opened.get(timeout=60)
    descriptors = Descriptors()
    for end in ends:
        end.close()
    for end in ends:
        end.wait_closed(10)
    assert descriptors.look() == ""
    there.close()
    eventually(lambda: there._sock.fileno() == -1, "the listener is closed")


def test_files_that_code_of_users_opens_are_its_own() -> None:
    descriptors = Descriptors()
    for number in os.pipe():
        os.close(number)
    assert descriptors.look() == ""


def test_standard_files_are_left_out() -> None:
    code = (
        "import os; from distgraph.worker.descriptors import Descriptors; d = Descriptors();"
        "os.close(0); os.close(2); print(repr(d.look()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert done.stdout == b"''\n"
