"""Graphs that the tests of clients run. Nothing is faked but the model."""

from __future__ import annotations

import json
import operator
import time
from collections.abc import Iterator
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from typing_extensions import TypedDict

from distgraph import END, START, StateGraph, create_agent
from distgraph.config import get_stream_writer
from distgraph.types import interrupt


class ScriptedModel(BaseChatModel):
    """Asks for the weather where the question is about it, and streams its answers by words."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        last = messages[-1]
        if "weather" in str(last.content) and not isinstance(last, ToolMessage):
            arguments = json.dumps({"city": "sf"})
            parts = [
                {"name": "get_weather", "id": "call-1", "args": "", "index": 0},
                {"name": None, "id": None, "args": arguments[:5], "index": 0},
                {"name": None, "id": None, "args": arguments[5:], "index": 0},
            ]
            chunks = [AIMessageChunk(content="", tool_call_chunks=[part]) for part in parts]
        else:
            words = f"You said: {last.content}".split(" ")
            texts = [words[0], *(f" {word}" for word in words[1:])]
            chunks = [AIMessageChunk(content=text) for text in texts]
        for chunk in chunks:
            time.sleep(0.03)  # a page shows a message as it grows
            generation = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.content), chunk=generation)
            yield generation

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        whole = None
        for generation in self._stream(messages, run_manager=run_manager):
            whole = generation if whole is None else whole + generation
        assert whole is not None
        return ChatResult(generations=[ChatGeneration(message=whole.message)])


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"sunny in {city}"


agent = create_agent(ScriptedModel(), [get_weather], name="agent")


class State(TypedDict, total=False):
    question: str
    answer: str
    steps: Annotated[list[str], operator.add]


def first(state: State) -> State:
    write = get_stream_writer()
    write({"progress": 1})
    write({"name": "a2a", "payload": {"hello": "named"}})
    return {"steps": ["first"]}


def inner(state: State) -> State:
    return {"steps": ["inner"]}


def ask(state: State) -> State:
    answer = interrupt({"question": state.get("question", "go on?")})
    return {"answer": str(answer), "steps": ["ask"]}


def fail(state: State) -> State:
    raise ValueError("boom")


def wait(state: State) -> State:
    write = get_stream_writer()
    for number in range(600):
        write({"tick": number})
        time.sleep(0.05)
    return {"steps": ["wait"]}


_child = StateGraph(State).add_node("inner", inner).add_edge(START, "inner")
child = _child.compile(name="child")

work = (
    StateGraph(State)
    .add_node("first", first)
    .add_node("sub", child)
    .add_node("ask", ask)
    .add_edge(START, "first")
    .add_edge("first", "sub")
    .add_edge("sub", "ask")
    .add_edge("ask", END)
)


def linger(state: State) -> State:
    time.sleep(0.5)
    return {"steps": ["linger"]}


slow_question = (
    StateGraph(State)
    .add_node("ask", ask)
    .add_node("linger", linger)
    .add_edge(START, "ask")
    .add_edge(START, "linger")
)
failing = StateGraph(State).add_node("fail", fail).add_edge(START, "fail")
slow = StateGraph(State).add_node("wait", wait).add_edge(START, "wait")
