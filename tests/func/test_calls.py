"""Calls of tasks: where they run, what their futures can do, and what waits for what."""

import asyncio
import concurrent.futures
import functools
import os
import time

import pytest

from distgraph.config import get_stream_writer
from distgraph.func import entrypoint, task
from tests.func.support import returned
from tests.support.cluster import eventually

SECONDS = 600


@task
def add(a, b=1):
    return a + b


@task
async def aadd(a, b=1):
    await asyncio.sleep(0)
    return a + b


@task
def process_of(seconds=0.0):
    time.sleep(seconds)
    return os.getpid()


@task
def total(depth):
    """A plain task that waits for two of its own kind."""
    if depth == 0:
        return 1
    return sum(returned(call) for call in [total(depth - 1), total(depth - 1)])


@task(ray_options={"placement": "thread"})
def total_in_threads(depth):
    if depth == 0:
        return 1
    return sum(returned(call) for call in [total_in_threads(depth - 1) for _ in range(2)])


@task
async def atotal(depth):
    if depth == 0:
        return 1
    return sum(await asyncio.gather(atotal(depth - 1), atotal(depth - 1)))


@pytest.mark.parametrize("wait", ["result", "as_completed", "wait"])
def test_futures_of_synchronous_code(ours, wait):
    @entrypoint()
    def workflow(numbers):
        calls = [add(number, b=10) for number in numbers]
        if wait == "result":
            return [call.result(SECONDS) for call in calls]
        if wait == "as_completed":
            done = concurrent.futures.as_completed(calls, SECONDS)
            return sorted(call.result() for call in done)
        done, left = concurrent.futures.wait(calls, SECONDS)
        assert not left
        return sorted(call.result() for call in done)

    assert workflow.invoke([1, 2, 3]) == [11, 12, 13]
    assert asyncio.run(workflow.ainvoke([1, 2, 3])) == [11, 12, 13]


@pytest.mark.parametrize("wait", ["await", "gather", "as_completed", "wait", "wait_for"])
@pytest.mark.parametrize("called", [add, aadd], ids=["sync", "async"])
def test_futures_of_coroutines(ours, called, wait):
    @entrypoint()
    async def workflow(numbers):
        calls = [called(number, b=10) for number in numbers]
        if wait == "await":
            return [await call for call in calls]
        if wait == "gather":
            return await asyncio.gather(*calls)
        if wait == "as_completed":
            return sorted([await call for call in asyncio.as_completed(calls)])
        if wait == "wait":
            done, left = await asyncio.wait(calls)
            assert not left
            return sorted(call.result() for call in done)
        return [await asyncio.wait_for(call, SECONDS) for call in calls]

    assert asyncio.run(workflow.ainvoke([1, 2, 3])) == [11, 12, 13]
    assert workflow.invoke([1, 2, 3]) == [11, 12, 13]


def test_synchronous_code_calls_async_tasks(ours):
    @entrypoint()
    def workflow(number):
        return returned(aadd(returned(add(number))))

    assert workflow.invoke(1) == 3


@pytest.mark.parametrize(
    "called, depth",
    [
        pytest.param(total, 2, id="total"),  # on Ray three wait, each in a process, for 2 CPUs
        pytest.param(total_in_threads, 4, id="total_in_threads"),
        pytest.param(atotal, 4, id="atotal"),
    ],
)
@pytest.mark.parametrize("bound", [None, 1])
def test_more_tasks_wait_than_can_run(ours, called, depth, bound):
    @entrypoint()
    def workflow(depth):
        return returned(called(depth))

    assert workflow.invoke(depth, {"max_concurrency": bound}) == 2**depth


def test_a_hundred_tasks_wait_for_a_hundred_others(ours):
    @task(ray_options={"placement": "thread"})
    def outer(number):
        return returned(aadd(number))

    @entrypoint()
    def workflow(count):
        return [returned(call) for call in [outer(number) for number in range(count)]]

    assert workflow.invoke(100) == [number + 1 for number in range(100)]


def test_calls_are_taken_in_the_order_of_the_code(ours):
    @entrypoint()
    def workflow(count):
        for call in [add(number) for number in range(count)]:
            returned(call)

    starts = [
        chunk["input"][0][0]
        for chunk in workflow.stream(50, stream_mode="tasks")
        if "input" in chunk and chunk["name"] == "add"
    ]
    assert starts == list(range(50))


