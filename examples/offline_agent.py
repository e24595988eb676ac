"""A stand-in for a chat model that calls tools: it needs no network, and decides by rules.

It calls a tool for each place of the question that a rule's pattern matches, and when all results
are there it quotes them. It streams through LangChain's interface as hosted models do: calls in
chunks whose arguments are fragments of JSON, answers word by word.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

NOTICE = "[Offline model: a stand-in that follows rules and quotes what its tools returned.]"

PARALLEL = "parallel_tool_calls"

_WORD = re.compile(r"\S+\s*|\s+")
_FRAGMENT = 12


@dataclass(frozen=True)
class Rule:
    """When the question matches ``pattern``, ``tool`` is called with the pattern's named groups.

    Groups of digits become numbers.
    """

    pattern: str
    tool: str
    quoted: bool = True
    """Whether the answer quotes what the tool returned."""


class OfflineAgentModel(BaseChatModel):
    """Calls the tools that its rules find in the last question, and then quotes their results."""

    rules: tuple[Rule, ...]
    """Those whose tool is not bound are passed over."""
    notice: bool = True
    """Whether an answer starts by saying what it is."""
    delay: float = 0.0
    """Seconds between two chunks, so that a person can watch them arrive."""

    @property
    def _llm_type(self) -> str:
        return "offline-agent"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools; ``parallel_tool_calls=False``: one call a message."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        offered = {tool["function"]["name"] for tool in kwargs.get("tools", ())}
        calls = self._calls(messages, offered)[: None if kwargs.get(PARALLEL, True) else 1]
        content = "" if calls else self._answer(messages, offered)
        message = AIMessage(content=content, tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        offered = {tool["function"]["name"] for tool in kwargs.get("tools", ())}
        calls = self._calls(messages, offered)[: None if kwargs.get(PARALLEL, True) else 1]
        pieces = _call_chunks(calls) if calls else _text_chunks(self._answer(messages, offered))
        for piece in pieces:
            if self.delay:
                time.sleep(self.delay)
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                run_manager.on_llm_new_token(str(piece.content), chunk=chunk)
            yield chunk

    def _calls(self, messages: Sequence[BaseMessage], offered: set[str]) -> list[ToolCall]:
        """Return the calls that the last question asks for and that nobody has made yet."""
        at = max(i for i, message in enumerate(messages) if isinstance(message, HumanMessage))
        question = str(messages[at].content)
        earlier = [call for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
        made = [(c["name"], c["args"]) for m in messages[at:] for c in getattr(m, "tool_calls", ())]
        asked = [
            (match.start(), rule.tool, _arguments(match))
            for rule in self.rules
            if rule.tool in offered
            for match in re.finditer(rule.pattern, question)
        ]
        wanted: list[tuple[str, dict[str, Any]]] = []
        for _, tool, arguments in sorted(asked, key=lambda found: found[0]):
            if (tool, arguments) not in (*made, *wanted):
                wanted.append((tool, arguments))
        return [
            ToolCall(
                name=tool, args=arguments, id=f"call_{len(earlier) + number}", type="tool_call"
            )
            for number, (tool, arguments) in enumerate(wanted)
        ]

    def _answer(self, messages: Sequence[BaseMessage], offered: set[str]) -> str:
        """Quote the results of its own tools; without any to quote, those of other agents."""
        quoted = {rule.tool for rule in self.rules if rule.quoted}
        quoted = quoted & offered or quoted
        calls = {c["id"]: c for m in messages for c in getattr(m, "tool_calls", ())}
        lines = [NOTICE] if self.notice else []
        for message in messages:
            if isinstance(message, ToolMessage) and message.name in quoted:
                arguments = calls[message.tool_call_id]["args"].values()
                called = f"{message.name}({', '.join(map(str, arguments))})"
                lines.append(f"- {called}: {message.content}")
        if len(lines) == self.notice:
            lines.append("No rule of it fits the question.")
        return "\n".join(lines)


def _arguments(match: re.Match[str]) -> dict[str, Any]:
    return {key: int(v) if v.isdigit() else v for key, v in match.groupdict().items() if v}


def _call_chunks(calls: Sequence[ToolCall]) -> Iterator[AIMessageChunk]:
    for index, call in enumerate(calls):
        first = tool_call_chunk(name=call["name"], args="", id=call["id"], index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[first])
        text = json.dumps(call["args"])
        for start in range(0, len(text), _FRAGMENT):
            part = tool_call_chunk(args=text[start : start + _FRAGMENT], index=index)
            yield AIMessageChunk(content="", tool_call_chunks=[part])


def _text_chunks(text: str) -> Iterator[AIMessageChunk]:
    for word in _WORD.findall(text):
        yield AIMessageChunk(content=word)


def choose_model(offline: BaseChatModel) -> tuple[BaseChatModel, str]:
    """Return the hosted model that the environment names, or ``offline``, and what it is."""
    key, url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if not key and not url:
        kind = offline._llm_type
        return offline, f"{kind} (built in; OPENAI_API_KEY or OPENAI_BASE_URL choose a hosted one)"
    from langchain_openai import ChatOpenAI

    name = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
    # a local server needs no key, but the client insists on one
    model = ChatOpenAI(model=name) if key else ChatOpenAI(model=name, api_key=lambda: "unused")
    return model, f"{name} at {url or 'the default OpenAI endpoint'}"
