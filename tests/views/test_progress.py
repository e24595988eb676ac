"""``progress`` around streams: the caller's chunks stay the same, and the run is known."""

from __future__ import annotations

import asyncio
import io
import operator
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Annotated, Any, TypedDict

import pytest

import distgraph
from distgraph.config import get_stream_writer
from distgraph.graph import START, StateGraph
from distgraph.types import RetryPolicy, Send

MODES = ["values", "updates", "custom", "tasks", "debug", "messages"]


class State(TypedDict, total=False):
    words: list[str]
    lengths: Annotated[list[int], operator.add]


def spread(state: State) -> list[Send]:
    return [Send("measure", word) for word in state["words"]]


def measure(word: str) -> dict[str, list[int]]:
    get_stream_writer()(word)
    return {"lengths": [len(word)]}


def total(state: State) -> dict[str, list[int]]:
    return {"lengths": [sum(state["lengths"])]}


def graph(backend: str = "local") -> Any:
    builder = StateGraph(State).add_node(measure).add_node(total)
    builder.add_conditional_edges(START, spread, ["measure"])
    return builder.add_edge("measure", "total").compile(backend=backend, name="lengths")


def _same(chunk: Any) -> str:
    """Return a chunk without what differs between two runs."""
    text = repr(chunk)
    return text[: text.index("timestamp")] if "timestamp" in text else text


@pytest.mark.parametrize("modes", ["updates", MODES], ids=["one", "several"])
@pytest.mark.parametrize("subgraphs", [False, True])
def test_the_chunks_are_the_same_with_and_without_a_view(modes: Any, subgraphs: bool) -> None:
    config = {"run_id": "0f5f1f1e-0000-4000-8000-000000000001"}
    options = {"stream_mode": modes, "subgraphs": subgraphs}
    given = {"words": ["one"]}
    plain = list(graph().stream(given, config, **options))
    shown = distgraph.progress(graph().stream(given, config, **options), view="none")
    assert [_same(chunk) for chunk in shown] == [_same(chunk) for chunk in plain]


def test_the_attempts_of_a_run_are_known(backend: str) -> None:
    run = distgraph.progress(
        graph(backend).stream({"words": ["one", "three"]}, stream_mode="values"), view="none"
    )
    assert list(run)[-1]["lengths"] == [3, 5, 8]
    found = [(a.label, a.step, a.number, a.status) for a in run.attempts]
    assert sorted(found) == [
        ("__start__", 0, 1, "ok"),
        ("measure", 1, 1, "ok"),
        ("measure", 1, 1, "ok"),
        ("total", 2, 1, "ok"),
    ]
    for attempt in run.attempts:
        assert attempt.pid > 0 and attempt.host
        assert attempt.started_at is not None and attempt.ended_at is not None
        assert attempt.queued_at <= attempt.started_at <= attempt.ended_at
    end = run.snapshot()
    assert [(row.label, row.done, row.total) for row in end.nodes] == [
        ("measure", 2, 2),
        ("total", 1, 1),
    ]
    assert (end.status, end.waits, end.machines) == ("done", (), 1)
    bars = [bar.label for row in distgraph.timeline(run).rows for bar in row.bars]
    assert sorted(bars) == ["__start__", "measure", "measure", "total"]


def test_an_async_stream_is_watched_alike(backend: str) -> None:
    async def follow() -> tuple[list[Any], Any]:
        run = distgraph.progress(graph(backend).astream({"words": ["one"]}), view="none")
        return [chunk async for chunk in run], run.snapshot()

    chunks, end = asyncio.run(follow())
    assert chunks == [{"measure": {"lengths": [3]}}, {"total": {"lengths": [3]}}]
    assert [(row.label, row.state) for row in end.nodes] == [("measure", "done"), ("total", "done")]


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_traceback_shows_the_caller_s_line_and_the_node_s(face: str) -> None:
    def broken(state: State) -> None:
        raise ValueError("no")

    built = StateGraph(State).add_node(broken).add_edge(START, "broken").compile(backend="local")

    async def follow() -> None:
        async for _ in distgraph.progress(built.astream({"words": []}), view="none"):
            pass

    def read() -> None:
        if face == "async":
            asyncio.run(follow())
        for _ in distgraph.progress(built.stream({"words": []}), view="none"):
            pass

    with pytest.raises(ValueError) as caught:
        read()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    shown = [f for f in frames if "distgraph" in f.f_globals["__name__"]]
    assert [f.f_code.co_name for f in shown if "__tracebackhide__" not in f.f_locals] == []
    assert frames[-1].f_code.co_name == "broken"


