"""Runs with a checkpointer whose driver is killed: another one goes on, and no reader notices."""

from __future__ import annotations

import asyncio
import itertools
import operator
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from typing_extensions import TypedDict

from distgraph import END, START, StateGraph, attach
from distgraph.errors import DriverLost
from distgraph.graph import add_messages
from tests.support.cluster import (
    eventually,
    pid_of_actor,
    pids_of_actors,
    wait_for_free_cpus,
    wait_for_no_session,
)

pytestmark = [pytest.mark.ray, pytest.mark.faults]

STEPS = 6
MODES = ["values", "updates", "custom", "messages"]


class State(TypedDict):
    n: int
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], add_messages]


class Inner(TypedDict):
    n: int


def say(state: State, writer: Any) -> Any:
    model = GenericFakeChatModel(messages=iter([AIMessage(f"turn {state['n']} is said")]))
    writer(f"before {state['n']}")
    said = model.invoke("go").content
    writer(f"after {state['n']}")
    return {"n": state["n"] + 1, "log": ["say"], "messages": [("ai", said)]}


async def beside(state: State, writer: Any) -> Any:
    for part in range(3):
        writer(f"beside {state['n']}.{part}")
        await asyncio.sleep(0)
    return {"log": ["beside"]}


def inside(state: Inner) -> Any:
    return {"n": state["n"]}


def turns(saver: Any) -> Any:
    inner = StateGraph(Inner).add_node(inside).add_edge(START, "inside").compile()
    builder = StateGraph(State).add_node(say).add_node(beside).add_node("inner", inner)
    builder.add_edge(START, "say").add_edge(START, "beside").add_edge("say", "inner")
    builder.add_conditional_edges(
        "inner", lambda s: ["say", "beside"] if s["n"] < STEPS else END, ["say", "beside", END]
    )
    return builder.compile(checkpointer=saver, backend="ray")


def config(policy: str = "buffer") -> Any:
    thread = {"thread_id": str(uuid.uuid4())}
    return {"configurable": thread, "on_lost_attempt": policy, "recursion_limit": 100}


def plain(chunk: Any) -> str:
    """A chunk without ids and times."""
    mode, payload = chunk
    if mode == "messages":
        message, metadata = payload
        return f"messages {message.content!r} {metadata['langgraph_node']}"
    return f"{mode} {_without_ids(payload)}"


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_ids(part) for part in value]
    return getattr(value, "content", value)


def in_steps(chunks: list[Any]) -> list[list[str]]:
    """Chunks of each superstep, sorted: nodes beside each other come in any order."""
    found: list[list[str]] = [[]]
    for chunk in chunks:
        found[-1].append(plain(chunk))
        if chunk[0] == "values":
            found[-1].sort()
            found.append([])
    return found


def kept_ids(chunks: list[Any]) -> None:
    """Check that no message has another id in a later state."""
    states = [payload for mode, payload in chunks if mode == "values"]
    ids = [[message.id for message in state["messages"]] for state in states]
    for earlier, later in itertools.pairwise(ids):
        assert later[: len(earlier)] == earlier


def kill_driver(*_: Any) -> None:
    for pid in pids_of_actors("SuperstepDriver"):
        os.kill(pid, signal.SIGKILL)


