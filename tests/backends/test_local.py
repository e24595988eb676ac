"""The backend that runs everything in this process: who waits for whom, and that nobody hangs."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import operator
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from distgraph.backends import local, local_stream, local_workers
from distgraph.backends.base import END_MODE, RunPlan
from distgraph.backends.local import LocalBackend, LocalRun
from distgraph.concurrency.timers import Timers
from distgraph.contract.attempt import RunInfo, SharedRunOptions
from distgraph.contract.events import RunOptions
from distgraph.contract.stream import StreamRequest
from distgraph.errors import InvalidUpdateError, NodeCancelledError, RunCancelled
from distgraph.graph import END, START, StateGraph
from distgraph.runtime import Runtime
from distgraph.streaming.log import RunLog
from distgraph.types import Command, RetryPolicy
from tests.support.cluster import eventually

WAIT = 60.0
"""Seconds after which a test gives up on an event."""


def append(left: list[Any], right: list[Any]) -> list[Any]:
    if right == ["exit"]:
        sys.exit(3)
    return left + right


class State(TypedDict, total=False):
    items: Annotated[list[Any], append]


class Anything(TypedDict, total=False):
    value: Any


def graph(*nodes: Callable[..., Any], schema: Any = State, **compiling: Any) -> Any:
    """A graph of nodes side by side, named after their functions."""
    made = StateGraph(schema)
    for node in nodes:
        made.add_node(node.__name__, node).add_edge(START, node.__name__)
    return made.compile(backend="local", **compiling)


def named(name: str, node: Callable[..., Any]) -> Callable[..., Any]:
    node.__name__ = name
    return node


class Gate:
    """Where nodes wait until they are let go, and tests until a node has come."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.left = threading.Event()

    def node(self, state: Any, writer: Any) -> Any:
        writer("before")
        self.reached.set()
        assert self.opened.wait(WAIT)
        try:
            writer("after")
        finally:
            self.left.set()
        return {"items": ["gate"]}


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def start(compiled: Any, value: Any, *modes: str, **info: Any) -> LocalRun:
    """Start a run without the caller's iterator."""
    shared = SharedRunOptions("run", StreamRequest(frozenset(modes)), recursion_limit=25)
    options = RunOptions(shared, want_output=True)
    plan = RunPlan(compiled, value, options, RunInfo(shared, **info))
    return LocalBackend().start(plan, is_async=False)


def read_all(run: LocalRun) -> list[Any]:
    events: list[Any] = []
    while not events or events[-1].mode != END_MODE:
        events += run.read()
    return events


# --- leaving early --------------------------------------------------------------------------------


def test_break_cancels_the_run_and_a_late_writer_raises(gate: Gate) -> None:
    errors = []

    def node(state, writer):
        try:
            return gate.node(state, writer)
        except RunCancelled as error:
            errors.append(str(error))
            raise

    stream = graph(node).stream({"items": []}, stream_mode="custom")
    for chunk in stream:
        assert chunk == "before"
        break
    stream.close()
    gate.opened.set()
    assert gate.left.wait(WAIT)
    (text,) = errors
    assert "'node'" in text and "'custom'" in text


def test_closing_does_not_wait_for_a_node_at_work(gate: Gate) -> None:
    stream = graph(named("gate", lambda state, writer: gate.node(state, writer))).stream(
        {"items": []}, stream_mode="custom"
    )
    assert next(stream) == "before"
    stream.close()  # for ever, if it waited
    assert not gate.left.is_set()


def test_an_exception_in_the_loop_cancels_the_run(gate: Gate) -> None:
    def looking() -> None:
        for _ in graph(named("g", lambda s, writer: gate.node(s, writer))).stream(
            {"items": []}, stream_mode="custom"
        ):
            raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        looking()
    gc.collect()
    gate.opened.set()
    assert gate.left.wait(WAIT)


def test_no_step_follows_the_one_that_was_left(gate: Gate) -> None:
    ran = threading.Event()

    def node(state, writer):
        try:
            gate.node(state, writer)
        except RunCancelled:
            return {"items": ["anyway"]}

    def after(state):
        ran.set()

    made = StateGraph(State).add_node(node).add_node(after)
    made.add_edge(START, "node").add_edge("node", "after")
    stream = made.compile(backend="local").stream({"items": []}, stream_mode="custom")
    next(stream)
    stream.close()
    gate.opened.set()
    assert gate.left.wait(WAIT)
    assert not ran.wait(0.05)