def test_a_timeline_of_a_running_run_has_what_runs() -> None:
    gate, begun = threading.Event(), threading.Event()

    def wait(state: State) -> None:
        begun.set()
        gate.wait()

    waiting = StateGraph(State).add_node(wait).add_edge(START, "wait").compile(backend="local")
    run = distgraph.progress(waiting.stream({"words": []}, stream_mode="values"), view="none")
    reader = threading.Thread(target=lambda: list(run))
    reader.start()
    try:
        begun.wait()
        while not any(a.status == "running" for a in run.attempts):
            threading.Event().wait(0.01)  # the event is on its way to the reader
        ((bar,),) = [row.bars for row in run.timeline().rows]
        assert (bar.label, bar.status) == ("wait", "running")
    finally:
        gate.set()
        reader.join()
    assert [row.state for row in run.snapshot().nodes] == ["done"]


def test_a_retry_is_reported_with_the_error_and_its_delay() -> None:
    tries: list[int] = []

    def flaky(state: State) -> None:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("refused")

    policy = RetryPolicy(initial_interval=0.01, jitter=False)
    flaky_graph = (
        StateGraph(State).add_node(flaky, retry_policy=policy).add_edge(START, "flaky")
    ).compile(backend="local")
    run = distgraph.progress(flaky_graph.stream({"words": []}), view="none")
    assert list(run) == [{"flaky": None}]
    assert [(a.number, a.status, a.error) for a in run.attempts] == [
        (1, "error", "ConnectionError: refused"),
        (2, "ok", ""),
    ]
    assert run.snapshot().retries == 1


def test_nodes_of_subgraphs_are_known_though_the_caller_does_not_stream_them() -> None:
    inner = StateGraph(State).add_node(total).add_edge(START, "total").compile()
    outer = StateGraph(State).add_node("child", inner).add_edge(START, "child")
    run = distgraph.progress(
        outer.compile(backend="local").stream({"lengths": [1]}, stream_mode="updates"), view="none"
    )
    assert [list(chunk) for chunk in run] == [["child"]]
    assert [row.label for row in run.snapshot().nodes] == ["child/total"]


def test_leaving_the_loop_cancels_the_run_and_ends_the_view() -> None:
    out = io.StringIO()
    stream = graph().stream({"words": ["one", "two"]})
    with closing(distgraph.progress(stream, view="lines", file=out)) as run:
        for _ in run:
            break
    assert list(stream) == []
    assert run.snapshot().status == "cancelled"
    assert "] cancelled in " in out.getvalue().splitlines()[-1]


