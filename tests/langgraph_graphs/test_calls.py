"""LangGraph's own calls in graphs of ours: they find the run that they are in."""

from __future__ import annotations

import asyncio
import operator
import subprocess
import sys
import threading
from contextvars import copy_context
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_config, get_store, get_stream_writer
from langgraph.graph.message import push_message
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

import distgraph
from distgraph import START, StateGraph
from distgraph import types as own
from distgraph.graph.message import add_messages
from tests.langgraph_graphs.support import VERSION, newest, same
from tests.support.normalise import normalise


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def running(backend: str, node: Any, **compiled: Any) -> Any:
    graph = StateGraph(State, context_schema=dict).add_node("node", node)
    return graph.add_edge(START, "node").compile(backend=backend, **compiled)


def test_writer_config_store_and_runtime(backend):
    def node(state: State) -> dict[str, Any]:
        get_stream_writer()("from LangGraph's writer")
        runtime = get_runtime()
        runtime.stream_writer("from its runtime")
        config = get_config()
        assert get_store() is None
        assert isinstance(runtime, Runtime)
        told = [runtime.context["user"], config["metadata"]["langgraph_node"]]
        return {"items": [*told, config["configurable"]["thread_id"]]}

    chunks = list(
        running(backend, node).stream(
            {},
            {"configurable": {"thread_id": "t"}},
            context={"user": "ada"},
            stream_mode=["custom", "updates"],
        )
    )
    assert chunks == [
        ("custom", "from LangGraph's writer"),
        ("custom", "from its runtime"),
        ("updates", {"node": {"items": ["ada", "node", "t"]}}),
    ]


@pytest.mark.skipif(VERSION < (1, 1, 10), reason="new in LangGraph 1.1.10")
def test_execution_info(backend):
    def node(state: State) -> dict[str, Any]:
        info = get_runtime().execution_info
        return {"items": [info.checkpoint_ns.split(":")[0], info.node_attempt, info.thread_id]}

    assert running(backend, node).invoke({})["items"] == ["node", 1, None]


def test_an_async_node(backend):
    async def node(state: State) -> dict[str, Any]:
        await asyncio.sleep(0)
        get_stream_writer()(1)
        await asyncio.to_thread(get_stream_writer(), 2)
        return {"items": [type(get_runtime()).__module__]}

    chunks = list(running(backend, node).stream({}, stream_mode=["custom", "updates"]))
    assert chunks == [
        ("custom", 1),
        ("custom", 2),
        ("updates", {"node": {"items": ["langgraph.runtime"]}}),
    ]


def test_a_thread_with_the_nodes_context():
    def node(state: State) -> None:
        thread = threading.Thread(
            target=copy_context().run, args=(lambda: get_stream_writer()("from a thread"),)
        )
        thread.start()
        thread.join()

    assert list(running("local", node).stream({}, stream_mode="custom")) == ["from a thread"]


def test_commands_and_sends(backend):
    def start(state: State) -> Command:
        return Command(update={"items": ["start"]}, goto=[Send("each", n) for n in (1, 2)])

    def each(n: int) -> dict[str, Any]:
        return {"items": [n]}

    graph = StateGraph(State).add_node("start", start).add_node("each", each)
    made = graph.add_edge(START, "start").compile(backend=backend)
    assert made.invoke({}) == {"items": ["start", 1, 2], "messages": []}


def test_a_conditional_edge_that_sends(backend):
    def fan(state: State) -> list[Any]:
        return [Send("each", 1), own.Send("each", 2)]

    graph = (
        StateGraph(State)
        .add_node("each", lambda n: {"items": [n]})
        .add_conditional_edges(START, fan, ["each"])
    )
    assert graph.compile(backend=backend).invoke({})["items"] == [1, 2]


@pytest.mark.parametrize("ask", [interrupt, own.interrupt], ids=["LangGraph's", "ours"])
def test_an_interrupt_ends_the_run_with_its_question(backend, ask):
    def node(state: State) -> None:
        ask({"sure": True})

    made = running(backend, node)
    (found,) = made.invoke({"items": [1]})["__interrupt__"]
    assert found.value == {"sure": True}
    chunks = normalise(made.stream({"items": [1]}, stream_mode=["updates", "tasks"]))
    shown = {"__class__": "Interrupt", "value": {"sure": True}, "id": "<hash-1>"}
    assert chunks[1] == ("updates", {"__interrupt__": ({**shown, "response_schema": None},)})
    assert chunks[2][1]["interrupts"][0]["value"] == {"sure": True}


