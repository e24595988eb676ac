"""Our ``Command`` and ``Send`` in code of LangChain and LangGraph that looks at their class."""

from __future__ import annotations

import copy
import pickle
from typing import Annotated, Any

import cloudpickle
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph import types as theirs

from distgraph import START, Command, MessagesState, Send, StateGraph
from distgraph.agents import create_agent
from tests.ecosystem.models import Steps
from tests.langgraph_graphs.support import newest

OURS = [Command(update={"a": 1}, goto="b"), Send("b", {"x": 1}, timeout=3)]


@tool
def hand_over(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
    """Hand over."""
    update = {"messages": [ToolMessage("over", tool_call_id=tool_call_id, id="over")]}
    return Command(goto="bob", graph=Command.PARENT, update=update)


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: type(ours).__name__)
def test_our_objects_count_as_theirs_and_stay_ours(ours: Any) -> None:
    assert isinstance(ours, getattr(theirs, type(ours).__name__))
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), _travelled(ours)):
        assert type(again) is type(ours)
        assert again == ours
        assert repr(again) == repr(ours)


def _travelled(value: Any) -> Any:
    return cloudpickle.loads(cloudpickle.dumps(value))


def test_a_tool_that_a_node_invokes_returns_the_command_itself() -> None:
    call = {"name": "hand_over", "args": {}, "id": "1", "type": "tool_call"}
    assert type(hand_over.invoke(call)) is Command


@newest
def test_an_agents_tool_hands_over_to_a_node_of_the_graph_around() -> None:
    alice = create_agent(Steps(steps=[[("hand_over", {})]], tag="a"), [hand_over], backend="local")

    def bob(state: MessagesState) -> Any:
        return {"messages": [AIMessage("bob", id="bob")]}

    builder = StateGraph(MessagesState).add_node("alice", alice).add_node("bob", bob)
    graph = builder.add_edge(START, "alice").compile(backend="local")
    end = graph.invoke({"messages": [HumanMessage("go", id="go")]})
    assert [m.id for m in end["messages"]] == ["go", "over", "bob"]
