"""A graph that keeps what its users tell it, and says who they are."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from distgraph import START, StateGraph
from distgraph.types import interrupt


class State(TypedDict, total=False):
    note: str
    user: Any
    seen: Annotated[list[str], operator.add]


def keep(state: State, config: RunnableConfig) -> State:
    configurable = config["configurable"]
    user = configurable.get("langgraph_auth_user")
    found = {
        "identity": user["identity"],
        "org": user.org,
        "id": configurable.get("langgraph_auth_user_id"),
        "permissions": configurable.get("langgraph_auth_permissions"),
    }
    if state.get("note") == "ask":
        interrupt("sure?")
    return {"seen": [state["note"]], "user": found}


notes = StateGraph(State).add_node("keep", keep).add_edge(START, "keep")