def test_the_end_waits_for_calls_that_nobody_waited_for(ours, tmp_path):
    seen = tmp_path / "seen"

    @task
    def late(writer):
        eventually(seen.exists, "the update of the caller has arrived")
        writer("late")

    @entrypoint()
    def workflow(number):
        late()
        return number

    chunks = []
    for chunk in workflow.stream(3, stream_mode=["custom", "updates", "values"]):
        chunks.append(chunk)
        seen.touch()
    assert chunks == [
        ("updates", {"workflow": 3}),
        ("custom", "late"),
        ("updates", {"late": None}),
        ("values", 3),
    ]


def test_a_call_from_a_thread_of_the_code(ours):
    import contextvars
    import threading

    @entrypoint()
    def workflow(number):
        found = []
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(lambda: found.append(returned(add(number))),)
        )
        thread.start()
        thread.join()
        return found

    assert workflow.invoke(1) == [2]


class Scale:
    def __init__(self, by):
        self.by = by

    def apply(self, value):
        return value * self.by

    def __call__(self, value):
        return value * self.by


def three(a, b, c):
    return a, b, c


def test_whatever_can_be_called_is_a_task(ours):
    scale = Scale(3)
    tasks = {
        "apply": task(scale.apply),
        "renamed": task(scale.apply, name="renamed"),
        "Scale": task(scale),
        "three": task(functools.partial(three, 1, c=3)),
        "<lambda>": task(lambda value: value * 3),
    }

    @entrypoint()
    def workflow(value):
        return {name: returned(called(value)) for name, called in tasks.items()}

    chunks = list(workflow.stream(2))
    assert chunks[-1]["workflow"] == dict.fromkeys(tasks, 6) | {"three": (1, 2, 3)}
    assert [name for chunk in chunks for name in chunk] == [*tasks, "workflow"]
    assert scale.apply.__name__ == "apply"


def test_a_task_that_is_defined_in_the_entrypoint(ours):
    @entrypoint()
    def workflow(number):
        @task
        def local(value):
            return value + number

        return returned(local(10))

    assert [workflow.invoke(n) for n in (1, 2)] == [11, 12]


def test_parts_of_the_context_are_filled_in_unless_they_are_given(ours):
    @task
    def inject(value, writer, config, runtime, previous, store=None):
        writer(value)
        return config["metadata"]["langgraph_node"], runtime.execution_info.task_id[:0], previous

    @task
    def given(config, *, store):
        return config, store

    @entrypoint()
    def workflow(value, config, *, runtime, writer):
        writer(config["metadata"]["langgraph_node"])
        return [returned(inject(value)), returned(given("mine", store="own"))]

    chunks = list(workflow.stream(1, stream_mode=["custom", "values"]))
    assert chunks == [
        ("custom", "workflow"),
        ("custom", 1),
        ("values", [("inject", "", None), ("mine", "own")]),
    ]


def test_a_graph_in_a_task_streams_within_it(ours):
    from typing_extensions import TypedDict

    class State(TypedDict):
        value: int

    builder = ours.StateGraph(State).add_node("inc", lambda state: {"value": state["value"] + 1})
    graph = builder.add_edge(ours.START, "inc").compile()

    @task
    def run(value):
        return graph.invoke({"value": value})["value"]

    @entrypoint()
    def workflow(value):
        return returned(run(value))

    chunks = list(workflow.stream(1, subgraphs=True, stream_mode="updates"))
    assert [chunk for _, chunk in chunks] == [{"inc": {"value": 2}}, {"run": 2}, {"workflow": 2}]
    ((outer, inner), *_) = (ns for ns, _ in chunks)
    assert outer.startswith("workflow:") and inner.startswith("run:")


def test_a_node_of_a_graph_calls_tasks(ours):
    from typing_extensions import TypedDict

    class State(TypedDict):
        value: int

    def node(state):
        return {"value": returned(add(state["value"])) + returned(add(0))}

    async def anode(state):
        return {"value": await aadd(state["value"])}

    builder = ours.StateGraph(State).add_node("node", node).add_node("anode", anode)
    builder.add_edge(ours.START, "node").add_edge("node", "anode")
    graph = ours.compile(builder)
    assert list(graph.stream({"value": 1})) == [
        {"add": 2},
        {"add": 1},
        {"node": {"value": 3}},
        {"aadd": 4},
        {"anode": {"value": 4}},
    ]


