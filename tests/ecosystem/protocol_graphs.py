"""The graphs that both servers serve."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


class Done(TypedDict, total=False):
    done: Annotated[list[Any], operator.add]
    fail: bool


def child(state: Done) -> dict[str, Any]:
    if state.get("fail"):
        raise ValueError("boom inside")
    return {"done": ["child"]}


def first(state: Done) -> dict[str, Any]:
    get_stream_writer()({"from": "first"})
    return {"done": ["first"]}


def boom(state: Done) -> dict[str, Any]:
    raise ValueError("boom")


async def tick(state: Done) -> dict[str, Any]:
    await asyncio.sleep(1.5)
    return {"done": ["ticked"]}


sub = StateGraph(Done).add_node("child", child).add_edge(START, "child").compile()
work = (
    StateGraph(Done)
    .add_node("first", first)
    .add_node("sub", sub)
    .add_edge(START, "first")
    .add_edge("first", "sub")
    .compile()
)
fail = StateGraph(Done).add_node("boom", boom).add_edge(START, "boom").compile()
slow = StateGraph(Done).add_node("tick", tick).add_edge(START, "tick").compile()


async def model(state: MessagesState) -> dict[str, Any]:
    fake = GenericFakeChatModel(messages=iter([AIMessage("one two three", id="reply")]))
    return {"messages": [await fake.ainvoke(state["messages"])]}


chat = StateGraph(MessagesState).add_node("model", model).add_edge(START, "model").compile()
inside = StateGraph(MessagesState).add_node("talk", chat).add_edge(START, "talk").compile()


class Question(TypedDict, total=False):
    question: str
    answer: Any
    seen: Any


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
        .compile()
    )


ask = _asking()
nested = StateGraph(Question).add_node("inside", _asking()).add_edge(START, "inside").compile()


class Got(TypedDict, total=False):
    got: Annotated[list[Any], operator.add]


two = (
    StateGraph(Got)
    .add_node("a", lambda state: {"got": [("a", interrupt("a?"))]})
    .add_node("b", lambda state: {"got": [("b", interrupt("b?"))]})
    .add_edge(START, "a")
    .add_edge(START, "b")
    .compile()
)
