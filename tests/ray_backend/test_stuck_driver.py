"""Endless reducers, and drivers and brokers that are stopped, end within a bound."""

import operator
import os
import signal
import time
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.errors import BrokerLost, DriverLost, RunError
from distgraph.runs import Retention
from tests.ray_backend.started_graphs import endless as endless_run
from tests.ray_backend.test_stuck import hold_the_lock
from tests.support.cluster import (
    eventually,
    pid_of_actor,
    wait_for_free_cpus,
    wait_for_no_session,
    wait_for_signs_of_life,
)
from tests.support.graphs import Items, adds

pytestmark = [pytest.mark.ray, pytest.mark.faults]

BOUND = 30.0


@pytest.fixture
def own_session(on_ray, monkeypatch):
    """A session of its own, with short bounds."""
    from actors import sessions

    monkeypatch.setenv("DISTGRAPH_SILENCE", "6")
    monkeypatch.setenv("DISTGRAPH_REDUCER_TIMEOUT", "3")
    sessions.end()
    wait_for_no_session()
    yield on_ray
    sessions.end()


def endless(a, b):
    while b:
        pass
    return a + b


def endless_in_c(a, b):
    if b:
        hold_the_lock()
    return a + b


class Endless(TypedDict):
    items: Annotated[list, endless]


class EndlessInC(TypedDict):
    items: Annotated[list, endless_in_c]


def waiting(a, b):
    if b:
        time.sleep(1000)
    return a + b


class Waiting(TypedDict):
    items: Annotated[list, waiting]


class Plain(TypedDict):
    items: Annotated[list, operator.add]


def one(ns, state, node=lambda state: {"items": ["n"]}):
    return ns.compile(ns.StateGraph(state).add_node("n", node).add_edge(ns.START, "n"))


@pytest.mark.parametrize(
    ("state", "told"),
    [(Endless, "in endless"), (Waiting, "time.sleep(1000)")],
    ids=["computes", "waits"],
)
def test_an_endless_reducer_is_ended_and_named(own_session, state, told):
    begin = time.perf_counter()
    with pytest.raises(RunError, match="a reducer was ended") as caught:
        one(own_session, state).invoke({"items": []})
    assert told in str(caught.value)
    assert time.perf_counter() - begin < BOUND
    assert one(own_session, Plain).invoke({"items": []}) == {"items": ["n"]}
    wait_for_free_cpus()


@pytest.mark.parametrize("reducer", [endless, waiting], ids=["computes", "waits"])
def test_a_run_with_an_endless_reducer_can_be_left(own_session, monkeypatch, tmp_path, reducer):
    import ray

    from actors import sessions

    began = tmp_path / "began"

    def tells(a, b):
        if b:
            began.touch()
        return reducer(a, b)

    class Told(TypedDict):
        items: Annotated[list, tells]

    monkeypatch.setenv("DISTGRAPH_REDUCER_TIMEOUT", "300")
    sessions.end()
    stream = one(own_session, Told, adds("n", 1)).stream({"items": []}, stream_mode="custom")
    next(stream)
    driver = sessions.current().driver
    eventually(began.exists, "the reducer runs", BOUND)
    stream.close()
    eventually(lambda: ray.get(driver.statistics.remote())["runs"] == 0, "the run ended", BOUND)


def test_a_reducer_that_holds_the_lock_costs_its_session_only(own_session):
    with pytest.raises(DriverLost, match="without a sign of life"):
        one(own_session, EndlessInC).invoke({"items": []})
    assert one(own_session, Plain).invoke({"items": []}) == {"items": ["n"]}