class At:
    """Kills the driver when a number of chunks has been read."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.seen = 0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen in self.numbers:
            kill_driver()


@pytest.fixture(scope="module", params=["sqlite", "memory"])
def saver(request: Any, tmp_path_factory: Any) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemorySaver()
        return
    path = tmp_path_factory.mktemp("threads") / "threads.sqlite"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


GIVEN: Any = {"n": 0, "log": [], "messages": []}


def streamed(graph: Any, at: Callable[[], None], policy: Any) -> list[Any]:
    chunks = []
    for chunk in graph.stream(GIVEN, policy, stream_mode=MODES):
        chunks.append(chunk)
        at()
    return chunks


def astreamed(graph: Any, at: Callable[[], None], policy: Any) -> list[Any]:
    async def read() -> list[Any]:
        chunks = []
        async for chunk in graph.astream(GIVEN, policy, stream_mode=MODES):
            chunks.append(chunk)
            at()
        return chunks

    return asyncio.run(read())


def started(graph: Any, at: Callable[[], None], policy: Any) -> list[Any]:
    run = graph.start(GIVEN, policy, stream_mode=MODES)
    chunks = []
    for _, chunk in attach(run.run_id).events():
        chunks.append(chunk)
        at()
    assert [chunk for _, chunk in run.events()] == chunks
    assert run.status == "success"
    return chunks


def left(graph: Any, at: Callable[[], None], policy: Any) -> list[Any]:
    """A detached run."""
    run = graph.start(GIVEN, policy, stream_mode=MODES, detached=True)
    chunks = []
    for _, chunk in run.events():
        chunks.append(chunk)
        at()
    return chunks


@pytest.fixture
def fresh(ray_session: Any) -> Iterator[None]:
    from actors import sessions

    wait_for_free_cpus()
    sessions.end()
    wait_for_no_session()
    yield
    sessions.end()
    sessions._outliving.end()  # else that of a detached run goes on


@pytest.mark.parametrize("way", [streamed, astreamed, started, left])
def test_a_reader_gets_what_it_would_have_got(fresh: Any, saver: Any, way: Any) -> None:
    if way is left and isinstance(saver, InMemorySaver):
        return  # it would end with this process, and is refused
    graph = turns(saver)
    expected = way(graph, At(), config())
    policy = config()
    chunks = way(graph, At(15, 40), policy)
    assert in_steps(chunks) == in_steps(expected)
    kept_ids(chunks)
    state = graph.get_state({"configurable": policy["configurable"]})
    assert _without_ids(state.values) == _without_ids(expected[-1][1])
    assert state.values == chunks[-1][1]
    history = list(graph.get_state_history({"configurable": policy["configurable"]}))
    assert [snapshot.metadata["step"] for snapshot in history] == [*range(2 * STEPS, -2, -1)]


def test_invoke_returns_what_it_would_have_returned(fresh: Any, saver: Any) -> None:
    graph = turns(saver)

    async def both() -> Any:
        run = asyncio.create_task(graph.ainvoke(GIVEN, config()))
        while not pids_of_actors("SuperstepDriver"):
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        kill_driver()
        return await run

    assert _without_ids(asyncio.run(both())) == _without_ids(graph.invoke(GIVEN, config()))


def test_a_reset_precedes_what_a_lost_node_writes_again(fresh: Any, tmp_path: Any) -> None:
    gate = tmp_path / "gate"

    def node(state: State, writer: Any) -> Any:
        writer("begun")
        while not gate.exists():
            pass
        return {"log": ["done"]}

    with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
        builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
        graph = builder.compile(checkpointer=saver, backend="ray")
        stream = graph.stream(GIVEN, config("reset"), stream_mode=["custom", "updates"])
        assert next(stream) == ("custom", "begun")
        kill_driver()
        gate.touch()
        mode, reset = next(stream)
    assert (mode, reset.node, reset.attempt, reset.events) == ("reset", "node", 1, 1)
    assert list(stream) == [("custom", "begun"), ("updates", {"node": {"log": ["done"]}})]


def test_runs_without_a_checkpointer_end_and_runs_with_one_go_on(fresh: Any, tmp_path: Any) -> None:
    gate = tmp_path / "gate"

    def node(state: State) -> Any:
        (tmp_path / uuid.uuid4().hex).touch()
        while not gate.exists():
            pass
        return {"log": ["done"]}

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    saved = builder.compile(checkpointer=InMemorySaver(), backend="ray").start(GIVEN, config())
    plain_run = builder.compile(backend="ray").start(GIVEN)
    eventually(lambda: len(list(tmp_path.iterdir())) == 2, "both run")
    kill_driver()
    with pytest.raises(DriverLost):
        plain_run.result(timeout=60)
    gate.touch()
    assert saved.result(timeout=120)["log"] == ["done"]
    again = builder.compile(backend="ray").invoke(GIVEN)
    assert again["log"] == ["done"]


def test_a_run_can_be_cancelled_after_its_driver_was_replaced(fresh: Any) -> None:
    def node(state: State) -> Any:
        while True:
            pass

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = builder.compile(checkpointer=InMemorySaver(), backend="ray")
    run = graph.start(GIVEN, config(), stream_mode="updates")
    eventually(lambda: run.status == "running", "it runs")
    before = pid_of_actor("SuperstepDriver")
    kill_driver()
    eventually(lambda: before not in pids_of_actors("SuperstepDriver"), "another driver")
    run.cancel(wait=True)
    assert run.status == "cancelled"
    wait_for_free_cpus()


@pytest.mark.parametrize("way", ["streamed", "started"])
def test_a_run_whose_driver_dies_before_it_begins_is_begun_by_the_next_one(
    fresh: Any, way: str
) -> None:
    graph = turns(InMemorySaver())
    expected = graph.invoke(GIVEN, config())
    driver = pid_of_actor("SuperstepDriver")
    os.kill(driver, signal.SIGSTOP)
    if way == "streamed":
        chunks = graph.stream(GIVEN, config(), stream_mode="values")
    else:
        run = graph.start(GIVEN, config(), stream_mode="values")
        chunks = (chunk for _, chunk in run.events())
    killing = threading.Timer(1.0, lambda: os.kill(driver, signal.SIGKILL))
    killing.start()
    states = list(chunks)
    assert _without_ids(states[-1]) == _without_ids(expected)
    assert len(states) == 2 * STEPS + 1
