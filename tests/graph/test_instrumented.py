"""Instrumentations that replace methods of LangGraph's ``Pregel`` see the runs of distgraph."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import pytest
from langgraph.graph import StateGraph as TheirGraph
from langgraph.pregel import Pregel

import distgraph
from distgraph.graph import START, StateGraph

wrapt: Any = pytest.importorskip("wrapt", reason="instrumentations use the package wrapt")

NAMES = ("stream", "astream", "invoke", "ainvoke")


class State(TypedDict, total=False):
    a: int


def one(state: State) -> State:
    if state["a"] < 0:
        raise ValueError("negative")
    return {"a": state["a"] + 1}


def built(builder: Any) -> Any:
    return builder(State).add_node("one", one).add_edge(START, "one")


def theirs() -> Any:
    return built(TheirGraph).compile()


def ours() -> Any:
    return built(StateGraph).compile(backend="local", name="LangGraph")


def distributed() -> Any:
    return distgraph.distribute(theirs(), backend="local")


Told = list[tuple[Any, ...]]


def by_wrapt(name: str, told: Told) -> Any:
    def around(wrapped: Any, graph: Any, args: Any, kwargs: Any) -> Any:
        told.append((name, graph.get_name(), args[0], sorted(kwargs)))
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(vars(Pregel)[name], around)


def by_closure(name: str, told: Told) -> Any:
    method = vars(Pregel)[name]
    if name in ("invoke", "ainvoke"):

        @functools.wraps(method)
        def around(graph: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
            told.append((name, graph.get_name(), input, sorted(kwargs)))
            return method(graph, input, *args, **kwargs)

        return around
    if name == "stream":

        @functools.wraps(method)
        def stream(graph: Any, input: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            told.append((name, graph.get_name(), input, sorted(kwargs)))
            try:
                yield from method(graph, input, *args, **kwargs)
            except ValueError as error:
                told.append((name, str(error)))
                raise
            finally:
                told.append((name, "ended"))

        return stream

    @functools.wraps(method)
    async def astream(graph: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        told.append((name, graph.get_name(), input, sorted(kwargs)))
        try:
            async for chunk in method(graph, input, *args, **kwargs):
                yield chunk
        finally:
            told.append((name, "ended"))

    return astream


@pytest.fixture(params=[by_wrapt, by_closure])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the wrappers of each method were called with; ``stream`` is wrapped twice."""
    found: Told = []
    for name in (*NAMES, "stream"):
        monkeypatch.setattr(Pregel, name, request.param(name, found))
    return found


def called(told: Told, graph: Any, how: Callable[[Any], Any]) -> Any:
    told.clear()
    try:
        result = how(graph)
    except ValueError as error:
        result = str(error)
    # LangGraph's invoke passes what it was called with on to stream, with options of its own
    return result, [(call[0], *call[1:3]) for call in told]


async def first(graph: Any) -> Any:
    stream = graph.astream({"a": 1})
    chunk = await anext(stream)
    await stream.aclose()
    return chunk


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda graph: graph.invoke({"a": 1}),
    "ainvoke": lambda graph: asyncio.run(graph.ainvoke({"a": 1}, {"tags": ["t"]})),
    "stream": lambda graph: list(graph.stream({"a": 1}, stream_mode="values")),
    "astream": lambda graph: asyncio.run(first(graph)),
    "error": lambda graph: graph.invoke({"a": -1}),
    "error of a stream": lambda graph: list(graph.stream({"a": -1})),
    "batch": lambda graph: graph.batch([{"a": 1}], {"max_concurrency": 1}),
    "a stream that nobody reads": lambda graph: type(graph.stream({"a": 1})).__name__ and None,
}


@pytest.mark.parametrize("make", [ours, distributed])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_passes_through_the_wrappers_as_in_langgraph(
    way: str, make: Callable[[], Any], told: Told
) -> None:
    expected = called(told, theirs(), WAYS[way])
    if way == "a stream that nobody reads":  # here a run and what surrounds it start when read
        expected = (None, [])
    else:
        assert expected[1][0][0] in NAMES
    assert called(told, make(), WAYS[way]) == expected


def test_a_wrapper_may_change_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    def tagged(wrapped: Any, graph: Any, args: Any, kwargs: Any) -> Any:
        return wrapped({"a": 10}, *args[1:], **{**kwargs, "stream_mode": "values"})

    monkeypatch.setattr(Pregel, "stream", wrapt.FunctionWrapper(vars(Pregel)["stream"], tagged))
    assert list(ours().stream({"a": 1})) == [{"a": 10}, {"a": 11}]


def test_a_replaced_method_that_holds_no_other_is_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Pregel, "stream", lambda graph, input, **options: iter(()))
    assert list(ours().stream({"a": 1})) == [{"one": {"a": 2}}]
    assert [record.getMessage() for record in caplog.records] == [
        f"Pregel.stream of LangGraph was replaced by a function of {__name__!r}, which runs of "
        "distgraph do not call: it is neither a wrapper of the package wrapt nor a function with "
        "functools.wraps whose closure holds the method"
    ]


def test_the_stream_of_an_instrumented_process_can_be_watched(told: Told) -> None:
    stream: Any = ours().stream({"a": 1})
    seen: list[Any] = []
    stream.watch(lambda event: seen.append(event.mode))
    assert list(stream) == [{"one": {"a": 2}}]
    assert "updates" in seen
    assert stream.run_id
