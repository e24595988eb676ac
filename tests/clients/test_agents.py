"""Agents on a real client: parallel tool calls in chunks, their results, the next request."""

import json
import warnings

import pytest
from langchain_core.tools import tool

from tests.clients.support import HI, chat, texts
from tests.support.differential import run
from tests.support.openai_server import Answer, Call

FACES = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
CALLS = (Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"}), Call("broken"))


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


@tool
def broken() -> str:
    """Fail."""
    raise LookupError("no such thing")


def two_rounds(body):
    """Call tools first, then tell what they answered."""
    answers = [m["content"] for m in body["messages"] if m["role"] == "tool"]
    return " | ".join(answers) if answers else Answer("Looking.", CALLS, order="taking turns")


def agent(ns, model, *tools):
    prebuilt = ns.module("prebuilt")
    node = prebuilt.ToolNode([*tools], handle_tool_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # LangGraph's has a successor
        return prebuilt.create_react_agent(model, node)


@FACES
def test_parallel_tool_calls_go_round(engine, serve, is_async):
    server = serve(two_rounds)
    graph = agent(engine, chat(server), weather, broken)
    outcome = run(graph, HI, "async" if is_async else "sync", stream_mode=["messages", "updates"])
    assert outcome.error is None
    updates = [chunk for mode, chunk in outcome.chunks if mode == "updates"]
    tools = [m for u in updates if "tools" in u for m in u["tools"]["messages"]]
    said = {m.tool_call_id: m.content for m in sorted(tools, key=lambda m: m.tool_call_id)}
    assert len(tools) == 3
    assert said["call_0"] == "sun in Oslo"
    assert said["call_1"] == "sun in Rome"
    assert "no such thing" in said["call_2"]
    first, second = server.requests
    assert [t["function"]["name"] for t in first["tools"]] == ["weather", "broken"]
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "tool", "tool", "tool"]
    made = second["messages"][1]
    assert made["content"] == "Looking."
    assert [json.loads(c["function"]["arguments"]) for c in made["tool_calls"]] == [
        dict(call.args) for call in CALLS
    ]
    by_node = [(meta["langgraph_node"], m) for mode, (m, meta) in tokens(outcome)]
    spoken = [m.text for node, m in by_node if node == "agent" and m.text]
    assert spoken[0] == "Looking."
    assert "".join(spoken[1:]) == " | ".join(said.values())


def tokens(outcome):
    return [(mode, chunk) for mode, chunk in outcome.chunks if mode == "messages"]


def test_a_model_in_a_tool_streams_as_the_tools_node(engine, serve):
    server = serve(lambda body: "inner words" if body["model"] == "inner" else two_calls(body))
    inner = chat(server, model="inner")

    @tool
    def ask(question: str) -> str:
        """Ask another model."""
        return inner.invoke(question).text

    def two_calls(body):
        if body["messages"][-1]["role"] == "tool":
            return "done"
        return Answer(calls=(Call("ask", {"question": "a"}), Call("ask", {"question": "b"})))

    outcome = run(agent(engine, chat(server), ask), HI, stream_mode="messages")
    assert outcome.error is None
    inside = [c for c in outcome.chunks if c[1].get("ls_model_name") == "inner"]
    assert {metadata["langgraph_node"] for _, metadata in inside} == {"tools"}
    said = {}
    for message, _ in inside:
        said[message.id] = said.get(message.id, "") + message.text
    assert list(said.values()) == ["inner words", "inner words"]
    outside = [c for c in outcome.chunks if c[1]["langgraph_node"] == "agent"]
    assert texts(outside) == ["done"]
