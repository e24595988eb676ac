"""Classes as nodes on Ray: a pool of workers, each of which constructs the class once."""

import functools
import operator
import os
import time
from typing import Annotated

import pytest
from typing_extensions import TypedDict

from tests.support.cluster import eventually, wait_for_free_cpus

pytestmark = pytest.mark.ray


class State(TypedDict, total=False):
    n: int
    out: Annotated[list, operator.add]


class Item(TypedDict):
    i: int


class Model:
    """Costly to make; says which process it is in and how often it was called there.

    Where ``pair`` is a folder, its calls wait until two instances exist.
    """

    def __init__(self, factor=1, pair=None):
        self.factor = factor
        self.calls = 0
        self.pair = pair
        if pair is not None:
            (pair / str(os.getpid())).touch()

    def __call__(self, item: Item, writer) -> dict:
        self.calls += 1
        if self.pair is not None:
            eventually(lambda: len(list(self.pair.iterdir())) == 2, "two instances")
        writer(item["i"])
        time.sleep(0.02)
        return {"out": [(os.getpid(), self.calls, item["i"] * self.factor)]}


class Stuck:
    def __call__(self, state: State) -> dict:
        time.sleep(600)
        return {}


def fan(ns, action, **options):
    builder = ns.StateGraph(State).add_node("model", action, **options)
    packets = lambda s: [ns.Send("model", {"i": i}) for i in range(s["n"])]  # noqa: E731
    return ns.compile(builder.add_conditional_edges(ns.START, packets, ["model"]))


def test_each_worker_makes_one_instance_for_all_runs(on_ray, tmp_path):
    model = functools.partial(Model, factor=2, pair=tmp_path)
    graph = fan(on_ray, model, ray_options={"concurrency": 2})
    served = []
    for _ in range(2):
        out = graph.invoke({"n": 8, "out": []})["out"]
        assert [value for _, _, value in out] == list(range(0, 16, 2))
        served += [(pid, call) for pid, call, _ in out]
    assert len({pid for pid, _ in served}) == 2
    assert os.getpid() not in {pid for pid, _ in served}
    for pid in {pid for pid, _ in served}:
        calls = sorted(call for own, call in served if own == pid)
        assert calls == list(range(1, len(calls) + 1))


class Named:
    """Returns what Ray calls the task in which it is called."""

    def __call__(self, item: Item) -> dict:
        import ray

        return {"out": [ray.get_runtime_context().get_task_name()]}


def test_ray_shows_a_worker_of_a_pool_by_the_name_of_its_node(on_ray):
    graph = fan(on_ray, Named, ray_options={"concurrency": 1})
    assert graph.invoke({"n": 1, "out": []})["out"] == ["model"]


def test_a_pool_streams_like_any_node(on_ray):
    graph = fan(on_ray, Model, ray_options={"concurrency": 1})
    chunks = list(graph.stream({"n": 3, "out": []}, stream_mode=["custom", "updates"]))
    of_attempt = {i: [] for i in range(3)}
    for mode, payload in chunks:
        i = payload if mode == "custom" else payload["model"]["out"][0][2]
        of_attempt[i].append(mode)
    assert of_attempt == {i: ["custom", "updates"] for i in range(3)}


def test_a_pool_holds_no_cpu_while_it_waits(on_ray):
    fan(on_ray, Model, ray_options={"concurrency": 2}).invoke({"n": 2, "out": []})
    wait_for_free_cpus()


def test_a_stuck_worker_is_killed_with_its_run_and_replaced(on_ray):
    builder = on_ray.StateGraph(State).add_node("stuck", Stuck).add_node("fails", lambda s: 1 / 0)
    builder.add_edge(on_ray.START, "stuck").add_edge(on_ray.START, "fails")
    graph = on_ray.compile(builder)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            graph.invoke({"n": 1, "out": []})
    eventually(lambda: not _stuck_workers(), "the stuck workers are gone")


def _stuck_workers():
    import ray

    from actors.sessions import current

    leases = ray.get(current().driver.statistics.remote())["leases"]
    return [lease for lease in leases if (lease["node"], lease["phase"]) == ("stuck", "busy")]


def test_a_worker_that_dies_is_named_and_the_pool_goes_on(on_ray):
    from distgraph.errors import WorkerDied

    class Dies:
        def __call__(self, item: Item) -> dict:
            if item["i"] == 0:
                os._exit(1)
            return {"out": [item["i"]]}

    builder = on_ray.StateGraph(State).add_node("dies", Dies, ray_options={"concurrency": 1})
    packet = lambda s: [on_ray.Send("dies", {"i": s["n"]})]  # noqa: E731
    graph = on_ray.compile(builder.add_conditional_edges(on_ray.START, packet, ["dies"]))
    with pytest.raises(WorkerDied, match="node 'dies'"):
        graph.invoke({"n": 0, "out": []})
    assert graph.invoke({"n": 7, "out": []})["out"] == [7]


@pytest.fixture
def own_session():
    """Ends the session behind the test, and with it pools that hold CPUs."""
    import actors

    yield
    actors.end_session()


def test_a_pool_that_may_grow_beyond_the_cluster_gives_work_only_to_workers_that_run(
    on_ray, own_session
):
    options = {"concurrency": (1, 8), "num_cpus": 2}
    out = fan(on_ray, Model, ray_options=options).invoke({"n": 8, "out": []})["out"]
    assert [value for _, _, value in out] == list(range(8))
    assert len({pid for pid, _, _ in out}) == 1


def test_a_pool_without_room_gets_what_an_idle_pool_only_keeps(on_ray, own_session):
    class Other(Model):
        pass

    for model in (Model, Other):
        graph = fan(on_ray, model, ray_options={"concurrency": 1, "resources": {"desk": 1}})
        assert len(graph.invoke({"n": 2, "out": []})["out"]) == 2
