"""The graphs that the tests of ``distgraph serve`` serve."""

from __future__ import annotations

import asyncio
import operator
import os
import time
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict

import distgraph

VERSION = "first version"


class Done(TypedDict):
    done: Annotated[list[str], operator.add]


def child(state: Done) -> dict[str, Any]:
    get_stream_writer()({"from": "child"})
    return {"done": ["child"]}


def first(state: Done) -> dict[str, Any]:
    get_stream_writer()({"from": "first"})
    return {"done": ["first"]}


inner = StateGraph(Done).add_node("child", child).add_edge(START, "child").compile()
work = (
    StateGraph(Done)
    .add_node("first", first)
    .add_node("sub", inner)
    .add_edge(START, "first")
    .add_edge("first", "sub")
    .compile()
)


def make(config: RunnableConfig) -> Any:
    """A factory: the node's text is in the config."""
    text = config.get("configurable", {}).get("text", "made")

    def node(state: Done) -> dict[str, Any]:
        return {"done": [f"{os.environ['SERVED_GREETING']} {text}"]}

    return StateGraph(Done).add_node("node", node).add_edge(START, "node").compile()


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def model(state: MessagesState) -> dict[str, Any]:
    """Ask for a tool, then answer in words."""
    if getattr(state["messages"][-1], "type", "") == "tool":
        reply = AIMessage(f"The sum is {state['messages'][-1].content}", id="answer")
        fake = GenericFakeChatModel(messages=iter([reply]))
        return {"messages": [fake.invoke(state["messages"])]}
    call = {"name": "add", "args": {"a": 1, "b": 2}, "id": "call-1", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[call], id="question")]}


def wants_tool(state: MessagesState) -> str:
    return "tools" if state["messages"][-1].tool_calls else "__end__"  # type: ignore[union-attr]


agent = (
    StateGraph(MessagesState)
    .add_node("model", model)
    .add_node("tools", ToolNode([add]))
    .add_edge(START, "model")
    .add_conditional_edges("model", wants_tool, ["tools", "__end__"])
    .add_edge("tools", "model")
    .compile()
)


class Question(TypedDict, total=False):
    question: str
    answer: str
    seen: str


def ask_node(state: Question) -> dict[str, Any]:
    return {"answer": interrupt({"question": state["question"]})}


def after(state: Question) -> dict[str, Any]:
    return {"seen": state["answer"]}


def _asking() -> Any:
    return (
        StateGraph(Question)
        .add_node("ask", ask_node)
        .add_node("after", after)
        .add_edge(START, "ask")
        .add_edge("ask", "after")
    )


ask = _asking().compile()
nested = (
    StateGraph(Question).add_node("inside", _asking().compile()).add_edge(START, "inside").compile()
)


class Ticks(TypedDict, total=False):
    ticks: int
    pause: float
    done: Annotated[list[str], operator.add]


async def tick(state: Ticks) -> dict[str, Any]:
    writer = get_stream_writer()
    for number in range(state.get("ticks", 20)):
        writer(number)
        await asyncio.sleep(state.get("pause", 0.05))
    return {"done": ["ticked"]}


slow = StateGraph(Ticks).add_node("tick", tick).add_edge(START, "tick").compile()


def compute(state: Ticks) -> dict[str, Any]:
    """Occupy a CPU for as long as the input says."""
    writer = get_stream_writer()
    for number in range(state["ticks"]):
        writer(number)
        time.sleep(0.02)
    return {"done": [VERSION]}


busy = StateGraph(Ticks).add_node("compute", compute).add_edge(START, "compute").compile()


def boom(state: Done) -> dict[str, Any]:
    raise ValueError("boom")


fail = StateGraph(Done).add_node("boom", boom).add_edge(START, "boom").compile()


@dataclass
class Context:
    user: str = "nobody"


def greet(state: Done, runtime: distgraph.Runtime[Context]) -> dict[str, Any]:
    return {"done": [f"hello {runtime.context.user}"]}


ours = (
    distgraph.StateGraph(Done, context_schema=Context)
    .add_node("greet", greet)
    .add_edge(START, "greet")
    .compile()
)


def remember(state: Done, runtime: Runtime) -> dict[str, Any]:
    """Count the runs in the store."""
    assert runtime.store is not None
    item = runtime.store.get(("runs",), "count")
    count = 1 if item is None else item.value["count"] + 1
    runtime.store.put(("runs",), "count", {"count": count})
    return {"done": [f"run {count}"]}


remembers = StateGraph(Done).add_node("remember", remember).add_edge(START, "remember").compile()
