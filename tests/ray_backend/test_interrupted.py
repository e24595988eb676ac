"""Exceptions that reach a waiting caller from outside of its own code."""

import os
import signal
import threading
import time

import pytest

from tests.support.cluster import eventually, wait_for_free_cpus
from tests.support.graphs import Items, adds, one

pytestmark = pytest.mark.ray


class SoftTimeLimit(Exception):
    """As a program's signal handler raises it."""


@pytest.fixture
def limit():
    """Sets a soft time limit in seconds, as Celery does."""

    def struck(number, frame):
        raise SoftTimeLimit

    before = signal.signal(signal.SIGALRM, struck)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def waits(path):
    def node(state, writer):
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        writer("started")
        while True:
            time.sleep(0.02)

    return node


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_signal_handler_of_the_caller_raises_cancels_the_run(on_ray, limit, tmp_path):
    graph = on_ray.compile(one(on_ray, waits(str(tmp_path / "pid"))))
    stream = graph.stream({"items": []}, stream_mode="custom")
    assert next(stream) == "started"
    limit(0.3)
    with pytest.raises(SoftTimeLimit):
        next(stream)
    wait_for_free_cpus()
    again = on_ray.compile(one(on_ray, adds("n")))
    assert again.invoke({"items": []}) == {"items": ["n"]}


def test_a_reader_that_was_interrupted_takes_no_event_of_the_next_run(on_ray, monkeypatch):
    """As when Ctrl-C falls between the start of a run and the waiting for its events."""
    from distgraph.streaming.receiver import Inbox

    def interrupted(self, timeout=None, lead=None):
        raise KeyboardInterrupt

    def node(state, writer):
        for i in range(20):
            writer(i)

    graph = on_ray.compile(one(on_ray, node))
    assert list(graph.stream({"items": []}, stream_mode="custom")) == [*range(20)]
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Inbox, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(graph.stream({"items": []}, stream_mode="custom"))
        assert list(graph.stream({"items": []}, stream_mode="custom")) == [*range(20)]


@pytest.mark.parametrize("readers", [1, 2])
def test_who_reads_when_the_session_ends_is_told_so(on_ray, tmp_path, readers):
    import actors
    from distgraph.errors import RunCancelled

    raised = []

    def read(stream):
        try:
            next(stream)
        except Exception as error:
            raised.append((type(error), str(error)))

    streams = []
    for n in range(readers):
        builder = on_ray.StateGraph(Items).add_edge(on_ray.START, "n")
        builder.add_node("n", waits(str(tmp_path / str(n))), ray_options={"num_cpus": 0.5})
        graph = on_ray.compile(builder)
        streams.append(graph.stream({"items": []}, stream_mode="custom"))
        assert next(streams[-1]) == "started"
    threads = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    actors.end_session()
    for thread in threads:
        thread.join(60)
    assert raised == [(RunCancelled, "the session was ended by end_session()")] * readers
    eventually(
        lambda: not any(exists(int((tmp_path / str(n)).read_text())) for n in range(readers)),
        "the nodes have ended",
    )
