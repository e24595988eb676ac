"""Several readers of one process: whoever is left asks the broker itself."""

import pathlib
import threading
import time

import pytest

from actors.mailbox import Mailbox
from actors.session import Session
from tests.support.graphs import one

pytestmark = [pytest.mark.ray, pytest.mark.timeout(60)]


def waits_for(ns, go):
    path = str(go)

    def node(state, writer):
        writer("started")
        while not pathlib.Path(path).exists():
            time.sleep(0.01)
        writer("gone on")
        return {"items": ["n"]}

    return ns.compile(one(ns, node))


def test_the_last_reader_goes_on_when_the_others_leave_between_two_questions(
    on_ray, tmp_path, monkeypatch
):
    """The thread that asks for several runs stops when one is left, whose reader waits by then."""
    armed, between, left = threading.Event(), threading.Event(), threading.Event()
    waiting = threading.Semaphore(0)
    follow, wait = Session._follow, Mailbox.wait

    def follow_and_pause(session):
        pause = armed.is_set() and threading.current_thread().name == "distgraph-stream"
        while pause and waiting.acquire(blocking=False):
            pass
        follow(session)
        if pause:
            armed.clear()
            between.set()
            left.wait(20)

    def note_and_wait(box):
        if threading.current_thread() is reader:
            waiting.release()
        wait(box)

    stays = waits_for(on_ray, tmp_path / "stays").stream({"items": []}, stream_mode="custom")
    leaves = waits_for(on_ray, tmp_path / "leaves").stream({"items": []}, stream_mode="custom")
    assert [next(stays), next(leaves)] == ["started", "started"]
    monkeypatch.setattr(Session, "_follow", follow_and_pause)
    monkeypatch.setattr(Mailbox, "wait", note_and_wait)
    rest = []
    reader = threading.Thread(target=lambda: rest.extend(stays), daemon=True)
    reader.start()
    assert waiting.acquire(timeout=10)
    armed.set()
    (tmp_path / "leaves").touch()
    assert next(leaves) == "gone on"
    assert between.wait(10)
    # the reader that stays was woken, and has gone back to wait: there still are two
    assert waiting.acquire(timeout=10)
    leaves.close()
    left.set()
    (tmp_path / "stays").touch()
    reader.join(10)
    assert rest == ["gone on"]
