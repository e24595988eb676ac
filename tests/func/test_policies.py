"""Retries, caches and timeouts of tasks and entrypoints."""

import asyncio
import time

import pytest
from langgraph.cache.memory import InMemoryCache

from distgraph.errors import NodeTimeoutError
from distgraph.func import entrypoint, task
from distgraph.types import CachePolicy, RetryPolicy
from tests.func.support import flow, returned

QUICK = {"initial_interval": 0.01, "jitter": False}


def counted(path):
    """Return how often this was called with a path."""
    with open(path, "a") as file:
        file.write("x")
    return len(path.read_text())


@pytest.mark.parametrize("where", ["task", "entrypoint"])
def test_a_failed_call_is_tried_again(ours, where, tmp_path):
    policy = RetryPolicy(max_attempts=3, retry_on=KeyError, **QUICK)

    @task(retry_policy=policy if where == "task" else None)
    def flaky(writer):
        attempt = counted(tmp_path / "flaky")
        writer(attempt)
        if attempt < 3:
            raise KeyError(attempt)
        return attempt

    @entrypoint(retry_policy=policy if where == "entrypoint" else None)
    def workflow(number):
        return returned(flaky())

    chunks = list(workflow.stream(1, stream_mode=["custom", "updates"]))
    assert chunks == [
        *(("custom", attempt) for attempt in (1, 2, 3)),
        ("updates", {"flaky": 3}),
        ("updates", {"workflow": 3}),
    ]


def test_a_call_that_fails_for_good_fails_in_its_caller(ours, tmp_path):
    @task(retry_policy=RetryPolicy(max_attempts=2, retry_on=KeyError, **QUICK))
    def failing():
        raise KeyError(counted(tmp_path / "failing"))

    @entrypoint()
    def workflow(number):
        try:
            returned(failing())
        except KeyError as error:
            return error.args[0]

    assert workflow.invoke(1) == 2


def test_an_entrypoint_that_is_tried_again_finds_its_finished_calls(ours, tmp_path):
    @task
    def once():
        return counted(tmp_path / "once")

    @entrypoint(retry_policy=RetryPolicy(max_attempts=3, retry_on=KeyError, **QUICK))
    def workflow(number):
        first = returned(once())
        if counted(tmp_path / "workflow") < 3:
            raise KeyError("again")
        return first

    assert workflow.invoke(1) == 1
    assert (tmp_path / "workflow").read_text() == "xxx"


def test_results_of_calls_are_cached(ours, tmp_path):
    @task(cache_policy=CachePolicy(key_func=lambda value, by=1: f"{value}"))
    def cached(value, by=1):
        return [value * by, counted(tmp_path / f"{value}")]

    cache = InMemoryCache()

    @entrypoint(cache=cache)
    def workflow(values):
        return [returned(cached(value, by=10)) for value in values]

    assert workflow.invoke([1, 2]) == [[10, 1], [20, 1]]
    chunks = list(workflow.stream([2, 1]))
    told = {"__metadata__": {"cached": True}}
    assert chunks == [
        {"cached": [20, 1], **told},
        {"cached": [10, 1], **told},
        {"workflow": [[20, 1], [10, 1]]},
    ]
    cached.clear_cache(cache)
    assert workflow.invoke([1]) == [[10, 2]]


def test_the_entrypoints_cache_policy_is_that_of_its_tasks(ours, tmp_path):
    @task
    def cached(value):
        return [value, counted(tmp_path / f"{value}")]

    @entrypoint(cache=InMemoryCache(), cache_policy=CachePolicy())
    def workflow(values):
        return [counted(tmp_path / "workflow"), *(returned(cached(value)) for value in values)]

    assert workflow.invoke([1, 2]) == [1, [1, 1], [2, 1]] == workflow.invoke([1, 2])
    assert workflow.invoke([2, 1]) == [2, [2, 1], [1, 1]]


@flow
def caching(func, ns, **options):
    CachePolicy = ns.module("types").CachePolicy

    @func.task(cache_policy=CachePolicy())
    def square(value):
        return value * value

    @func.entrypoint(**options)
    def workflow(values):
        return [returned(square(value)) for value in values]

    return workflow


def test_what_is_streamed_of_cached_results(differ):
    expected, got = (
        [list(graph.stream([2, 3, 2], stream_mode=["updates", "tasks"])) for _ in range(2)]
        for graph in (
            engine.compile(caching(engine), cache=InMemoryCache())
            for engine in (differ.reference, differ.contender)
        )
    )
    from tests.support.normalise import normalise

    assert [normalise(chunks) for chunks in got] == [normalise(chunks) for chunks in expected]


def test_a_call_that_takes_too_long(ours):
    @task(timeout=0.1)
    async def slow():
        await asyncio.sleep(30)

    @entrypoint()
    async def workflow(number):
        try:
            await slow()
        except NodeTimeoutError as error:
            return error.node

    assert workflow.invoke(1) == "slow"


def test_a_synchronous_call_that_takes_too_long(ours):
    @task(timeout=0.2)
    def slow():
        time.sleep(30)

    @entrypoint()
    def workflow(number):
        try:
            returned(slow())
        except NodeTimeoutError as error:
            return error.node

    assert workflow.invoke(1) == "slow"


def test_a_synchronous_entrypoint_that_takes_too_long(ours):
    @task
    async def slow():
        await asyncio.sleep(30)

    @entrypoint(timeout=0.2)
    def workflow(number):
        returned(slow())

    with pytest.raises(NodeTimeoutError):
        workflow.invoke(1)


def test_an_entrypoint_that_takes_too_long(ours):
    @task
    async def slow():
        await asyncio.sleep(30)

    @entrypoint(timeout=0.2)
    async def workflow(number):
        await slow()

    with pytest.raises(NodeTimeoutError):
        workflow.invoke(1)