def test_an_error_of_a_node_passes_through_and_the_view_says_so() -> None:
    def fail(state: State) -> None:
        raise ValueError("no")

    out = io.StringIO()
    failing = StateGraph(State).add_node(fail).add_edge(START, "fail").compile(backend="local")
    with pytest.raises(ValueError, match=r"^no"):
        list(distgraph.progress(failing.stream({"words": []}), view="lines", file=out))
    lines = [line.split("] ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines[1].startswith("fail: 0 of 1 done in ") and lines[1].endswith(", 1 failed")
    assert lines[-1].startswith("error in ")


def test_tokens_are_counted_and_their_text_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    models = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    messages = pytest.importorskip("langchain_core.messages")

    def talk(state: State) -> None:
        said = [messages.AIMessage("Cats never queue.")]
        models.GenericFakeChatModel(messages=iter(said)).invoke("x")

    talking = StateGraph(State).add_node(talk).add_edge(START, "talk").compile(backend="local")
    stream = talking.stream({"words": []}, stream_mode="messages")
    run = distgraph.progress(stream, view="lines", text=True, file=io.StringIO())
    tokens = list(run)
    assert capsys.readouterr().out == "Cats never queue.\n"
    assert (run.snapshot().tokens, run.snapshot().text) == (len(tokens), "Cats never queue.")


def test_any_iterable_passes_through() -> None:
    out = io.StringIO()
    assert list(distgraph.progress([1, 2], view="lines", file=out)) == [1, 2]
    assert out.getvalue().splitlines()[0] == "[   0.0 s] list"

    async def numbers() -> Any:
        yield 1
        yield 2

    async def follow() -> list[Any]:
        return [n async for n in distgraph.progress(numbers(), view="none")]

    assert asyncio.run(follow()) == [1, 2]


def test_a_run_is_watched_once_and_before_it_starts() -> None:
    stream = graph().stream({"words": ["one"]})
    distgraph.progress(stream, view="none")
    with pytest.raises(RuntimeError, match="is watched already: pass the stream to distgraph"):
        distgraph.progress(stream, view="none")
    begun = graph().stream({"words": ["one"]})
    next(begun)
    with pytest.raises(RuntimeError, match="has started: pass the stream to distgraph.progress"):
        distgraph.progress(begun, view="none")
    begun.close()


def test_an_unknown_view_is_refused() -> None:
    view: Any = "window"
    with pytest.raises(ValueError, match="unknown view 'window': choose from auto, terminal, no"):
        distgraph.progress([], view=view)


# --- streams as such ------------------------------------------------------------------------------


def _generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("method", ["send", "throw", "close"])
def test_a_stream_has_the_methods_of_a_generator(method: str) -> None:
    assert callable(getattr(_generator(), method))
    assert callable(getattr(graph().stream({"words": ["one"]}), method))


class Count(TypedDict):
    n: int


def counting() -> Any:
    """A graph of nine steps."""
    builder = StateGraph(Count).add_node("step", lambda state: {"n": state["n"] + 1})
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["n"] < 9 else "__end__")
    return builder.compile(backend="local")


def test_a_run_is_cancelled_when_nobody_iterates_over_its_view_any_more() -> None:
    shown = io.StringIO()
    for _ in distgraph.progress(counting().stream({"n": 0}), view="lines", file=shown):
        break
    assert "] cancelled in" in shown.getvalue()


def test_a_stream_that_was_never_read_is_closed_without_a_run() -> None:
    stream = graph().stream({"words": ["one"]})
    stream.close()
    assert list(stream) == []


def test_an_exception_thrown_into_a_stream_ends_its_run() -> None:
    stream: Any = graph().stream({"words": ["one", "two"]})
    next(stream)
    with pytest.raises(KeyError):
        stream.throw(KeyError("x"))
    assert list(stream) == []


def test_a_stream_of_a_node_inside_a_watched_run_keeps_its_chunks() -> None:
    inner = graph()

    def outer(state: State) -> dict[str, list[int]]:
        chunks: Callable[..., Any] = inner.stream
        assert [list(c) for c in chunks({"words": ["one"]})] == [["measure"], ["total"]]
        return {"lengths": [1]}

    around = StateGraph(State).add_node(outer).add_edge(START, "outer").compile(backend="local")
    run = distgraph.progress(around.stream({"words": []}, subgraphs=True), view="none")
    chunks = list(run)
    assert chunks[-1] == ((), {"outer": {"lengths": [1]}})
    assert [row.label for row in run.snapshot().nodes] == ["outer"]


def test_calls_of_tools_are_shown_by_the_names_of_the_tools() -> None:
    agents = pytest.importorskip("langchain.agents", reason="langchain is not installed")
    fakes = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    messages = pytest.importorskip("langchain_core.messages")

    class Model(fakes.GenericFakeChatModel):  # type: ignore[misc, name-defined]
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            return self

    def look(at: str) -> str:
        """Look."""
        return at

    calls = [
        {"name": "look", "args": {"at": at}, "id": at, "type": "tool_call"} for at in ("x", "y")
    ]
    said = [messages.AIMessage("", tool_calls=calls), messages.AIMessage("Seen.")]
    agent = agents.create_agent(Model(messages=iter(said)), [look])
    graph = distgraph.distribute(agent, backend="local")
    run = distgraph.progress(graph.stream({"messages": [("user", "look")]}), view="none")
    assert len(list(run)) == 4
    rows = [(row.label, row.node, row.total, row.done) for row in run.snapshot().nodes]
    assert rows == [("model", "model", 2, 2), ("tools/look", "tools", 2, 2)]
