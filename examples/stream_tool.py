"""Progress and tokens from inside tools, which a hand-written node calls as a message asks."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool

from distgraph.config import get_stream_writer
from distgraph.graph import START, MessagesState, StateGraph
from extractive import ExtractiveChatModel

ARTICLES = {
    "office": "An office has books, pencils and pictures. The books in an office are rarely read.",
    "bedroom": "A bedroom has a bed. The bed in a bedroom is used for a third of a life.",
}

model = ExtractiveChatModel(sentences=1, tags=["tool"])


@tool
def describe(place: str) -> str:
    """Describe a place in one sentence."""
    get_stream_writer()({"tool": "describe", "status": f"looking up {place}"})
    answer = model.invoke(f"Shorten this text:\n{ARTICLES[place]}")
    get_stream_writer()({"tool": "describe", "status": f"found {place}"})
    return str(answer.content)


TOOLS = {"describe": describe}


def call_tools(state: MessagesState) -> dict[str, Any]:
    """Run each tool call of the last message."""
    message = state["messages"][-1]
    assert isinstance(message, AIMessage)
    results = [
        ToolMessage(
            content=TOOLS[call["name"]].invoke(call["args"]),
            name=call["name"],
            tool_call_id=call["id"],
            id=f"result-{call['id']}",
        )
        for call in message.tool_calls
    ]
    return {"messages": results}


graph = StateGraph(MessagesState).add_node(call_tools).add_edge(START, "call_tools").compile()

if __name__ == "__main__":
    request = AIMessage(
        content="",
        id="request",
        tool_calls=[
            {"name": "describe", "args": {"place": "office"}, "id": "1"},
            {"name": "describe", "args": {"place": "bedroom"}, "id": "2"},
        ],
    )
    for mode, chunk in graph.stream({"messages": [request]}, stream_mode=["custom", "messages"]):
        if mode == "custom":
            print("custom:", chunk)
        else:
            message, metadata = chunk
            print(f"{message.type}: {message.content!r}")
