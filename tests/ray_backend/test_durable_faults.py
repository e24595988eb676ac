"""Saved runs whose driver or worker dies, or whose reader leaves: the thread goes on, once."""

import os
import pathlib
import signal
import time

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from tests.support.cluster import eventually, pid_of_actor, wait_for_free_cpus
from tests.support.graphs import Items

pytestmark = pytest.mark.ray

THREAD = {"configurable": {"thread_id": "1"}}


@pytest.fixture
def saver(tmp_path):
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
        yield saver


def marks(folder, name):
    """How often a node has run."""
    file = folder / name
    return len(file.read_text()) if file.exists() else 0


def errand(ns, folder, is_async=False):
    """``first``, then ``quick`` and ``slow`` beside each other, then ``last``.

    ``slow`` waits for a file ``go`` in its first attempt on a thread.
    """
    folder = str(folder)

    def begin(name, writer):
        with open(f"{folder}/{name}", "a") as file:
            file.write(".")
        with open(f"{folder}/{name}-pid", "w") as file:
            file.write(str(os.getpid()))
        attempt = os.path.getsize(f"{folder}/{name}")
        for i in range(3):
            writer((name, attempt, i))
        return attempt

    def make(name):
        def node(state, writer):
            attempt = begin(name, writer)
            while name == "slow" and attempt == 1 and not pathlib.Path(folder, "go").exists():
                time.sleep(0.01)
            return {"items": [name]}

        return node

    async def slow(state, writer):
        import asyncio

        attempt = begin("slow", writer)
        while attempt == 1 and not pathlib.Path(folder, "go").exists():
            await asyncio.sleep(0.01)
        return {"items": ["slow"]}

    retries = ns.RetryPolicy(initial_interval=0.01, jitter=False)
    builder = ns.StateGraph(Items).add_node("first", make("first")).add_edge(ns.START, "first")
    builder.add_node("quick", make("quick"))
    builder.add_node("slow", slow if is_async else make("slow"), retry_policy=retries)
    builder.add_node("last", make("last")).add_edge(["quick", "slow"], "last")
    return builder.add_edge("first", "quick").add_edge("first", "slow")


def custom(name, attempt):
    return [("custom", (name, attempt, i)) for i in range(3)]


def until_the_slow_one_is_alone(stream, saver, chunks):
    """Read until ``slow`` is all that runs, and what its siblings did is saved."""
    for chunk in stream:
        chunks.append(chunk)
        updated = ("updates", {"quick": {"items": ["quick"]}}) in chunks
        if updated and custom("slow", 1)[-1] in chunks:
            break

    def saved():
        found = saver.get_tuple(THREAD)  # None: the saver is behind the run
        writes = [] if found is None else found.pending_writes
        return ("items", ["quick"]) in [write[1:] for write in writes]

    eventually(saved, "the sibling's write is saved")


RESULT = {"items": ["first", "quick", "slow", "last"]}


def ran(folder):
    return {name: marks(folder, name) for name in RESULT["items"]}


def test_another_driver_goes_on_where_one_has_died(on_ray, saver, tmp_path):
    graph = on_ray.compile(errand(on_ray, tmp_path), checkpointer=saver)
    stream = graph.stream({"items": []}, THREAD, stream_mode=["custom", "updates"])
    chunks = []
    until_the_slow_one_is_alone(stream, saver, chunks)
    pid = pid_of_actor("SuperstepDriver")
    os.kill(pid, signal.SIGKILL)
    assert list(stream) == [  # the node is lost with its driver, and has a policy for that
        *custom("slow", 2),
        ("updates", {"slow": {"items": ["slow"]}}),
        *custom("last", 1),
        ("updates", {"last": {"items": ["last"]}}),
    ]
    first = [*custom("first", 1), ("updates", {"first": {"items": ["first"]}})]
    quick = [*custom("quick", 1), ("updates", {"quick": {"items": ["quick"]}})]
    assert chunks[:4] == first
    assert [c for c in chunks[4:] if c not in custom("slow", 1)] == quick
    assert [c for c in chunks[4:] if c not in quick] == custom("slow", 1)
    assert graph.get_state(THREAD).values == RESULT
    assert ran(tmp_path) == {"first": 1, "quick": 1, "slow": 2, "last": 1}
    assert len(list(graph.get_state_history(THREAD))) == 5


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_worker_that_dies_is_tried_again_and_nothing_is_saved_twice(
    on_ray, saver, tmp_path, is_async
):
    graph = on_ray.compile(errand(on_ray, tmp_path, is_async), checkpointer=saver)
    stream = graph.stream({"items": []}, THREAD, stream_mode=["custom", "updates"])
    chunks = []
    until_the_slow_one_is_alone(stream, saver, chunks)
    os.kill(int((tmp_path / "slow-pid").read_text()), signal.SIGKILL)
    rest = list(stream)
    assert rest == [
        *custom("slow", 2),
        ("updates", {"slow": {"items": ["slow"]}}),
        *custom("last", 1),
        ("updates", {"last": {"items": ["last"]}}),
    ]
    everything = [*chunks, *rest]
    for name, attempt in (("first", 1), ("quick", 1), ("slow", 1), ("slow", 2), ("last", 1)):
        own = [c for c in everything if c[0] == "custom" and c[1][:2] == (name, attempt)]
        assert own == custom(name, attempt)
    assert graph.get_state(THREAD).values == RESULT
    assert ran(tmp_path) == {"first": 1, "quick": 1, "slow": 2, "last": 1}
    assert [state.metadata["step"] for state in graph.get_state_history(THREAD)] == [3, 2, 1, 0, -1]


def test_a_reader_that_leaves_leaves_a_thread_that_goes_on(on_ray, saver, tmp_path):
    graph = on_ray.compile(errand(on_ray, tmp_path), checkpointer=saver)
    stream = graph.stream({"items": []}, THREAD, stream_mode=["custom", "updates"])
    until_the_slow_one_is_alone(stream, saver, [])
    stream.close()
    wait_for_free_cpus()
    assert graph.get_state(THREAD).next == ("slow",)
    assert graph.invoke(None, THREAD) == RESULT
    assert ran(tmp_path) == {"first": 1, "quick": 1, "slow": 2, "last": 1}