def test_the_two_interrupts_have_the_same_id_in_the_same_task():
    ids = []

    def node(state: State) -> None:
        for ask in (interrupt, own.interrupt):
            try:
                ask("?")
            except Exception as stop:
                ids.append(stop.args[0][0].id)

    running("local", node).invoke({})
    assert len(ids) == 2
    assert VERSION < (1, 2, 0) or ids[0] == ids[1]


def test_an_interrupt_outside_of_a_run_says_so():
    with pytest.raises(RuntimeError, match=r"interrupt\(\) was called outside of a distgraph run"):
        own.interrupt("?")


@newest
def test_an_interrupt_in_a_graph_that_a_node_invokes(backend):
    from langgraph.graph import StateGraph as Theirs

    def asks(state: State) -> None:
        interrupt("inner")

    inner = Theirs(State).add_node("asks", asks).add_edge(START, "asks").compile()

    def call(state: State) -> dict[str, Any]:
        return {"items": inner.invoke({"items": []})["items"]}

    outer = Theirs(State).add_node("call", call).add_edge(START, "call")
    same(backend, lambda ns: outer, {"items": []}, stream_mode=["updates", "values"])


def test_a_command_to_the_parent_from_a_graph_that_a_node_invokes(backend):
    from langgraph.graph import StateGraph as Theirs

    def up(state: State) -> Command:
        return Command(graph=Command.PARENT, update={"items": ["up"]}, goto="next")

    inner = Theirs(State).add_node("up", up).add_edge(START, "up").compile()

    def call(state: State) -> dict[str, Any]:
        return inner.invoke({"items": []})

    graph = (
        StateGraph(State)
        .add_node("call", call)
        .add_node("next", lambda state: {"items": ["next"]})
        .add_edge(START, "call")
        .compile(backend=backend)
    )
    assert graph.invoke({})["items"] == ["up", "next"]


def pushes(state: State) -> dict[str, Any]:
    push_message(AIMessage("first", id="m1"))
    push_message(AIMessage("not kept", id="m2"), state_key=None)
    return {"messages": [AIMessage("last", id="m3")]}


@newest
def test_pushed_messages_are_streamed_at_once_and_written(backend):
    from langgraph.graph import StateGraph as Theirs

    graph = Theirs(State).add_node("pushes", pushes).add_edge(START, "pushes")
    same(backend, lambda ns: graph, {}, stream_mode=["messages", "updates", "values"])


def test_pushed_messages_without_a_stream_of_messages():
    out = running("local", pushes).invoke({})
    assert [m.id for m in out["messages"]] == ["m1", "m3"]


def test_an_import_inside_the_node_finds_the_run():
    """LangChain's runnables are loaded; LangGraph is not until the node asks for it."""
    code = """
import sys, langchain_core.runnables.config
from typing import TypedDict
from distgraph import START, StateGraph

def node(state):
    assert "langgraph.types" not in sys.modules
    from langgraph.config import get_stream_writer
    from langgraph.types import interrupt
    get_stream_writer()("written")
    interrupt("asked")

graph = StateGraph(TypedDict("S", {"n": int})).add_node("node", node).add_edge(START, "node")
for chunk in graph.compile(backend="local").stream({"n": 1}, stream_mode=["custom", "updates"]):
    print(chunk)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "('custom', 'written')"
    assert "value='asked'" in second


def test_a_message_is_streamed_where_the_node_imports_push_message_first():
    code = """
import sys
from langchain_core.messages import AIMessage
from distgraph import START, MessagesState, StateGraph

def node(state):
    assert "langgraph.graph.message" not in sys.modules
    from langgraph.graph.message import push_message
    push_message(AIMessage("pushed", id="p"), state_key=None)

graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
for message, _ in graph.compile(backend="local").stream({"messages": []}, stream_mode="messages"):
    print(message.content)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pushed\n"


def test_langgraph_is_not_loaded_for_graphs_that_do_not_use_it():
    code = """
import sys
from distgraph import START, MessagesState, StateGraph
graph = StateGraph(MessagesState).add_node("n", lambda state: {"messages": [("ai", "hi")]})
graph.add_edge(START, "n").compile(backend="local").invoke({"messages": []})
print([m for m in sys.modules if m.split(".")[0] == "langgraph"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_hidden_keys_stay_out_of_what_a_graph_inside_is_given(backend):
    seen: list[str] = []
    inner = StateGraph(State).add_node(
        "inner", lambda state, config: {"items": [config["configurable"].get("mine")]}
    )
    child = inner.add_edge(START, "inner").compile(backend="local")

    def node(state: State, config: Any) -> dict[str, Any]:
        seen.extend(config["configurable"])
        return {"items": child.invoke({}, config)["items"]}

    made = running(backend, node)
    assert made.invoke({}, {"configurable": {"mine": 1}})["items"] == [1]
    assert distgraph.__version__
