"""Code that holds the interpreter lock, or blocks in C, is ended within a bound."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from actors.worker import process
from distgraph.errors import NodeTimeoutError, WorkerDied
from distgraph.runtime import Runtime
from distgraph.types import RetryPolicy
from distgraph.wire.loop import loop
from tests.support.cluster import all_cpus, eventually, free_cpus, wait_for_free_cpus
from tests.support.graphs import Items, adds

pytestmark = [pytest.mark.ray, pytest.mark.faults]

BOUND = 8.0
"""Seconds for a cancelled node to free its CPU, the delay of Ray's own report included."""


def hold_the_lock():
    re.match(r"(a+)+$", "a" * 64 + "b")  # backtracks for years, in C


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def one(ns, node, **options):
    return ns.compile(ns.StateGraph(Items).add_node("n", node, **options).add_edge(ns.START, "n"))


def test_leaving_a_node_that_holds_the_interpreter_lock_frees_its_cpu(on_ray):
    def node(state, writer):
        writer(os.getpid())
        time.sleep(0.1)
        hold_the_lock()

    stream = one(on_ray, node).stream({"items": []}, stream_mode="custom")
    pid = next(stream)
    eventually(lambda: free_cpus() < all_cpus(), "the node holds a CPU")
    time.sleep(0.3)  # until the node holds the lock: nothing tells of that
    begin = time.perf_counter()
    stream.close()
    eventually(lambda: not alive(pid), "the process has ended", BOUND)
    wait_for_free_cpus(BOUND)
    print(f"free after {time.perf_counter() - begin:.2f} s")


def test_a_cancelled_node_cleans_up_before_it_ends(on_ray, tmp_path):
    cleaned = str(tmp_path / "cleaned")

    def node(state, writer):
        writer("started")
        try:
            time.sleep(60)
        finally:
            time.sleep(0.3)
            with open(cleaned, "w") as file:
                file.write("all of it")

    stream = one(on_ray, node).stream({"items": []}, stream_mode="custom")
    assert next(stream) == "started"
    stream.close()
    eventually(lambda: os.path.exists(cleaned), "the node cleaned up")
    wait_for_free_cpus()
    with open(cleaned) as file:
        assert file.read() == "all of it"


def test_a_cancelled_node_does_not_take_the_next_one_with_it(on_ray, tmp_path):
    def node(state, writer):
        writer("started")
        time.sleep(60)

    graph = one(on_ray, node)
    after = one(on_ray, adds("fine"))
    for _ in range(5):
        stream = graph.stream({"items": []}, stream_mode="custom")
        assert next(stream) == "started"
        stream.close()
        assert after.invoke({"items": []}) == {"items": ["fine"]}


@pytest.mark.parametrize("stuck", [False, True], ids=["asked", "forced"])
def test_child_processes_of_a_cancelled_node_are_ended(on_ray, stuck):
    def node(state, writer):
        grand = "import subprocess, sys; subprocess.run(['sleep', '300'])"
        child = subprocess.Popen([sys.executable, "-c", grand])

        def grandchild():
            with open(f"/proc/{child.pid}/task/{child.pid}/children") as file:
                return file.read().split()

        while not grandchild():
            time.sleep(0.01)
        writer([child.pid, int(grandchild()[0])])
        if stuck:
            hold_the_lock()
        time.sleep(60)

    stream = one(on_ray, node).stream({"items": []}, stream_mode="custom")
    pids = next(stream)
    assert all(map(alive, pids))
    stream.close()
    eventually(lambda: not any(map(alive, pids)), "the child processes have ended", BOUND)
    wait_for_free_cpus()


@pytest.mark.parametrize("how", ["left", "limited"])
def test_a_process_whose_parent_ends_with_the_node_is_ended_too(on_ray, tmp_path, how):
    told = tmp_path / "child"

    def node(state, writer):
        script = f"sleep 300 & echo $! > {told}.part; mv {told}.part {told}; wait"
        writer("started")
        subprocess.run(["sh", "-c", script], start_new_session=True)  # ends sh, and sh alone

    graph = one(on_ray, node, **({"timeout": 2} if how == "limited" else {}))
    stream = graph.stream({"items": []}, stream_mode="custom")
    assert next(stream) == "started"
    eventually(told.exists, "the child process has started")
    child = int(told.read_text())
    assert alive(child)
    if how == "left":
        stream.close()
    else:
        with pytest.raises(NodeTimeoutError):
            list(stream)
    eventually(lambda: not alive(child), "the child process has ended", BOUND)
    wait_for_free_cpus()


class HoldsTheLock:
    def __call__(self, state):
        with open(state["items"][0], "w"):
            hold_the_lock()


