"""Nodes and tools that share one process for a run, with state that stays there."""

from __future__ import annotations

import os
import re
import time
import weakref
from pathlib import Path
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from typing_extensions import TypedDict

from distgraph import START, StateGraph, distribute
from distgraph.channels import UntrackedValue
from distgraph.errors import SerializationError, WorkerDied
from distgraph.types import RetryPolicy
from tests.support.models import CallingModel

RUN = {"affinity": "run"}
THREAD = {"affinity": "thread"}


class Live:
    """Exists in one process only, and leaves a file when it is let go of."""

    def __init__(self, file: str) -> None:
        self.items = (item for item in (1, 2))
        weakref.finalize(self, Path(file).touch)


class State(TypedDict, total=False):
    file: str
    live: Annotated[Any, UntrackedValue]
    kept: Any
    seen: list[Any]


def make(state: State) -> dict[str, Any]:
    return {"live": Live(state["file"]), "seen": [os.getpid()]}


def use(state: State) -> dict[str, Any]:
    return {"seen": [*state["seen"], os.getpid(), next(state["live"].items)]}


def elsewhere(state: State) -> dict[str, Any]:
    return {"seen": [*state["seen"], os.getpid(), type(state.get("live")).__name__]}


def chain(*nodes: tuple[Any, Any], **compiled: Any) -> Any:
    builder = StateGraph(State)
    before = START
    for number, (node, options) in enumerate(nodes):
        name = f"{node.__name__}{number}"
        builder.add_node(name, node, ray_options=options).add_edge(before, name)
        before = name
    return builder.compile(**compiled)


@pytest.mark.ray
def test_state_stays_in_the_one_process_of_a_run(ray_session, tmp_path):
    graph = chain((make, RUN), (elsewhere, None), (use, RUN), (use, RUN), backend="ray")
    pids = []
    for run in range(2):
        file = tmp_path / f"ended{run}"
        made, other, handle, *used = graph.invoke({"file": str(file)})["seen"]
        assert used == [made, 1, made, 2]
        assert (other != made, handle) == (True, "Pinned")
        assert ends(file)  # the run has ended, and its process has let go of the value
        pids.append(made)
    assert pids[0] != pids[1]


@pytest.mark.ray
def test_a_node_elsewhere_that_uses_the_value_is_told_what_to_do(ray_session, tmp_path):
    graph = chain((make, RUN), (use, None), backend="ray")
    with pytest.raises(
        SerializationError, match=r"'live' holds a .*Live that node 'make0' .*'affinity'"
    ):
        graph.invoke({"file": str(tmp_path / "ended")})


def keep(state: State) -> dict[str, Any]:
    return {"kept": Live(state["file"])}


@pytest.mark.ray
def test_commands_to_the_graph_around_take_live_values_along(ray_session, tmp_path):
    class Inner(TypedDict, total=False):
        file: str

    def hand(state: Inner) -> Any:
        update = {"live": Live(state["file"]), "seen": [os.getpid()]}
        return Command(graph=Command.PARENT, goto="use", update=update)

    inner = StateGraph(Inner).add_node("hand", hand, ray_options=RUN).add_edge(START, "hand")
    builder = StateGraph(State).add_node("sub", inner.compile(), destinations=("use",))
    builder.add_node("use", use, ray_options=RUN).add_edge(START, "sub")
    for saver in (None, InMemorySaver()):
        graph = builder.compile(backend="ray", checkpointer=saver)
        config = {"configurable": {"thread_id": "1"}}
        *pids, first = graph.invoke({"file": str(tmp_path / "end")}, config)["seen"]
        assert (len(set(pids)), len(pids), first) == (1, 2, 1)


