"""A graph with a subgraph, a model and a tool, for libraries that observe runs."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    text: str


@tool
def shout(text: str) -> str:
    """Say it loudly."""
    return text.upper()


def think(state: State) -> State:
    return {"text": FakeListChatModel(responses=["hello"]).invoke("hi").text}


def act(state: State) -> State:
    return {"text": shout.invoke(state["text"])}


def graph() -> Any:
    child = StateGraph(State).add_node("act", act).add_edge(START, "act").compile(name="child")
    builder = StateGraph(State).add_node("think", think).add_node("sub", child)
    return builder.add_edge(START, "think").add_edge("think", "sub").compile()
