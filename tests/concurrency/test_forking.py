"""Graphs in forked processes, whose parents have run graphs."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import pkgutil
import queue
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import actors
import distgraph
from distgraph.concurrency.threads import DaemonExecutor, in_thread
from distgraph.concurrency.timers import timers
from distgraph.errors import UnsupportedClusterError
from distgraph.wire import ConnectionClosed, Listener, connect, new_secret
from distgraph.wire.loop import loop
from tests.support.engines import Engine
from tests.support.graphs import Items, one

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def in_fork(call: Callable[[], object]) -> object:
    """Return what a call returns in a forked process, or the error that it raises there."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def run() -> None:
        try:
            results.put(call())
        except BaseException as error:
            results.put(error)

    process = context.Process(target=run)
    process.start()
    process.join(30)
    try:
        assert process.exitcode == 0
        return results.get()
    finally:
        process.kill()


def test_timers_and_threads_begin_anew() -> None:
    executor = DaemonExecutor(1)
    held, called = threading.Event(), queue.SimpleQueue()
    executor.spawn(held.wait)
    executor.spawn(lambda: called.put("a job of the parent"))
    timers().after(0.1, lambda: called.put("a timer of the parent"))

    def child() -> tuple[int, str, str]:
        timers().after(0.2, lambda: called.put("a timer"))
        result = executor.submit(lambda: 1).result(timeout=60)
        in_loop = asyncio.run(in_thread(lambda: "in a thread"))
        return result, in_loop, called.get(timeout=60)

    assert in_fork(child) == (1, "in a thread", "a timer")
    held.set()
    assert {called.get(timeout=60), called.get(timeout=60)} == {
        "a job of the parent",
        "a timer of the parent",
    }


@pytest.mark.parametrize("backend", ["langgraph", "local"])
def test_a_graph_runs_in_a_forked_process(backend: str) -> None:
    ns = Engine(backend)
    tried: list[int] = []

    def node(state):
        tried.append(1)
        if len(tried) % 2:
            raise ConnectionError
        return {"items": ["sync"]}

    async def async_node(state):
        await asyncio.sleep(0.01)
        return {"items": ["async"]}

    retry = ns.RetryPolicy(initial_interval=0.01, jitter=False)
    builder = ns.StateGraph(Items).add_node("n", node, retry_policy=retry)
    graph = ns.compile(builder.add_edge(ns.START, "n"))
    async_graph = ns.compile(one(ns, async_node))

    def run() -> list[object]:
        return [
            graph.invoke({"items": []}),
            asyncio.run(async_graph.ainvoke({"items": []})),
            list(graph.stream({"items": []}, stream_mode="updates")),
        ]

    assert in_fork(run) == run()


@pytest.mark.ray
def test_a_run_on_ray_is_refused_in_a_forked_process(ray_session: object) -> None:
    ns = Engine("ray")
    graph = ns.compile(one(ns, lambda state: {"items": ["a"]}))
    expected = {"items": ["a"]}
    assert graph.invoke({"items": []}) == expected
    refused = in_fork(lambda: graph.invoke({"items": []}))
    assert type(refused) is UnsupportedClusterError
    assert f"was forked from process {os.getpid()}, which uses Ray" in str(refused)
    assert 'get_context("spawn")' in str(refused)
    assert graph.invoke({"items": []}) == expected


@pytest.mark.ray
def test_a_stream_goes_on_whose_reader_a_forked_process_drops(ray_session: object) -> None:
    ns = Engine("ray")

    def node(state, writer):
        for number in range(50):
            writer(number)
        return {"items": ["a"]}

    stream = ns.compile(one(ns, node)).stream({"items": []}, stream_mode="custom")
    assert next(stream) == 0
    assert in_fork(stream.close) is None
    assert list(stream) == list(range(1, 50))


def test_a_connection_belongs_to_the_process_that_made_it() -> None:
    secret, got = new_secret(), queue.SimpleQueue()
    listener = Listener(
        "127.0.0.1",
        secret,
        on_open=lambda connection: None,
        on_frame=lambda connection, frame: got.put(bytes(frame.parts[0])),
        on_closed=lambda connection, error: got.put(error),
    )
    connection = connect(
        listener.address,
        secret,
        "test",
        name="a",
        to="b",
        on_frame=lambda connection, frame: None,
        on_closed=lambda connection, error: None,
    )
    parents = loop()

    def child() -> tuple[bool, bool]:
        connection.close()
        with pytest.raises(ConnectionClosed):
            connection.send(64, b"child")
        return connection.closed, loop() is not parents

    assert in_fork(child) == (True, True)
    connection.send(64, b"parent")
    assert got.get(timeout=60) == b"parent"
    connection.close()
    listener.close()


def locks_of_the_process() -> dict[str, Any]:
    """Return the locks that modules, and objects of modules, keep."""
    kinds = type(threading.Lock()), type(threading.RLock())
    found: dict[str, Any] = {}
    for top in (distgraph, actors):
        for info in pkgutil.walk_packages(top.__path__, f"{top.__name__}."):
            if info.name.endswith("__main__"):
                continue
            try:
                module = importlib.import_module(info.name)
            except ModuleNotFoundError as error:
                print(f"{info.name} needs {error.name}")
                continue
            for name, value in vars(module).items():
                inner = type(value).__module__.split(".")[0] in ("distgraph", "actors")
                members = getattr(value, "__dict__", {}) if inner else {}
                for path, lock in [
                    (name, value),
                    *((f"{name}.{m}", v) for m, v in members.items()),
                ]:
                    if isinstance(lock, kinds):
                        found[f"{module.__name__}.{path}"] = lock
    return found


def test_nobody_holds_a_lock_of_the_process() -> None:
    locks = locks_of_the_process()
    assert "distgraph.serde.pickling._class_lock" in locks
    ready, end = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as held:
            for lock in set(locks.values()):
                held.enter_context(lock)
            ready.set()
            end.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert ready.wait(30)

    def child() -> list[str]:
        now = locks_of_the_process()
        free = {lock for lock in set(now.values()) if lock.acquire(blocking=False)}
        return [name for name, lock in now.items() if lock not in free]

    try:
        assert in_fork(child) == []
    finally:
        end.set()
        holder.join()
