"""LangGraph's ``ToolNode``: each tool call is a task of its own."""

from __future__ import annotations

import asyncio
import operator
import os
import threading
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from distgraph import distribute
from distgraph.graph import StateGraph as OwnGraph
from tests.langgraph_graphs.support import VERSION, newest, same
from tests.support.cluster import meet


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    user: str
    log: Annotated[list[str], operator.add]


@tool
def where(n: int) -> str:
    """Tell the process."""
    return str(os.getpid())


@tool
def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)


@tool
def who(state: Annotated[dict, InjectedState], greeting: str) -> str:
    """Greet."""
    return f"{greeting} {state['user']} after {len(state['messages'])}"


@tool
def note(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
    """Write to the state."""
    told = ToolMessage("noted", tool_call_id=tool_call_id)
    return Command(update={"log": [text], "messages": [told]})


@tool
async def nap(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "rested"


@tool
def stuck() -> str:
    """Never return."""
    threading.Event().wait()
    return "never"


@tool
def broken() -> str:
    """Fail."""
    raise ValueError("no such thing")


TOOLS = [where, add, who, note, nap, stuck, broken]


def call(name: str, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": f"id-{name}", "type": "tool_call"}


def asks(*calls: dict[str, Any]) -> AIMessage:
    numbered = [{**c, "id": f"{c['id']}-{i}"} for i, c in enumerate(calls)]
    return AIMessage("", id="asked", tool_calls=numbered)


def graph(**options: Any) -> StateGraph:
    options.setdefault("handle_tool_errors", True)
    return StateGraph(State).add_node("tools", ToolNode(TOOLS, **options)).add_edge(START, "tools")


def answers(out: dict[str, Any]) -> list[str]:
    return [m.content for m in out["messages"] if isinstance(m, ToolMessage)]


@newest
def test_answers_are_one_update_in_the_order_of_the_calls(backend):
    calls = (
        call("nap", seconds=0.05),
        call("add", a=1, b=2),
        call("who", greeting="hi"),
        call("missing"),
        call("broken"),
        call("add", a="x", b=2),
        call("note", text="t"),
    )
    # async, so that the reference can run the async tool
    same(
        backend,
        lambda ns: graph(),
        {"messages": [asks(*calls)], "user": "ada"},
        stream_mode=["updates", "values", "messages"],
        reference_face="async",
    )


@pytest.mark.ray
def test_calls_of_a_node_in_a_graph_of_ours_run_in_several_processes(ray_session, tmp_path):
    def slowly(n: int) -> str:
        """Tell the process."""
        meet(tmp_path)
        return str(os.getpid())

    made = OwnGraph(State).add_node("tools", ToolNode([slowly])).add_edge(START, "tools")
    given = {"messages": [asks(call("slowly", n=1), call("slowly", n=2))]}
    one, other = answers(made.compile(backend="ray").invoke(given))
    assert len({one, other, str(os.getpid())}) == 3


def test_a_node_in_a_graph_of_ours_answers_in_the_order_of_the_calls():
    made = OwnGraph(State).add_node("tools", ToolNode(TOOLS)).add_edge(START, "tools")
    calls = (call("who", greeting="hi"), call("add", a=1, b=2), call("missing"))
    out = made.compile(backend="local").invoke({"messages": [asks(*calls)], "user": "ada"})
    assert answers(out)[:2] == ["hi ada after 1", "3"]
    assert "missing is not a valid tool" in answers(out)[2]


@pytest.mark.ray
def test_calls_run_in_several_processes(ray_session, tmp_path):
    def slowly(n: int) -> str:
        """Tell the process."""
        meet(tmp_path)
        return str(os.getpid())

    made = StateGraph(State).add_node("tools", ToolNode([slowly])).add_edge(START, "tools")
    given = {"messages": [asks(call("slowly", n=1), call("slowly", n=2))]}
    one, other = answers(distribute(made, backend="ray").invoke(given))
    assert len({one, other, str(os.getpid())}) == 3


@pytest.mark.skipif(VERSION < (1, 2, 0), reason="new in LangGraph 1.2")
def test_a_call_by_send_reads_the_state_of_the_graph(backend):
    def fan(state: State) -> list[Send]:
        return [Send("tools", [call]) for call in state["messages"][-1].tool_calls]

    made = (
        StateGraph(State)
        .add_node("tools", ToolNode(TOOLS))
        .add_conditional_edges(START, fan, ["tools"])
    )
    calls = (call("who", greeting="hi"), call("add", a=1, b=2), call("nap", seconds=0.01))
    out = distribute(made, backend=backend).invoke({"messages": [asks(*calls)], "user": "ada"})
    assert answers(out) == ["hi ada after 1", "3", "rested"]


def test_a_timeout_ends_the_call_and_keeps_the_others(backend):
    made = distribute(graph(), backend=backend, ray_options={"stuck": {"timeout": 1}})
    calls = (call("stuck"), call("add", a=1, b=2))
    out = made.invoke({"messages": [asks(*calls)], "user": "ada"})
    late, good = answers(out)
    assert "took longer than 1 s" in late
    assert good == "3"


def test_tools_are_placed_by_name():
    options = {"tools": {"num_cpus": 2}, "tools:add": {"num_cpus": 0.5}, "who": {"num_cpus": 3}}
    split = distribute(graph(), backend="local", ray_options=options).spec.nodes["tools"].split
    assert split is not None
    placed = {name: split.options(name).ray_options for name in ("add", "who", "where")}
    assert placed == {"add": {"num_cpus": 0.5}, "who": {"num_cpus": 3}, "where": {"num_cpus": 2}}
    assert [split.options(name).is_async for name in ("add", "nap")] == [False, True]


def test_an_unknown_tool_in_ray_options_is_an_error():
    with pytest.raises(ValueError, match=r"no node or tool 'tools:ad'\. Did you mean 'tools:add'"):
        distribute(graph(), backend="local", ray_options={"tools:ad": {}})


def test_a_single_plain_call_is_one_task_with_its_node():
    split = distribute(graph(), backend="local").spec.nodes["tools"].split
    assert split is not None
    assert split.parts({"messages": [asks(call("add", a=1, b=2))]}) is None
    assert len(split.parts({"messages": [asks(call("nap", seconds=1))]}) or ()) == 1


def test_only_calls_that_ask_for_it_carry_the_state():
    split = distribute(graph(), backend="local").spec.nodes["tools"].split
    assert split is not None
    parts = split.parts({"messages": [asks(call("add", a=1, b=2), call("who", greeting="x"))]})
    assert [(part.key, part.reads_state) for part in parts or ()] == [("add", False), ("who", True)]


def test_a_graph_in_a_tool_addresses_the_graph_around_the_node(backend):
    def up(state: State) -> Command:
        return Command(graph=Command.PARENT, update={"log": ["up"]}, goto="after")

    inner = StateGraph(State).add_node("up", up).add_edge(START, "up").compile()

    @tool
    def asks_up() -> str:
        """Run a graph."""
        return str(inner.invoke({"log": []}))

    made = (
        StateGraph(State)
        .add_node("tools", ToolNode([asks_up, add]))
        .add_node("after", lambda state: {"log": ["after"]})
        .add_edge(START, "tools")
    )
    calls = (call("asks_up"), call("add", a=1, b=2))
    out = distribute(made, backend=backend).invoke({"messages": [asks(*calls)], "log": []})
    assert out["log"] == ["up", "after"]
    assert answers(out) == ["3"]


def test_an_interrupt_in_a_tool_ends_the_run_with_its_question(backend):
    @tool
    def sure() -> str:
        """Ask."""
        return str(interrupt("sure?"))

    made = StateGraph(State).add_node("tools", ToolNode([sure, add])).add_edge(START, "tools")
    given = {"messages": [asks(call("sure"), call("add", a=1, b=2))]}
    (asked,) = distribute(made, backend=backend).invoke(given)["__interrupt__"]
    assert asked.value == "sure?"


def wrapper(request: Any, execute: Any) -> Any:
    answer = execute(request)
    return answer.model_copy(update={"content": f"<{answer.content}>"})


def test_a_wrapper_goes_around_each_call(backend):
    made = distribute(graph(wrap_tool_call=wrapper), backend=backend)
    out = made.invoke({"messages": [asks(call("add", a=1, b=2), call("add", a=2, b=2))]})
    assert answers(out) == ["<3>", "<4>"]


def test_a_tool_error_that_is_not_handled_is_the_nodes(backend):
    made = distribute(graph(handle_tool_errors=False), backend=backend)
    with pytest.raises(ValueError, match="no such thing"):
        made.invoke({"messages": [asks(call("broken"), call("add", a=1, b=2))]})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_langgraphs_own_react_agent(backend, version):
    from langgraph.prebuilt import create_react_agent

    from tests.support.models import CallingModel

    model = CallingModel(calls=[("add", {"a": 1, "b": 2}), ("nap", {"seconds": 0.01})])
    agent = create_react_agent(model, [add, nap], version=version)
    out = distribute(agent, backend=backend).invoke({"messages": [("user", "go")]})
    assert out["messages"][-1].content == "answer: 3, rested"