def test_a_workflow_is_a_node_of_a_graph(ours):
    @entrypoint()
    def workflow(state):
        return {"value": returned(add(state["value"]))}

    from typing_extensions import TypedDict

    class State(TypedDict):
        value: int

    builder = ours.StateGraph(State).add_node("inner", workflow).add_edge(ours.START, "inner")
    graph = ours.compile(builder)
    assert graph.invoke({"value": 1}) == {"value": 2}
    assert [chunk for _, chunk in graph.stream({"value": 1}, subgraphs=True)] == [
        {"add": 2},
        {"workflow": {"value": 2}},
        {"inner": {"value": 2}},
    ]


def test_store_and_context_reach_the_tasks(ours):
    from dataclasses import dataclass

    from langgraph.store.memory import InMemoryStore

    from distgraph.config import get_store

    @dataclass
    class Context:
        user: str

    @task
    def remember(what, *, store, runtime):
        store.put((runtime.context.user,), "what", {"value": what})

    @task
    async def recall(user):
        return (await get_store().aget((user,), "what")).value

    store = InMemoryStore()

    @entrypoint(store=store, context_schema=Context)
    def workflow(what, *, runtime):
        returned(remember(what))
        return returned(recall(runtime.context.user))

    assert workflow.invoke("tea", context={"user": "ada"}) == {"value": "tea"}
    assert store.get(("ada",), "what").value == {"value": "tea"}


def test_leaving_the_stream_ends_tasks_that_wait(ours, tmp_path):
    @task
    def slow():
        (tmp_path / "started").touch()
        time.sleep(SECONDS if ours.name == "ray" else 0.5)

    @task
    def waits():
        return returned(slow())

    @entrypoint()
    def workflow(number):
        returned(waits())

    @entrypoint()
    def after(number):
        return [returned(call) for call in [process_of(), process_of()]]

    for chunk in workflow.stream(1, stream_mode="tasks"):
        if chunk["name"] == "slow":
            break
    assert len(after.invoke(1)) == 2


@pytest.mark.parametrize("how", ["cancel", "wait_for"])
def test_a_call_that_is_cancelled_ends(ours, how, tmp_path):
    started, ended = tmp_path / "started", tmp_path / "ended"

    @task
    async def slow():
        started.touch()
        try:
            await asyncio.sleep(SECONDS)
        finally:
            ended.touch()

    @entrypoint()
    async def workflow(number):
        call = slow()
        while not started.exists():
            await asyncio.sleep(0.01)
        if how == "cancel":
            call.cancel()
        else:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call, 0.01)
        return await add(number)

    assert list(workflow.stream(1)) == [{"add": 2}, {"workflow": 2}]
    eventually(ended.exists, "the call has ended")


def test_a_task_is_called_outside_of_a_run():
    with pytest.raises(RuntimeError, match="add"):
        add(1)
    assert add.func(1) == 2


@pytest.mark.parametrize("face", ["sync", "async"])
def test_leaving_the_stream_ends_the_tasks(ours, face, tmp_path):
    started, ended = tmp_path / "started", tmp_path / "ended"

    @task
    async def slow():
        started.touch()
        try:
            await asyncio.sleep(SECONDS)
        finally:
            ended.touch()

    @entrypoint()
    def workflow(number):
        call = slow()
        while not started.exists():
            time.sleep(0.01)
        add(number)  # its update is the first that the caller reads
        returned(call)

    if face == "sync":
        for _ in workflow.stream(1):
            break
    else:

        async def leave():
            async for _ in workflow.astream(1):
                break

        asyncio.run(leave())
    eventually(ended.exists, "the call has ended")
    assert workflow.name == "LangGraph"


def test_the_events_of_a_call_lie_between_those_of_its_caller(ours):
    @task
    def called(number):
        get_stream_writer()(("called", number, b"x" * 2_000_000))

    @entrypoint()
    def workflow(calls):
        writer = get_stream_writer()
        for number in range(calls):
            writer(("before", number, b"x" * 2_000_000))  # takes longer than the call
            returned(called(number))
            writer(("after", number, b""))

    chunks = [chunk[:2] for chunk in workflow.stream(20, stream_mode="custom")]
    assert chunks == [
        (place, number) for number in range(20) for place in ("before", "called", "after")
    ]