def test_aclose_cancels_coroutines_where_they_wait() -> None:
    ended = []

    async def node(state, writer):
        writer("before")
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        stream = graph(node).astream({"items": []}, stream_mode="custom")
        assert await stream.__anext__() == "before"
        await stream.aclose()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ended == ["cancelled"]

    asyncio.run(main())


def test_cancelling_the_caller_s_task_cancels_its_run() -> None:
    ended = []

    async def main() -> None:
        reached = asyncio.Event()

        async def node(state):
            reached.set()
            try:
                await asyncio.sleep(WAIT)
            finally:
                ended.append("left")

        caller = asyncio.create_task(graph(node).ainvoke({"items": []}))
        await reached.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ended == ["left"]

    asyncio.run(main())


def test_a_coroutine_of_a_run_that_was_left_is_cancelled_on_the_background_loop() -> None:
    ended = threading.Event()

    async def node(state, writer):
        writer("before")
        try:
            await asyncio.sleep(WAIT)
        finally:
            ended.set()

    stream = graph(node).stream({"items": []}, stream_mode="custom")
    next(stream)
    stream.close()
    assert ended.wait(WAIT)


def test_closing_twice_and_behind_the_end_does_nothing() -> None:
    run = start(graph(named("a", lambda s: {"items": ["a"]})), {"items": []})
    events = read_all(run)
    run.close()
    run.close()
    assert events[-1].payload["status"] == "done"
    other = start(graph(named("a", lambda s: {"items": ["a"]})), {"items": []})
    other.close()
    other.close()
    assert read_all(other)[-1].payload["status"] in ("cancelled", "done")


# --- loops and threads ----------------------------------------------------------------------------


def test_async_nodes_run_on_the_caller_s_loop() -> None:
    seen: list[Any] = []

    async def node(state):
        seen.append(asyncio.get_running_loop())

    async def main() -> None:
        await graph(node).ainvoke({"items": []})
        assert seen == [asyncio.get_running_loop()]

    asyncio.run(main())


def test_async_nodes_of_a_synchronous_caller_share_a_loop_in_the_background() -> None:
    seen: list[Any] = []

    async def node(state):
        seen.append((asyncio.get_running_loop(), threading.current_thread()))

    graph(node).invoke({"items": []})
    graph(node).invoke({"items": []})
    assert seen[0] == seen[1]
    assert seen[0][1] is not threading.current_thread() and seen[0][1].daemon


def test_synchronous_nodes_do_not_block_the_caller_s_loop() -> None:
    ticked = threading.Event()

    def node(state):
        assert ticked.wait(WAIT)
        return {"items": ["node"]}

    async def main() -> Any:
        asyncio.get_running_loop().call_later(0.01, ticked.set)
        return await graph(node).ainvoke({"items": []})

    assert asyncio.run(main()) == {"items": ["node"]}


def test_synchronous_nodes_of_a_step_run_side_by_side() -> None:
    barrier = threading.Barrier(20)

    def node(state):
        barrier.wait(WAIT)

    made = StateGraph(State)
    for i in range(20):
        made.add_node(f"n{i}", node).add_edge(START, f"n{i}")
    made.compile(backend="local").invoke({"items": []})


def test_a_thousand_coroutines_wait_at_once() -> None:
    at_once, peak = 0, 0

    async def node(state):
        nonlocal at_once, peak
        at_once += 1
        peak = max(peak, at_once)
        while peak < 200:
            await asyncio.sleep(0)
        at_once -= 1

    made = StateGraph(State)
    for i in range(200):
        made.add_node(f"n{i}", node).add_edge(START, f"n{i}")
    made.compile(backend="local").invoke({"items": []})
    assert peak == 200


@pytest.mark.parametrize("bound", [1, 2, 3])
@pytest.mark.parametrize("kind", ["sync", "async", "mixed"])
def test_no_more_nodes_are_at_work_than_max_concurrency(bound: int, kind: str) -> None:
    lock, at_once, peak = threading.Lock(), 0, 0

    def enter(change: int) -> None:
        nonlocal at_once, peak
        with lock:
            at_once += change
            peak = max(peak, at_once)

    def plain(state):
        enter(1)
        time.sleep(0.002)
        enter(-1)

    async def coroutine(state):
        enter(1)
        await asyncio.sleep(0.002)
        enter(-1)

    made = StateGraph(State)
    for i in range(8):
        is_async = kind == "async" or (kind == "mixed" and i % 2)
        made.add_node(f"n{i}", coroutine if is_async else plain).add_edge(START, f"n{i}")
    made.compile(backend="local").invoke({"items": []}, {"max_concurrency": bound})
    assert peak == bound


