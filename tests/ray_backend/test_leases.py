"""Workers keep their resources for the next attempt, and give them back soon."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from enum import Enum
from itertools import pairwise

import pytest

from distgraph._internal.settings import setting
from distgraph.errors import WorkerDied
from distgraph.types import Send, TimeoutPolicy
from tests.support.cluster import all_cpus, eventually, free_cpus, wait_for_free_cpus
from tests.support.graphs import Items

from .test_several_nodes import ROOT

pytestmark = pytest.mark.ray

of_leases = pytest.mark.skipif(
    not setting("DISTGRAPH_LEASES", True), reason="DISTGRAPH_LEASES is off: there are no leases"
)
"""For what Ray tasks of their own do not have."""


def pid(state):
    return {"items": [os.getpid()]}


def chain(ns, *nodes, **options):
    builder = ns.StateGraph(Items)
    names = [f"n{number}" for number in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        builder.add_node(name, node, ray_options=options or None)
    builder.add_edge(ns.START, names[0])
    for one, next_one in pairwise(names):
        builder.add_edge(one, next_one)
    return ns.compile(builder)


def leases():
    import ray

    from actors import sessions

    return ray.get(sessions.current().driver.statistics.remote())["leases"]


@of_leases
def test_steps_that_follow_each_other_are_served_by_one_process(on_ray):
    graph = chain(on_ray, *[pid] * 6)
    graph.invoke({"items": []})
    served = graph.invoke({"items": []})["items"]
    assert len(set(served)) == 1


def frozen(state):
    return {"items": [gc.get_freeze_count()]}


def test_garbage_collections_leave_out_what_was_loaded_before_the_node(on_ray):
    items = chain(on_ray, frozen, frozen).invoke({"items": []})["items"]
    assert min(items) > 10_000


def test_attempts_that_are_sent_together_do_not_wait_for_a_slow_one(on_ray, tmp_path):
    arrived = tmp_path / "all the others arrived"

    def node(number):
        while number == -1 and not arrived.exists():
            time.sleep(0.01)
        return {"items": [number]}

    def spread(state):
        return [Send("node", number) for number in state["items"]]

    builder = on_ray.StateGraph(Items).add_node("node", node)
    builder.add_conditional_edges(on_ray.START, spread, ["node"])
    graph = on_ray.compile(builder)
    graph.invoke({"items": list(range(20))})  # its attempts are known to be short
    seen = []
    for update in graph.stream({"items": [0, -1, *range(1, 60)]}, stream_mode="updates"):
        seen += update["node"]["items"]
        if sorted(seen) == list(range(60)):
            arrived.touch()
    assert seen[-1] == -1
    assert len(seen) == 61


def test_the_name_of_a_node_may_be_a_member_of_a_local_enumeration(on_ray):
    class Name(str, Enum):
        NODE = "node"

    builder = on_ray.StateGraph(Items)
    builder.add_node(Name.NODE, pid)
    builder.add_edge(on_ray.START, Name.NODE)
    assert on_ray.compile(builder).invoke({"items": []})["items"] != [os.getpid()]


@of_leases
def test_the_statistics_show_what_each_lease_serves(on_ray):
    def node(state, writer):
        writer(os.getpid())
        time.sleep(1.0)

    stream = chain(on_ray, pid, node).stream({"items": []}, stream_mode="custom")
    process = next(stream)
    (lease,) = [lease for lease in leases() if lease["pid"] == process]
    assert (lease["node"], lease["phase"]) == ("n1", "busy")
    assert lease["node_id"]
    list(stream)


def test_the_title_of_the_process_names_the_node_that_it_runs(on_ray):
    def title(state):
        with open("/proc/self/cmdline") as file:
            return {"items": [file.read().strip("\0").split("\0")[0]]}

    assert chain(on_ray, title, title).invoke({"items": []}) == {"items": ["ray::n0", "ray::n1"]}


@of_leases
def test_a_worker_loads_the_graph_and_not_the_code_of_the_driver(on_ray):
    def loaded(state):
        return {"items": [name in sys.modules for name in ("actors.driver", "actors.broker")]}

    fresh = {"env_vars": {"DISTGRAPH_TEST_FRESH": "1"}}  # a process that has loaded nothing
    graph = chain(on_ray, loaded, runtime_env=fresh)
    assert graph.invoke({"items": []}) == {"items": [False, False]}


def test_an_idle_session_holds_no_cpu(on_ray):
    graph = chain(on_ray, pid)
    graph.invoke({"items": []})
    begin = time.perf_counter()
    eventually(lambda: leases() == [], "every lease has ended")
    print(f"leases ended after {time.perf_counter() - begin:.2f} s")
    wait_for_free_cpus()


ALL_CPUS = (
    "import ray, sys\n"
    "ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
    "task = ray.remote(num_cpus=2)(lambda: 'all')\n"
    "print(ray.get(task.remote(), timeout=30))\n"
)
"""A job that needs both CPUs of the cluster."""


def job_for_all_cpus(ray):
    return subprocess.Popen(
        [sys.executable, "-c", ALL_CPUS, ray.get_runtime_context().gcs_address],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_another_job_gets_all_cpus_while_the_session_is_idle(on_ray, ray_session):
    graph = chain(on_ray, pid, pid)
    graph.invoke({"items": []})
    job = job_for_all_cpus(ray_session)
    out, errors = job.communicate(timeout=50)
    assert out.strip().endswith("all"), errors
    assert len(graph.invoke({"items": []})["items"]) == 2


@pytest.fixture
def keeping(ray_session, monkeypatch):
    """A session whose idle workers are kept for long while nobody waits."""
    from actors import sessions

    sessions.end()
    monkeypatch.setenv("DISTGRAPH_WORKER_IDLE", "600")
    sessions.current()
    yield
    sessions.end()


@of_leases
def test_an_idle_worker_is_kept_until_another_job_waits_for_its_cpu(keeping, on_ray, ray_session):
    graph = chain(on_ray, pid, pid)

    def is_kept():
        """What waited before the first worker came is known for a second: then a worker ends."""
        found = leases()
        if not found:
            graph.invoke({"items": []})
        return found and found[0]["seconds"] > 1.0

    eventually(is_kept, "a worker is kept")
    job = job_for_all_cpus(ray_session)
    out, errors = job.communicate(timeout=50)
    assert out.strip().endswith("all"), errors
    assert leases() == []


def test_another_job_gets_all_cpus_while_a_run_never_pauses(on_ray, ray_session):
    """Steps that follow each other leave no lease idle: it ends when it has served for a second."""
    builder = on_ray.StateGraph(Items).add_node("again", lambda s: None)
    graph = builder.add_edge(on_ray.START, "again").add_edge("again", "again").compile()
    stream = graph.stream({"items": []}, {"recursion_limit": 10**9}, stream_mode="updates")
    assert next(stream) == {"again": None}
    job = job_for_all_cpus(ray_session)
    try:
        for chunk in stream:
            assert chunk == {"again": None}
            if job.poll() is not None:
                break
    finally:
        stream.close()
        out, errors = job.communicate(timeout=50)
    assert out.strip().endswith("all"), errors


def test_nodes_with_other_needs_do_not_wait_for_an_idle_lease(on_ray):
    builder = on_ray.StateGraph(Items).add_node("one", pid)
    builder.add_node("both", pid, ray_options={"num_cpus": 2})
    builder.add_node("again", pid)
    builder.add_edge(on_ray.START, "one").add_edge("one", "both").add_edge("both", "again")
    graph = on_ray.compile(builder)
    assert len(graph.invoke({"items": []})["items"]) == 3


@of_leases
def test_a_worker_that_dies_while_it_is_idle_fails_no_run(on_ray):
    graph = chain(on_ray, pid)
    (victim,) = graph.invoke({"items": []})["items"]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in [lease["pid"] for lease in leases()], "its end is known")
    (other,) = graph.invoke({"items": []})["items"]
    assert other != victim


def two_processes(ns, folder):
    """Let both CPUs have a process that serves leases."""

    def meets(state):
        (folder / str(os.getpid())).touch()
        eventually(lambda: len(list(folder.iterdir())) == 2, "the other runs too")
        return {"items": []}

    builder = ns.StateGraph(Items)
    for name in ("left", "right"):
        builder.add_node(name, meets).add_edge(ns.START, name)
    ns.compile(builder).invoke({"items": []})


def test_slow_and_fast_attempts_of_one_step_share_the_workers(on_ray, tmp_path):
    def work(state):
        time.sleep(0.6 if state["i"] == 0 else 0.01)
        return {"items": [(state["i"], os.getpid())]}

    builder = on_ray.StateGraph(Items).add_node("work", work)
    builder.add_conditional_edges(
        on_ray.START, lambda s: [Send("work", {"i": i}) for i in range(13)], ["work"]
    )
    graph = on_ray.compile(builder)
    two_processes(on_ray, tmp_path)
    placed = dict(graph.invoke({"items": []})["items"])
    slow = placed.pop(0)
    assert sum(process == slow for process in placed.values()) <= 3


def test_a_lease_can_be_refused_for_a_node(on_ray):
    graph = chain(on_ray, pid, pid, lease=False)
    eventually(lambda: leases() == [], "leases of other tests have ended")
    assert len(graph.invoke({"items": []})["items"]) == 2
    assert leases() == []


def test_without_a_lease_each_attempt_is_a_task_of_ray_s(on_ray):
    def node(number):
        import ray

        return {"items": [ray.get_runtime_context().get_task_id()]}

    builder = on_ray.StateGraph(Items).add_node("node", node, ray_options={"lease": False})
    builder.add_conditional_edges(
        on_ray.START, lambda state: [Send("node", number) for number in range(20)], ["node"]
    )
    graph = on_ray.compile(builder)
    graph.invoke({"items": []})  # its attempts are known to be short
    assert len(set(graph.invoke({"items": []})["items"])) == 20


@of_leases
def test_what_nodes_print_is_not_shown_with_the_name_of_another_node(on_ray):
    def name(state):
        import ray

        return {"items": [ray.get_runtime_context().get_task_name()]}

    builder = on_ray.StateGraph(Items).add_node("first", name).add_node("second", name)
    builder.add_edge(on_ray.START, "first").add_edge("first", "second")
    assert on_ray.compile(builder).invoke({"items": []})["items"] == ["nodes", "nodes"]


# --- with and without leases ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=["1", "0"], ids=["leases", "tasks"])
def setting(request, ray_session):
    """A session with leases, and one with a Ray task for each group."""
    from actors import sessions

    sessions.end()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTGRAPH_LEASES", request.param)
        sessions.current()
        yield request.param == "1"
        sessions.end()


def test_the_stream_is_the_same(setting, on_ray, tmp_path):
    looked = tmp_path / "looked"

    def talks(state, writer):
        for number in range(3):
            writer(number)
        return {"items": ["t"]}

    def waits(state):  # a lease without work ends after 0.1 s
        until = time.monotonic() + 30
        while not looked.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return {"items": ["u"]}

    chunks = []
    for chunk in chain(on_ray, talks, waits).stream(
        {"items": []}, stream_mode=["custom", "updates"]
    ):
        chunks.append(chunk)
        if chunk == ("updates", {"n0": {"items": ["t"]}}):
            found = eventually(leases, "a lease serves the second node") if setting else leases()
            looked.touch()
    assert chunks == [
        *(("custom", number) for number in range(3)),
        ("updates", {"n0": {"items": ["t"]}}),
        ("updates", {"n1": {"items": ["u"]}}),
    ]
    assert bool(found) == setting


def test_a_death_is_the_same_error(setting, on_ray):
    def dies(state):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDied, match="node 'n0', step 1, attempt 1: the process or machine"):
        chain(on_ray, dies).invoke({"items": []})
    assert chain(on_ray, lambda state: {"items": ["on"]}).invoke({"items": []}) == {"items": ["on"]}


def test_a_left_run_interrupts_its_node(setting, on_ray, tmp_path):
    told = str(tmp_path / "told")

    def node(state, writer):
        writer("started")
        try:
            time.sleep(40)
        finally:
            open(told, "w").close()

    stream = chain(on_ray, node).stream({"items": []}, stream_mode="custom")
    assert next(stream) == "started"
    eventually(lambda: free_cpus() < all_cpus(), "the node holds a CPU")
    stream.close()
    eventually(lambda: os.path.exists(told), "the node was interrupted")
    wait_for_free_cpus()


def test_a_limit_of_time_is_kept(setting, on_ray):
    from distgraph.errors import NodeTimeoutError

    builder = on_ray.StateGraph(Items)
    builder.add_node("slow", lambda s: time.sleep(40), timeout=TimeoutPolicy(run_timeout=0.3))
    graph = on_ray.compile(builder.add_edge(on_ray.START, "slow"))
    with pytest.raises(NodeTimeoutError):
        graph.invoke({"items": []})


def test_large_values_and_references_travel(setting, on_ray, ray_session):
    ray = ray_session

    def make(state):
        return {"items": [b"x" * 300_000, ray.put(b"y" * 300_000)]}

    def read(state):
        large, reference = state["items"]
        return {"items": [len(large), ray.get(reference)[:1]]}

    found = chain(on_ray, make, read, lambda s: {"items": [len(s["items"])]}).invoke({"items": []})
    assert found["items"][2:] == [300_000, b"y", 4]
