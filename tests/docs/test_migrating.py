"""Both sides of the differences on ``docs/reference/langgraph-differences.md``."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypedDict

import pytest
from langgraph import config as their_config
from langgraph import graph as their_graph
from langgraph import types as their_types

from distgraph import config as own_config
from distgraph import graph as own_graph
from distgraph import types as own_types

SOON = 0.2
"""Seconds after which a node ends that is waited for."""


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]


class Names:
    """One library's names."""

    def __init__(self, graph: Any, config: Any, types: Any) -> None:
        self.StateGraph, self.START = graph.StateGraph, graph.START
        self.get_stream_writer, self.Send = config.get_stream_writer, types.Send

    def compiled(self, *nodes: Callable[..., Any], chain: bool = False) -> Any:
        """Return a graph whose nodes run at the same time or, as a chain, one by one."""
        builder = self.StateGraph(State)
        before = self.START
        for node in nodes:
            builder.add_node(node)
            builder.add_edge(before, node.__name__)
            before = node.__name__ if chain else before
        return builder.compile()


THEIRS = Names(their_graph, their_config, their_types)
OURS = Names(own_graph, own_config, own_types)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")


def check_lasts(call: Callable[[], Any], over: threading.Event, waits: bool) -> None:
    """Check whether a call waits for a node that waits for an event."""
    if waits:
        threading.Timer(SOON, over.set).start()
    call()
    assert over.is_set() is waits
    over.set()


def fails(state: State) -> None:
    raise LookupError("boom")


@pytest.mark.parametrize(("names", "waits"), [(THEIRS, True), (OURS, False)], ids=["their", "our"])
def test_a_failing_node_and_its_siblings(names: Names, waits: bool) -> None:
    over = threading.Event()

    def works(state: State) -> None:
        over.wait()

    def run() -> None:
        with pytest.raises(LookupError):
            names.compiled(works, fails).invoke({"items": []})

    check_lasts(run, over, waits)


@pytest.mark.parametrize(("names", "waits"), [(THEIRS, True), (OURS, False)], ids=["their", "our"])
def test_closing_a_stream(names: Names, waits: bool) -> None:
    over = threading.Event()

    def node(state: State) -> None:
        names.get_stream_writer()("here")
        over.wait()

    stream = names.compiled(node).stream({"items": []}, stream_mode="custom")
    assert next(stream) == "here"
    check_lasts(stream.close, over, waits)


@pytest.mark.parametrize(("names", "ahead"), [(THEIRS, False), (OURS, True)], ids=["their", "our"])
def test_the_next_step(names: Names, ahead: bool) -> None:
    began = threading.Event()

    def first(state: State) -> dict[str, Any]:
        return {"items": [1]}

    def second(state: State) -> None:
        began.set()

    stream = names.compiled(first, second, chain=True).stream({"items": []})
    next(stream)
    assert began.wait(60 if ahead else SOON) is ahead
    stream.close()


@pytest.mark.parametrize(
    ("names", "chunks"),
    [
        (THEIRS, [{"items": []}, {"node": None}]),
        (OURS, [("values", {"items": []}), ("updates", {"node": None})]),
    ],
    ids=["their", "our"],
)
def test_a_tuple_of_modes(names: Names, chunks: list[Any]) -> None:
    def node(state: State) -> None:
        """Writes nothing."""

    stream = names.compiled(node).stream({"items": []}, stream_mode=("values", "updates"))
    assert list(stream) == chunks


def test_what_langgraph_refuses_or_lets_pass() -> None:
    async def waits(state: State) -> None:
        """Waits for nothing."""

    with pytest.raises(TypeError, match="No synchronous function"):
        THEIRS.compiled(waits).invoke({"items": []})
    assert OURS.compiled(waits).invoke({"items": []}) == {"items": []}

    def writes_nothing(state: State) -> None:
        """Writes nothing."""

    assert list(THEIRS.compiled(writes_nothing).stream({"items": []}, stream_mode="valuse")) == []
    with pytest.raises(ValueError, match="valuse"):
        OURS.compiled(writes_nothing).stream({"items": []}, stream_mode="valuse")


@pytest.mark.parametrize(
    ("names", "told"), [(THEIRS, []), (OURS, [{"node": {"items": 1}}])], ids=["their", "our"]
)
def test_the_update_that_a_reducer_refuses(names: Names, told: list[Any]) -> None:
    def node(state: State) -> dict[str, Any]:
        return {"items": 1}

    chunks: list[Any] = []
    with pytest.raises(TypeError):
        for chunk in names.compiled(node).stream({"items": []}, stream_mode="updates"):
            chunks.append(chunk)
    assert chunks == told


def test_a_list_of_sends_as_a_return_value() -> None:
    def graph(names: Names) -> Any:
        def node(state: State) -> list[Any]:
            return [names.Send("other", {"items": []})]

        def other(state: State) -> dict[str, Any]:
            return {"items": ["other"]}

        builder = names.StateGraph(State).add_node(node).add_node(other)
        return builder.add_edge(names.START, "node").compile()

    assert graph(OURS).invoke({"items": []}) == {"items": ["other"]}
    with pytest.raises(Exception, match="Expected dict"):
        graph(THEIRS).invoke({"items": []})


@pytest.mark.parametrize(
    ("names", "kept"), [(THEIRS, (["partial"], ())), (OURS, ([], ("node",)))], ids=["LG", "ours"]
)
def test_a_value_that_a_cancelled_node_returns(names: Names, kept: Any) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    async def main() -> None:
        started = asyncio.Event()

        async def node(state: Any) -> Any:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return {"items": ["partial"]}

        builder = names.StateGraph(State).add_node(node).add_edge(names.START, "node")
        graph = builder.compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        task = asyncio.create_task(graph.ainvoke({"items": []}, config))
        await started.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        state = await graph.aget_state(config)
        assert (state.values["items"], state.next) == kept

    asyncio.run(main())