@pytest.mark.parametrize("kind", ["task", "pool"])
def test_a_limit_of_time_holds_for_code_that_holds_the_interpreter_lock(on_ray, kind, tmp_path):
    def node(state):
        HoldsTheLock()(state)

    began = tmp_path / "began"
    graph = one(on_ray, node if kind == "task" else HoldsTheLock, timeout=1)
    with pytest.raises(NodeTimeoutError, match="Node 'n' exceeded its run timeout of 1") as caught:
        graph.invoke({"items": [str(began)]})
    seconds = time.time() - began.stat().st_mtime
    print(f"ended after {seconds:.2f} s")
    assert 1 < seconds < BOUND
    assert "hold_the_lock" in "".join(caught.value.__notes__)
    wait_for_free_cpus()


def test_a_policy_tries_again_after_a_limit_that_was_kept_from_outside(on_ray, tmp_path):
    def node(state, runtime: Runtime):
        if runtime.execution_info.node_attempt == 1:
            hold_the_lock()
        return {"items": ["second"]}

    policy = RetryPolicy(initial_interval=0.01, jitter=False)
    graph = one(on_ray, node, timeout=1, retry_policy=policy)
    assert graph.invoke({"items": []}) == {"items": ["second"]}


def test_a_stopped_worker_is_ended_at_its_limit_of_time(on_ray, tmp_path):
    def node(state):
        (tmp_path / "began").touch()
        os.kill(os.getpid(), signal.SIGSTOP)

    with pytest.raises(NodeTimeoutError, match="run timeout of 1"):
        one(on_ray, node, timeout=1).invoke({"items": []})
    assert time.time() - (tmp_path / "began").stat().st_mtime < BOUND
    wait_for_free_cpus()


@pytest.mark.parametrize("kind", ["task", "own task", "async", "pool"])
def test_a_stopped_process_without_a_limit_of_time_is_replaced(on_ray, kind, tmp_path, monkeypatch):
    from actors import sessions

    monkeypatch.setenv("DISTGRAPH_SILENCE", "12")
    sessions.end()

    def once():
        if not (tmp_path / "began").exists():
            (tmp_path / "began").touch()
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(60)  # another thread may take the signal, and this one run on for a while
        return {"items": ["second"]}

    def node(state):
        return once()

    async def anode(state):
        return once()

    class Pooled:
        def __call__(self, state):
            return once()

    chosen = {"async": anode, "pool": Pooled}.get(kind, node)
    options = {"ray_options": {"lease": False}} if kind == "own task" else {}
    graph = one(on_ray, chosen, **options)
    assert graph.invoke({"items": []}, {"max_attempts": 2}) == {"items": ["second"]}
    seconds = time.time() - (tmp_path / "began").stat().st_mtime
    print(f"{kind}: replaced after {seconds:.1f} s")
    assert 10 < seconds < 12 + BOUND
    sessions.end()


@pytest.mark.parametrize("kind", ["task", "own task", "pool"])
def test_a_process_that_is_asked_to_end_is_lost_and_cleans_up(on_ray, kind, tmp_path):
    def once():
        try:
            if not (tmp_path / "began").exists():
                (tmp_path / "began").touch()
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(30)
        finally:
            (tmp_path / "cleaned").touch()
        return {"items": ["second"]}

    def node(state):
        return once()

    class Pooled:
        def __call__(self, state):
            return once()

    options = {"ray_options": {"lease": False}} if kind == "own task" else {}
    graph = one(on_ray, Pooled if kind == "pool" else node, **options)
    assert graph.invoke({"items": []}, {"max_attempts": 2}) == {"items": ["second"]}
    assert (tmp_path / "cleaned").exists()


def test_a_process_that_does_not_end_its_lease_is_ended(on_ray):
    def breaks(state):
        process().descriptors.look = lambda pause=0.0: "" if pause else time.sleep(1_000)
        return {"items": [os.getpid()]}

    (pid,) = one(on_ray, breaks).invoke({"items": []})["items"]
    eventually(lambda: not alive(pid), "the process has ended", 13 + BOUND)
    wait_for_free_cpus(BOUND)


def test_a_node_that_closes_the_selector_of_its_process_disturbs_no_other(on_ray):
    def closes(state):
        os.close(loop()._selector.fileno())
        return {"items": [os.getpid()]}

    def fine(state):
        return {"items": [os.getpid()]}

    (pid,) = one(on_ray, closes).invoke({"items": []})["items"]
    (other,) = one(on_ray, fine).invoke({"items": []})["items"]
    assert other != pid


def test_a_node_that_closes_the_sockets_of_its_process_is_lost_and_leaves_a_fresh_one(on_ray):
    def closes(state):
        os.closerange(3, 4096)
        return {"items": [os.getpid()]}

    def fine(state):
        return {"items": ["fine"]}

    with pytest.raises(WorkerDied):
        one(on_ray, closes).invoke({"items": []})
    assert one(on_ray, fine).invoke({"items": []}) == {"items": ["fine"]}
