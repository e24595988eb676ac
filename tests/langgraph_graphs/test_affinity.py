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
from typing_extensions import TypedDict

from distgraph import START, StateGraph, distribute
from distgraph.channels import UntrackedValue
from distgraph.errors import SerializationError
from tests.support.models import CallingModel

RUN = {"affinity": "run"}


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
        until = time.monotonic() + 20
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert file.exists()  # the run has ended, and its process has let go of the value
        pids.append(made)
    assert pids[0] != pids[1]


@pytest.mark.ray
def test_a_node_elsewhere_that_uses_the_value_is_told_what_to_do(ray_session, tmp_path):
    graph = chain((make, RUN), (use, None), backend="ray")
    with pytest.raises(
        SerializationError, match=r"'live' holds a .*Live that node 'make0' .*'run'"
    ):
        graph.invoke({"file": str(tmp_path / "ended")})


def keep(state: State) -> dict[str, Any]:
    return {"kept": Live(state["file"])}


@pytest.mark.ray
def test_a_value_that_stays_cannot_be_saved(ray_session, tmp_path):
    graph = chain((keep, RUN), backend="ray", checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t"}}
    told = r"keys 'kept'\).*the value of 'kept' stays.*Annotate the key with UntrackedValue"
    with pytest.raises(SerializationError, match=told):
        graph.invoke({"file": str(tmp_path / "ended")}, thread)


def test_affinity_on_the_local_backend_is_this_process(tmp_path):
    graph = chain((make, RUN), (use, RUN), backend="local")
    assert graph.invoke({"file": str(tmp_path / "ended")})["seen"] == [os.getpid()] * 2 + [1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"affinity": "thread"}, "Node `make0`: ray_options['affinity'] must be 'run'"),
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
