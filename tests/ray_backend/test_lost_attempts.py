"""Attempts whose worker is killed are followed by others, and the stream says what is void."""

import os
import signal

import pytest

from distgraph.errors import WorkerDied
from distgraph.types import AttemptReset
from tests.support.cluster import wait_for_free_cpus
from tests.support.graphs import Items

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def by_default(on_ray, monkeypatch):
    monkeypatch.delenv("DISTGRAPH_MAX_ATTEMPTS")


def dies_once(folder, emits):
    """A node whose first process is killed behind ``emits`` events that have arrived."""
    first = str(folder / "first")

    def node(state, writer):
        again = os.path.exists(first)
        for i in range(emits):
            writer(f"{'second' if again else 'first'} {i}")
        if not again:
            with open(first, "w"):
                pass
            until_read = first + ".read"
            while emits and not os.path.exists(until_read):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        return {"items": ["done"]}

    return node


def stream(ns, folder, emits, config=None, **options):
    builder = ns.StateGraph(Items).add_node("n", dies_once(folder, emits)).add_edge(ns.START, "n")
    chunks = []
    for chunk in ns.compile(builder).stream({"items": []}, config, **options):
        chunks.append(chunk)
        (folder / "first.read").touch()
    return chunks


def test_a_worker_that_dies_before_any_event_is_replaced(on_ray, tmp_path):
    chunks = stream(on_ray, tmp_path, 0, stream_mode=["custom", "updates"])
    assert chunks == [("updates", {"n": {"items": ["done"]}})]
    wait_for_free_cpus()


def test_events_that_were_delivered_make_it_an_error_by_default(on_ray, tmp_path):
    with pytest.raises(WorkerDied, match="node 'n'"):
        stream(on_ray, tmp_path, 1, stream_mode=["custom", "updates"])
    wait_for_free_cpus()


def test_a_reset_makes_them_void(on_ray, tmp_path):
    config = {"on_lost_attempt": "reset"}
    first, reset, *rest = stream(on_ray, tmp_path, 1, config, stream_mode=["custom", "updates"])
    assert first == ("custom", "first 0")
    mode, told = reset
    assert mode == "reset"
    assert type(told) is AttemptReset
    assert (told.node, told.step, told.attempt, told.events) == ("n", 1, 1, 1)
    assert "died" in told.error
    assert rest == [("custom", "second 0"), ("updates", {"n": {"items": ["done"]}})]


def test_chunks_of_version_2_name_their_attempt(on_ray, tmp_path):
    chunks = stream(
        on_ray,
        tmp_path,
        1,
        {"on_lost_attempt": "reset"},
        stream_mode=["custom", "updates"],
        version="v2",
    )
    shown = [(c["type"], c.get("attempt"), c["data"]) for c in chunks if c["type"] != "reset"]
    assert shown == [
        ("custom", 1, "first 0"),
        ("custom", 2, "second 0"),
        ("updates", None, {"n": {"items": ["done"]}}),
    ]
    assert [c["type"] for c in chunks] == ["custom", "reset", "custom", "updates"]


def test_a_buffered_node_shows_its_last_attempt_only(on_ray, tmp_path):
    (tmp_path / "first.read").touch()
    chunks = stream(
        on_ray, tmp_path, 3, {"on_lost_attempt": "buffer"}, stream_mode=["custom", "updates"]
    )
    assert chunks == [
        *(("custom", f"second {i}") for i in range(3)),
        ("updates", {"n": {"items": ["done"]}}),
    ]
