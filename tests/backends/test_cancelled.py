"""A cancelled caller continues when its coroutines and checkpoints have ended, as on LangGraph."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.graph import START, StateGraph
from distgraph.runtime import RunControl
from distgraph.types import TimeoutPolicy
from tests.support.graphs import Items

CONFIG = {"configurable": {"thread_id": "1"}}


class Story:
    """What happened, in order, and a node that cleans up when it is cancelled."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.started = asyncio.Event()
        self.saving = asyncio.Event()

    async def node(self, state: Any) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0.01)
            self.told.append("cleaned up")
            raise

    def graph(self, saver: Any = None, **options: Any) -> Any:
        builder = StateGraph(Items).add_node("first", first)
        builder.add_node("node", self.node, **options)
        builder.add_edge(START, "first").add_edge("first", "node")
        return builder.compile(checkpointer=saver, backend="local")


async def first(state: Any) -> Any:
    return {"items": ["first"]}


class SlowSaver(InMemorySaver):
    """Takes its time for each checkpoint."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.story = story
        self.begun = 0
        self.ended = 0

    async def aput(self, *args: Any) -> Any:
        self.begun += 1
        await asyncio.sleep(0.05)
        saved = await super().aput(*args)
        self.ended += 1
        return saved


async def cancelled_task(story: Story, graph: Any) -> None:
    task = asyncio.create_task(graph.ainvoke({"items": []}, CONFIG))
    await story.started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def cancelled_reader(story: Story, graph: Any) -> None:
    async def read() -> None:
        async for _ in graph.astream({"items": []}, CONFIG):
            pass

    task = asyncio.create_task(read())
    await story.started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def waited_for(story: Story, graph: Any) -> None:
    call = asyncio.ensure_future(graph.ainvoke({"items": []}, CONFIG))
    await story.started.wait()
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(call, 0.05)


async def closed(story: Story, graph: Any) -> None:
    stream = graph.astream({"items": []}, CONFIG)
    await stream.__anext__()
    await story.started.wait()
    await stream.aclose()


async def drained_and_cancelled(story: Story, graph: Any) -> None:
    control = RunControl()
    task = asyncio.create_task(graph.ainvoke({"items": []}, CONFIG, control=control))
    await story.started.wait()
    control.request_drain("stop")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def called_in_a_node(story: Story, graph: Any) -> None:
    async def outer(state: Any) -> Any:
        return await graph.ainvoke({"items": []})

    builder = StateGraph(Items).add_node("outer", outer).add_edge(START, "outer")
    await cancelled_task(story, builder.compile(backend="local"))


async def added_as_a_node(story: Story, graph: Any) -> None:
    builder = StateGraph(Items).add_node("outer", graph).add_edge(START, "outer")
    await cancelled_task(story, builder.compile(backend="local"))


async def too_slow_a_step(story: Story, graph: Any) -> None:
    graph.step_timeout = 0.3
    with pytest.raises(TimeoutError):
        await graph.ainvoke({"items": []}, CONFIG)


async def failed_beside(story: Story, graph: Any) -> None:
    async def fails(state: Any) -> None:
        await story.started.wait()
        raise KeyError("why")

    builder = StateGraph(Items).add_node("node", story.node).add_node("fails", fails)
    builder.add_edge(START, "node").add_edge(START, "fails")
    with pytest.raises(KeyError):
        await builder.compile(backend="local").ainvoke({"items": []})


LEAVING = [cancelled_task, cancelled_reader, waited_for, closed, drained_and_cancelled]
ENDING = [too_slow_a_step, failed_beside]
leaving = pytest.mark.parametrize("leave", LEAVING, ids=lambda f: f.__name__)
Leave = Callable[[Story, Any], Awaitable[None]]


@pytest.mark.parametrize("leave", [*LEAVING, *ENDING, called_in_a_node, added_as_a_node])
def test_the_caller_continues_when_its_coroutines_have_cleaned_up(leave: Leave) -> None:
    async def main() -> None:
        story = Story()
        await leave(story, story.graph())
        assert story.told == ["cleaned up"]

    asyncio.run(main())


@leaving
def test_checkpoints_in_progress_are_saved_when_the_caller_continues(leave: Leave) -> None:
    async def main() -> None:
        story = Story()
        saver = SlowSaver(story)
        graph = story.graph(saver)
        await leave(story, graph)
        assert story.told == ["cleaned up"]
        assert saver.begun == saver.ended > 0
        state = await graph.aget_state(CONFIG)
        assert (state.values, state.next) == ({"items": ["first"]}, ("node",))
        before = saver.begun
        await asyncio.sleep(0.1)
        assert saver.begun == before

    asyncio.run(main())


def test_a_node_with_a_limit_of_time_cleans_up_too() -> None:
    async def main() -> None:
        story = Story()
        await cancelled_task(story, story.graph(timeout=TimeoutPolicy(run_timeout=60)))
        assert story.told == ["cleaned up"]

    asyncio.run(main())


def as_it_is(builder: Any) -> Any:
    return builder


def awaited_in_a_node(builder: Any) -> Any:
    graph = builder.compile()

    async def outer(state: Any) -> Any:
        return await graph.ainvoke({"items": []})

    return StateGraph(Items).add_node("outer", outer).add_edge(START, "outer")


def as_a_node(builder: Any) -> Any:
    return StateGraph(Items).add_node("outer", builder.compile()).add_edge(START, "outer")


@pytest.mark.parametrize("around", [as_it_is, awaited_in_a_node, as_a_node])
def test_a_second_cancel_reaches_the_cleanup_and_the_caller_waits_for_the_rest_of_it(
    around: Callable[[Any], Any],
) -> None:
    async def main() -> None:
        told: list[str] = []
        reached, cleaning = asyncio.Event(), asyncio.Event()

        async def node(state: Any) -> None:
            reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaning.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    for _ in range(5):
                        await asyncio.sleep(0.01)
                    told.append("cleaned up")

        builder = StateGraph(Items).add_node("node", node).add_edge(START, "node")
        graph = around(builder).compile(backend="local")
        task = asyncio.create_task(graph.ainvoke({"items": []}))
        await reached.wait()
        task.cancel()
        await cleaning.wait()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["cleaned up"]

    asyncio.run(main())


def test_a_run_that_has_ended_is_left_at_once() -> None:
    async def main() -> None:
        builder = StateGraph(Items).add_node("first", first).add_edge(START, "first")
        stream = builder.compile(backend="local").astream({"items": []})
        assert [chunk async for chunk in stream] == [{"first": {"items": ["first"]}}]
        await stream.aclose()

    asyncio.run(main())