# --- siblings of a node that leaves its graph -----------------------------------------------------


def leaving(*siblings: tuple[str, Any], leave: Any, after: Any = None) -> Any:
    """A subgraph one node of which leads the graph around it on."""
    child = StateGraph(State).add_node("leave", leave).add_edge(START, "leave")
    for name, node in siblings:
        child.add_node(name, node).add_edge(START, name)
    made = (
        StateGraph(State).add_node("child", child.compile(backend="local")).add_edge(START, "child")
    )
    made.add_node("target", after or (lambda state: {"items": ["target"]}))
    return made.compile(backend="local")


def leave(state: Any) -> Any:
    return Command(graph=Command.PARENT, goto="target")


def test_what_waits_for_a_slot_and_is_cancelled_never_runs() -> None:
    ran = []
    compiled = leaving(("sibling", lambda state: ran.append(1)), leave=leave)
    assert compiled.invoke({"items": []}, {"max_concurrency": 1}) == {"items": ["target"]}
    assert ran == []


def test_a_coroutine_that_is_cancelled_before_it_begins_gives_its_slot_back() -> None:
    held, barrier = threading.Event(), threading.Barrier(2)
    ran = []

    async def sibling(state):
        ran.append("sibling")

    def target(state):
        held.set()
        return Command(goto=["p", "q"])

    def both(state):
        barrier.wait(WAIT)
        return {"items": ["both"]}

    child = StateGraph(State).add_node(leave).add_node(sibling)
    child.add_edge(START, "leave").add_edge(START, "sibling")
    made = StateGraph(State).add_node("child", child.compile(backend="local")).add_node(target)
    made.add_node("p", both).add_node("q", both).add_edge(START, "child")
    local_workers._own_loop(0).call_soon_threadsafe(held.wait, WAIT)
    result = made.compile(backend="local").invoke({"items": []}, {"max_concurrency": 2})
    assert result == {"items": ["both", "both"]}
    assert ran == []


def test_the_writer_of_a_cancelled_sibling_raises_while_the_run_goes_on(gate: Gate) -> None:
    errors = []

    def sibling(state, writer):
        try:
            gate.node(state, writer)
        except RunCancelled as error:
            errors.append(error)
            raise

    def leave_late(state):
        assert gate.reached.wait(WAIT)
        return leave(state)

    def target(state):
        gate.opened.set()
        assert gate.left.wait(WAIT)
        return {"items": ["target"]}

    compiled = leaving(("sibling", sibling), leave=leave_late, after=target)
    chunks = list(compiled.stream({"items": []}, stream_mode="custom", subgraphs=True))
    assert [chunk for _, chunk in chunks] == ["before"]
    assert len(errors) == 1


# --- nothing hangs --------------------------------------------------------------------------------


def test_sys_exit_in_a_node_reaches_the_caller_as_itself() -> None:
    def node(state):
        sys.exit(7)

    with pytest.raises(SystemExit) as caught:
        graph(node).invoke({"items": []})
    assert caught.value.code == 7


def test_a_node_that_cancels_itself_fails_by_name() -> None:
    def node(state):
        raise asyncio.CancelledError

    with pytest.raises(
        NodeCancelledError, match="Node 'node' raised asyncio.CancelledError"
    ) as caught:
        graph(node).invoke({"items": []})
    cause = caught.value.__cause__
    assert isinstance(cause, asyncio.CancelledError)
    assert traceback.extract_tb(cause.__traceback__)[-1].line == "raise asyncio.CancelledError"


