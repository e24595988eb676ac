"""``langgraph-supervisor`` and ``langgraph-swarm``: handoffs as they stream without subgraphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.prebuilt import create_react_agent

from distgraph import distribute

QUESTION = {"messages": [{"role": "user", "content": "add 1 and 2", "id": "q"}]}


class Scripted(BaseChatModel):
    """Calls each tool of its script once, in order, and then says its last word."""

    script: list[str]
    word: str

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Scripted:
        return self

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        done = {m.name for m in messages if isinstance(m, ToolMessage)}
        left = [name for name in self.script if name not in done]
        calls = [{"name": left[0], "args": {}, "id": f"call-{left[0]}"}] if left else []
        reply = AIMessage("" if left else self.word, tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=reply)])


def agent(name: str, script: list[str], word: str, tools: Any = ()) -> Any:
    return create_react_agent(Scripted(script=script, word=word), list(tools), name=name)


def three() -> int:
    """Add the two numbers."""
    return 3


def supervisor() -> Any:
    package = pytest.importorskip("langgraph_supervisor", reason="not installed")
    boss = Scripted(script=["transfer_to_maths"], word="It is 3.")
    return package.create_supervisor(
        [agent("maths", ["three"], "3", [three])], model=boss
    ).compile()


def swarm() -> Any:
    package = pytest.importorskip("langgraph_swarm", reason="not installed")
    to_maths = package.create_handoff_tool(agent_name="maths")
    front = agent("front", ["transfer_to_maths"], "never", [to_maths])
    return package.create_swarm(
        [front, agent("maths", ["three"], "3", [three])], default_active_agent="front"
    ).compile()


def shown(graph: Any) -> list[Any]:
    """Return what is streamed, without ids that are drawn anew in each run."""
    found: list[Any] = []
    for mode, payload in graph.stream(QUESTION, stream_mode=["updates", "messages"]):
        if mode == "messages":
            message, told = payload
            found.append((told["langgraph_node"], type(message).__name__, message.text))
        else:
            found.append(sorted(payload))
    return found


@pytest.mark.parametrize("build", [supervisor, swarm])
def test_a_handoff_streams_as_in_langgraph(backend: str, build: Callable[[], Any]) -> None:
    expected = shown(build())
    assert ("maths", "AIMessage", "3") in expected
    assert shown(distribute(build(), backend=backend)) == expected
