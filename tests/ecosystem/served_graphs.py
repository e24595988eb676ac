"""The graphs that LangGraph's dev server serves: one of LangGraph's, and the same distributed."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import Send, interrupt
from typing_extensions import TypedDict

import distgraph


class State(TypedDict, total=False):
    words: list[str]
    lengths: Annotated[list[int], operator.add]
    answer: str


def spread(state: State) -> list[Send]:
    return [Send("measure", {"words": [word]}) for word in state["words"]]


def measure(state: State) -> dict[str, Any]:
    (word,) = state["words"]
    get_stream_writer()({"measuring": word})
    return {"lengths": [len(word)]}


async def ask(state: State) -> dict[str, Any]:
    return {"answer": interrupt("well?")}


builder = StateGraph(State).add_node("measure", measure).add_node("ask", ask)
builder.add_conditional_edges(START, spread, ["measure"])
builder.add_edge("measure", "ask")

langgraph = builder.compile()
local = distgraph.distribute(builder.compile(), backend="local")
ray = distgraph.distribute(builder.compile(), backend="ray")