def test_a_keyboard_interrupt_that_a_node_raises_reaches_the_caller_as_itself() -> None:
    def node(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graph(node).invoke({"items": []})


def test_a_coroutine_that_waits_for_something_cancelled_fails_by_name() -> None:
    async def node(state):
        waiting = asyncio.ensure_future(asyncio.sleep(WAIT))
        waiting.cancel()
        await waiting

    with pytest.raises(NodeCancelledError) as caught:
        graph(node).invoke({"items": []})
    assert caught.value.node == "node"
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def test_sys_exit_in_a_reducer_ends_the_run() -> None:
    def node(state):
        return {"items": ["exit"]}

    with pytest.raises(SystemExit):
        graph(node).invoke({"items": []})


def test_sys_exit_in_a_reducer_ends_the_run_of_an_async_caller() -> None:
    async def node(state):
        return {"items": ["exit"]}

    async def main() -> None:
        with pytest.raises(SystemExit):
            await graph(node).ainvoke({"items": []})

    asyncio.run(main())


def test_sys_exit_in_a_task_of_a_node_does_not_end_the_background_loop() -> None:
    async def leaves() -> None:
        sys.exit(7)

    async def node(state):
        await asyncio.create_task(leaves())

    async def other(state):
        return {"items": ["other"]}

    with pytest.raises(SystemExit):
        graph(node).invoke({"items": []})
    assert graph(other).invoke({"items": []}) == {"items": ["other"]}


def test_a_failure_of_the_backend_itself_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise MemoryError("of the backend")

    monkeypatch.setattr(local_workers, "run_sync", broken)
    with pytest.raises(MemoryError, match="of the backend"):
        graph(named("node", lambda state: None)).invoke({"items": []})


def test_nothing_starts_behind_a_failure_of_the_backend(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = threading.Event()

    def x(state):
        gate.reached.set()
        assert gate.opened.wait(WAIT)
        gate.left.set()

    def broken(state):
        assert gate.reached.wait(WAIT)

    async def y(state):
        ran.set()

    run_sync = local_workers.run_sync

    def failing(program: Any, request: Any, *more: Any) -> Any:
        outcome = run_sync(program, request, *more)
        if request.node == "broken":
            raise MemoryError("of the backend")
        return outcome

    monkeypatch.setattr(local_workers, "run_sync", failing)
    child = StateGraph(State).add_node(x).add_node(y).add_edge(START, "x").add_edge("x", "y")
    made = StateGraph(State).add_node("child", child.compile(backend="local")).add_node(broken)
    made.add_edge(START, "child").add_edge(START, "broken")
    run = start(made.compile(backend="local"), {"items": []}, "custom")
    assert read_all(run)[-1].payload["error"].message == "of the backend"
    gate.opened.set()
    assert gate.left.wait(WAIT)
    assert not ran.wait(0.05)


def test_a_function_that_returns_a_coroutine_which_waits_is_told_to_be_async() -> None:
    with pytest.raises(InvalidUpdateError, match="async def") as caught:
        graph(named("node", lambda state: asyncio.sleep(0))).invoke({"items": []})
    notes = getattr(caught.value, "__notes__", ["node 'node'"])  # Python 3.10 has none
    assert any("node 'node'" in note for note in notes)


def test_a_retry_does_not_wait_for_a_reducer_of_another_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduled, reducing, opened = threading.Event(), threading.Event(), threading.Event()

    class Told(Timers):
        def after(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
            take_back = super().after(seconds, call)
            scheduled.set()
            return take_back

    shared = Told("told")
    monkeypatch.setattr(local, "timers", lambda: shared)

    def slow(left: list[Any], right: list[Any]) -> list[Any]:
        if right:
            reducing.set()
            assert opened.wait(WAIT)
        return left + right

    fields: dict[str, Any] = {"items": Annotated[list[Any], slow]}
    Slow = TypedDict("Slow", fields, total=False)  # type: ignore[misc]

    def inner(state):
        assert scheduled.wait(WAIT)
        return {"items": ["inner"]}

    def flaky(state, runtime: Runtime[Any]):
        if runtime.execution_info.node_attempt == 1:
            raise ConnectionError("once")
        return {"items": ["again"]}

    def retried(interval: float) -> StateGraph:
        policy = RetryPolicy(initial_interval=interval, jitter=False)
        made = StateGraph(State).add_node("flaky", flaky, retry_policy=policy)
        return made.add_edge(START, "flaky")

    busy = retried(0.1).add_node("child", graph(inner, schema=Slow)).add_edge(START, "child")
    run = start(busy.compile(backend="local"), {"items": []})
    try:
        assert reducing.wait(WAIT)
        # due behind the retry of the first run, which waits for that run's reducer
        result = retried(0.2).compile(backend="local").invoke({"items": []})
        assert result == {"items": ["again"]}
    finally:
        opened.set()
    assert read_all(run)[-1].payload["status"] == "done"


def nested(depth: int, node: Callable[..., Any]) -> Callable[..., Any]:
    """A node that runs a graph that runs a graph …, the innermost of which runs ``node``."""
    for level in range(depth):
        inner = graph(named("node", node))

        def call(state: Any, inner: Any = inner) -> Any:
            return inner.invoke({"items": []})

        node = named(f"level{level}", call)
    return node


def test_graphs_inside_nodes_do_not_wait_for_the_threads_of_those() -> None:
    made = StateGraph(State)
    for i in range(70):
        node = nested(3, lambda state: {"items": [1]})
        made.add_node(f"n{i}", node).add_edge(START, f"n{i}")
    assert made.compile(backend="local").invoke({"items": []}) == {"items": [1] * 70}


def test_a_coroutine_that_blocks_on_a_graph_with_coroutines_does_not_hang() -> None:
    async def innermost(state):
        await asyncio.sleep(0)
        return {"items": ["innermost"]}

    inner = graph(innermost)

    def between(state):
        return inner.invoke({"items": []})

    middle = graph(between)

    async def outer(state):
        return middle.invoke({"items": []})

    assert graph(outer).invoke({"items": []}) == {"items": ["innermost"]}


def test_threads_of_a_loop_are_not_what_graphs_inside_them_wait_for() -> None:
    async def route(state):
        return END

    def compiled(*nodes: Any) -> Any:
        made = StateGraph(State)
        for node in nodes:
            made.add_node(node.__name__, node).add_edge(START, node.__name__)
            made.add_conditional_edges(node.__name__, route)
        return made.compile(backend="local")

    inner = compiled(named("inner", lambda state: {"items": [1]}))
    calls = [
        named(f"n{i}", lambda state: (time.sleep(0.01), inner.invoke({"items": []}))[1])
        for i in range(40)
    ]
    assert compiled(*calls).invoke({"items": []}) == {"items": [1] * 40}


# --- the consumer ---------------------------------------------------------------------------------


def test_a_slow_consumer_holds_up_the_node_and_misses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 0

    def node(state, writer):
        nonlocal count
        for i in range(50):
            writer(i)
            count = i + 1

    monkeypatch.setattr(local_stream, "RunLog", lambda **options: RunLog(max_events=5, **options))
    run = start(graph(node), {"items": []}, "custom")
    eventually(lambda: count >= 6, "the node is held up")
    time.sleep(0.02)
    assert count == 6  # the limit, and the one that went over it
    payloads = [e.payload for e in read_all(run) if e.mode == "custom"]
    assert payloads == list(range(50))


def test_a_node_that_waits_for_a_slow_consumer_is_freed_when_that_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = threading.Event()

    def node(state, writer):
        try:
            while True:
                writer("x")
        except RunCancelled:
            left.set()
            raise

    monkeypatch.setattr(local_stream, "RunLog", lambda **options: RunLog(max_events=5, **options))
    run = start(graph(node), {"items": []}, "custom")
    assert not left.wait(0.02)
    run.close()
    assert left.wait(WAIT)


def test_events_travel_as_the_objects_that_they_are() -> None:
    sent = object()

    def node(state, writer):
        writer(sent)

    (got,) = graph(node).stream({"items": []}, stream_mode="custom")
    assert got is sent


def test_state_that_cannot_be_pickled_works_here() -> None:
    lock = threading.Lock()

    def first(state):
        return {"value": lock}

    def second(state):
        with state["value"]:
            return None

    made = StateGraph(Anything).add_node(first).add_node(second)
    made.add_edge(START, "first").add_edge("first", "second")
    assert made.compile(backend="local").invoke({"value": None})["value"] is lock


# --- the caller's context -------------------------------------------------------------------------

USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


def test_nodes_see_the_caller_s_context_variables() -> None:
    def plain(state):
        return {"items": [USER.get()]}

    async def coroutine(state):
        return {"items": [USER.get()]}

    token = USER.set("me")
    try:
        assert graph(plain, coroutine).invoke({"items": []}) == {"items": ["me", "me"]}
        assert asyncio.run(graph(plain, coroutine).ainvoke({"items": []})) == {
            "items": ["me", "me"]
        }
    finally:
        USER.reset(token)


def test_what_a_node_sets_in_its_context_stays_its_own() -> None:
    def a(state):
        USER.set("a")

    def b(state):
        return {"items": [USER.get()]}

    made = StateGraph(State).add_node(a).add_node(b).add_edge(START, "a").add_edge("a", "b")
    assert made.compile(backend="local").invoke({"items": []}) == {"items": ["nobody"]}
    assert USER.get() == "nobody"


class Sum(TypedDict, total=False):
    total: Annotated[int, operator.add]


def test_runs_at_the_same_time_do_not_mix() -> None:
    compiled = graph(
        named("a", lambda s: {"total": 1}), named("b", lambda s: {"total": 2}), schema=Sum
    )
    results = compiled.batch([{"total": 10 * i} for i in range(30)])
    assert results == [{"total": 10 * i + 3} for i in range(30)]