@pytest.mark.ray
def test_a_value_that_stays_cannot_be_saved(ray_session, tmp_path):
    graph = chain((keep, RUN), backend="ray", checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t"}}
    told = r"node 'keep0', step 1: the value of 'kept' stays.*Annotate the key with UntrackedValue"
    with pytest.raises(SerializationError, match=told):
        graph.invoke({"file": str(tmp_path / "ended")}, thread)


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


COUNTS: dict[str, int] = {}


def count(state: State) -> dict[str, Any]:
    """Count in memory of the process, as a client that is cached there would."""
    seen = COUNTS["n"] = COUNTS.get("n", 0) + 1
    return {"seen": [*(state.get("seen") or []), os.getpid(), seen]}


async def acount(state: State) -> dict[str, Any]:
    return count(state)


def ends(file: Path) -> bool:
    until = time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return file.exists()


@pytest.mark.ray
def test_runs_of_one_thread_share_a_process_and_other_threads_have_others(ray_session):
    graph = chain((count, THREAD), (acount, THREAD), backend="ray")
    runs = [graph.invoke({}, thread(name))["seen"] for name in ("one", "two", "one")]
    (one, *first), (two, *other), (again, *second) = runs
    assert (first, other, second) == ([1, one, 2], [1, two, 2], [3, again, 4])
    assert one == again != two


@pytest.mark.ray
def test_a_run_without_a_thread_id_is_a_thread_of_its_own(ray_session):
    graph = chain((count, THREAD), (count, THREAD), backend="ray")
    (one, *first), (two, *second) = (graph.invoke({})["seen"] for _ in range(2))
    assert (first, second) == ([1, one, 2], [1, two, 2])
    assert one != two


@pytest.mark.ray
def test_values_in_the_state_of_a_thread_end_with_their_run(ray_session, tmp_path):
    graph = chain((make, THREAD), (use, THREAD), backend="ray", checkpointer=InMemorySaver())
    pids = []
    for run in range(2):
        file = tmp_path / f"ended{run}"
        made, used, number = graph.invoke({"file": str(file)}, thread("values"))["seen"]
        assert (used, number) == (made, 1)
        assert ends(file)
        pids.append(made)
    assert pids[0] == pids[1]


def die_once(state: State) -> dict[str, Any]:
    if Path(state["file"]).exists():
        return count(state)
    Path(state["file"]).touch()
    os._exit(1)


@pytest.mark.ray
def test_attempts_in_a_thread_s_process_that_dies_are_lost_and_the_next_has_another(
    ray_session, tmp_path
):
    graph = chain((die_once, THREAD), backend="ray")
    given = {"file": str(tmp_path / "died")}
    with pytest.raises(WorkerDied, match="die_once0"):
        graph.invoke(given, thread("dies"))
    pid, number = graph.invoke(given, thread("dies"))["seen"]
    assert number == 1
    os.kill(pid, 9)  # between two runs
    until = time.monotonic() + 60
    while time.monotonic() < until and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    other, number = graph.invoke(given, thread("dies"))["seen"]
    assert number == 1 and other != pid


@pytest.mark.ray
def test_a_retry_after_the_death_of_the_process_has_another_process(ray_session, tmp_path):
    builder = StateGraph(State)
    policy = RetryPolicy(max_attempts=2)
    builder.add_node("die", die_once, ray_options=RUN, retry_policy=policy)
    graph = builder.add_edge(START, "die").compile(backend="ray")
    assert graph.invoke({"file": str(tmp_path / "died")})["seen"][1:] == [1]


def test_affinity_on_the_local_backend_is_this_process(tmp_path):
    graph = chain((make, RUN), (use, RUN), backend="local")
    assert graph.invoke({"file": str(tmp_path / "ended")})["seen"] == [os.getpid()] * 2 + [1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"affinity": "node"}, "Node `make0`: ray_options['affinity'] must be 'run' or 'thread'"),
        ({**RUN, "num_cpus": 2}, "with 'affinity' the attempts of a run share one process"),
    ],
)
def test_options_that_cannot_be_honoured(options, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        chain((make, options), backend="local")


def test_the_shell_of_an_agent_is_one_for_all_its_calls(backend):
    middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain")
    agents = pytest.importorskip("langchain.agents", reason="needs langchain")
    shell = middleware.ShellToolMiddleware(execution_policy=middleware.HostExecutionPolicy())
    calls = [("shell", {"command": "pwd; N=$((N + 1)); cd /; echo $N"})]
    agent = agents.create_agent(CallingModel(calls=calls, rounds=3), [], middleware=[shell])
    ours = distribute(agent, backend=backend)
    for graph in (ours, agent):
        messages = graph.invoke({"messages": [("human", "go")]})["messages"]
        told = [m.content.split() for m in messages if m.type == "tool"]
        assert [(place == "/", number) for place, number in told] == [
            (False, "1"),
            (True, "2"),
            (True, "3"),
        ]


def test_the_shell_of_an_agent_that_is_interrupted_is_as_in_langgraph(backend):
    middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain")
    agents = pytest.importorskip("langchain.agents", reason="needs langchain")
    shell = middleware.ShellToolMiddleware(execution_policy=middleware.HostExecutionPolicy())
    human = middleware.HumanInTheLoopMiddleware(interrupt_on={"shell": True})
    calls = [("shell", {"command": "N=$((N + 1)); echo $N"})]

    def told(graph: Any) -> list[str]:
        graph.invoke({"messages": [("human", "go")]}, thread("shell"))
        for _ in range(2):
            answer = Command(resume={"decisions": [{"type": "approve"}]})
            messages = graph.invoke(answer, thread("shell"))["messages"]
        return [m.content for m in messages if m.type == "tool"]

    def agent() -> Any:
        model = CallingModel(calls=calls, rounds=2)
        return agents.create_agent(
            model, [], middleware=[shell, human], checkpointer=InMemorySaver()
        )

    expected = told(agent())
    assert expected == ["1\n", "1\n"]  # no checkpoint holds the shell
    assert told(distribute(agent(), backend=backend)) == expected


def test_only_what_shares_live_state_is_pinned():
    middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain")
    agents = pytest.importorskip("langchain.agents", reason="needs langchain")
    made = agents.create_agent(
        CallingModel(),
        [],
        middleware=[
            middleware.ShellToolMiddleware(),
            middleware.ModelCallLimitMiddleware(run_limit=9),
        ],
    )
    nodes = distribute(made, backend="local").spec.nodes
    assert {name for name, node in nodes.items() if node.ray_options} == {
        "ShellToolMiddleware.before_agent",
        "ShellToolMiddleware.after_agent",
    }
    assert nodes["tools"].split.options("shell").ray_options == RUN
