"""A process with two superstep drivers, each with a stream broker of its own."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from distgraph.errors import DriverLost, RunCancelled
from distgraph.graph import END
from distgraph.runs import attach, list_runs
from tests.support.cluster import eventually, pids_of_actors
from tests.support.graphs import Items, Numbers

pytestmark = pytest.mark.ray

EVENTS = 300


@pytest.fixture(scope="module")
def two_drivers(ray_session):
    """Sessions of two drivers, which the tests of this file share."""
    import actors

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTGRAPH_DRIVERS", "2")
        actors.end_session()
        yield
        actors.end_session()


@pytest.fixture
def two(two_drivers, on_ray):
    """The engine, with two drivers that run."""
    from actors import sessions

    sessions.connect()
    assert len(own()) == 2
    eventually(lambda: live() == [0, 0], "no run of another test goes on")
    return on_ray


def own():
    """The sessions that are not of detached runs."""
    from actors import sessions

    return sessions._own.all


def live():
    return [s.live for s in own()]


def gated(ns, gate):
    """A graph that emits one event, waits for a file, and emits the others."""

    async def node(state, writer):
        writer(0)
        while not gate.exists():
            await asyncio.sleep(0.01)
        for number in range(1, EVENTS):
            writer(number)
            if number % 50 == 0:
                await asyncio.sleep(0)
        return {"items": [EVENTS]}

    return ns.compile(ns.StateGraph(Items).add_node("node", node).add_edge(ns.START, "node"))


def opened(graph, count, **options):
    streams = [graph.stream({"items": []}, stream_mode="custom", **options) for _ in range(count)]
    assert [next(stream) for stream in streams] == [0] * count
    return streams


def test_runs_are_spread_and_each_stream_is_exact(two, tmp_path):
    gate = tmp_path / "gate"
    streams = opened(gated(two, gate), 4)
    assert live() == [2, 2]
    gate.touch()
    assert [list(stream) for stream in streams] == [list(range(1, EVENTS))] * 4
    assert live() == [0, 0]


def test_runs_of_a_thread_stay_at_one_driver(two, tmp_path):
    gate = tmp_path / "gate"
    graph = gated(two, gate)
    config = {"configurable": {"thread_id": "one"}}
    streams = [graph.stream({"items": []}, config, stream_mode="custom") for _ in range(3)]
    assert [next(stream) for stream in streams] == [0] * 3
    assert sorted(live()) == [0, 3]
    gate.touch()
    for stream in streams:
        list(stream)


def test_started_runs_of_both_drivers_are_listed_attached_to_and_cancelled(two, tmp_path):
    from actors.overview import look

    graph = gated(two, tmp_path / "never")
    runs = [graph.start({"items": []}, stream_mode="custom") for _ in range(2)]
    assert {run._run._link.id for run in runs} == {s.id for s in own()}
    assert {run.run_id for run in runs} <= {info.run_id for info in list_runs()}
    assert {s.id for s in own()} <= {shown.session for shown in look().sessions}
    for run in runs:
        found = attach(run.run_id)
        assert next(found.events()).chunk == 0
        found.cancel()
        with pytest.raises(RunCancelled):
            run.result(timeout=30)


def test_the_death_of_one_driver_ends_its_runs_only(two, ray_session, tmp_path):
    gate = tmp_path / "gate"
    graph = gated(two, gate)
    here, there = opened(graph, 2)
    first, second = own()
    ray_session.kill(second.driver)
    with pytest.raises(DriverLost, match="the superstep driver died"):
        list(there)
    gate.touch()
    assert list(here) == list(range(1, EVENTS))
    assert [list(stream) for stream in opened(graph, 2)] == [list(range(1, EVENTS))] * 2
    assert own()[0] is first
    assert own()[1] is not second


def test_a_driver_without_a_lease_gets_one_of_a_driver_that_is_never_idle(two, tmp_path):
    enough = tmp_path / "enough"

    def step(state):
        time.sleep(0.002)
        return {"n": state.get("n", 0) + 1}

    def more(state):
        return END if enough.exists() or "once" in state.get("items", ()) else "step"

    builder = two.StateGraph(Numbers).add_node("step", step).add_edge(two.START, "step")
    builder.add_conditional_edges("step", more, ["step", END])
    graph = two.compile(builder)
    config = {"configurable": {"thread_id": "busy"}, "recursion_limit": 1_000_000}
    began, ended = [threading.Semaphore(0) for _ in range(2)], []

    def chain(semaphore):
        for _ in graph.stream({}, config, stream_mode="updates"):
            semaphore.release()
        ended.append(True)

    threads = [threading.Thread(target=chain, args=(s,), daemon=True) for s in began]
    for thread in threads:
        thread.start()
    for semaphore in began:  # both CPUs are taken, by runs of one driver
        for _ in range(20):
            assert semaphore.acquire(timeout=30)
    assert sorted(live()) == [0, 2]
    begin = time.perf_counter()
    assert graph.invoke({"items": ["once"]}) == {"n": 1, "items": ["once"]}
    print(f"the other driver's run took {time.perf_counter() - begin:.2f} s")
    assert ended == []
    enough.touch()
    for thread in threads:
        thread.join(30)
    assert ended == [True, True]


def test_the_end_of_the_session_ends_all_drivers_brokers_and_runs(two, ray_session, tmp_path):
    import actors

    streams = opened(gated(two, tmp_path / "never"), 2)
    assert live() == [1, 1]
    asked = [actor.process.remote() for s in own() for actor in (s.driver, s.broker)]
    processes = set(ray_session.get(asked))
    assert len(processes) == 4
    actors.end_session()
    for stream in streams:
        with pytest.raises(RunCancelled, match="the session was ended by end_session"):
            next(stream)
    eventually(
        lambda: not processes.intersection(pids_of_actors("Superstep") + pids_of_actors("Stream")),
        "drivers and brokers are gone",
    )