@pytest.mark.parametrize(
    ("actor", "error"), [("SuperstepDriver", DriverLost), ("StreamBroker", BrokerLost)]
)
def test_a_stopped_actor_is_a_typed_error_and_the_next_run_works(own_session, actor, error):
    from actors import sessions

    def node(state, writer):
        writer("started")
        time.sleep(60)

    graph = own_session.StateGraph(Items).add_node("n", node).add_edge(own_session.START, "n")
    stream = own_session.compile(graph).stream({"items": []}, stream_mode="custom")
    assert next(stream) == "started"
    wait_for_signs_of_life(sessions.current())
    pid = pid_of_actor(actor)
    os.kill(pid, signal.SIGSTOP)
    begin = time.perf_counter()
    with pytest.raises(error):
        for _ in stream:
            pass
    print(f"{actor}: known after {time.perf_counter() - begin:.1f} s")
    assert time.perf_counter() - begin < BOUND
    wait_for_free_cpus()
    assert one(own_session, Plain).invoke({"items": []}) == {"items": ["n"]}


@pytest.fixture
def detached_run(on_ray, monkeypatch):
    """A run that has started, and its reader. Driver and broker have given signs of life."""
    monkeypatch.setenv("DISTGRAPH_SILENCE", "6")
    monkeypatch.setenv("DISTGRAPH_DETACHED_IDLE", "1")
    run = endless_run(backend="ray").start(
        {"items": []}, stream_mode="custom", detached=True, retention=Retention(seconds=1)
    )
    reader = run.events()
    assert next(reader).chunk == "started"
    wait_for_signs_of_life(run._run._link)
    return run, reader


def test_a_stopped_driver_of_a_detached_run_is_ended_by_its_broker(detached_run):
    import ray

    run, reader = detached_run
    os.kill(ray.get(run._run._link.driver.process.remote()), signal.SIGSTOP)
    with pytest.raises(DriverLost, match="the superstep driver died"):
        list(reader)
    assert run.status == "error"


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_detached_driver_ends_its_stopped_broker_and_then_itself(detached_run, number):
    import ray

    run, reader = detached_run
    begin = time.perf_counter()
    os.kill(ray.get(run._run._link.broker.process.remote()), number)
    with pytest.raises(BrokerLost):
        list(reader)
    print(f"known after {time.perf_counter() - begin:.1f} s")
    assert time.perf_counter() - begin < BOUND
    wait_for_free_cpus()


def sleeps_with_the_lock(a, b):
    if b:
        import ctypes

        ctypes.PyDLL(None).sleep(2)  # as a C extension that computes
    return [*a, *b, os.getpid()]


class Slow(TypedDict):
    items: Annotated[list, sleeps_with_the_lock]


def test_a_reducer_that_took_long_runs_in_a_process_of_its_own(own_session):
    graph = own_session.StateGraph(Slow).add_node("a", adds("a")).add_node("b", adds("b"))
    graph.add_edge(own_session.START, "a").add_edge("a", "b")
    items = own_session.compile(graph).invoke({"items": []})["items"]
    begun, a, driver, b, other = items
    assert (a, b) == ("a", "b")
    assert begun == driver == pid_of_actor("SuperstepDriver")
    assert other != driver


def test_a_reducer_that_holds_the_lock_ends_its_own_saved_run_only(own_session, tmp_path):
    gate = tmp_path / "gate"

    def waits(state):
        while not gate.exists():
            time.sleep(0.05)
        return {"items": ["n"]}

    def saved(state, node):
        graph = own_session.StateGraph(state).add_node("n", node).add_edge(own_session.START, "n")
        return graph.compile(checkpointer=InMemorySaver(), backend="ray")

    held, stuck = saved(Plain, waits), saved(EndlessInC, adds("n"))
    thread = {"configurable": {"thread_id": "1"}, "max_attempts": 3}
    other = held.start({"items": []}, thread)
    eventually(lambda: other.status == "running", "it runs")
    begin = time.perf_counter()
    with pytest.raises(RunError, match="a reducer was ended after") as caught:
        stuck.invoke({"items": []}, thread)
    print(f"ended after {time.perf_counter() - begin:.1f} s")
    assert "the reducer of key 'items'" in str(caught.value)
    gate.touch()
    assert other.result(timeout=60) == {"items": ["n"]}
    wait_for_free_cpus()
