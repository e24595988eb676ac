"""Chat models that stream the same tokens for the same input, wherever they run.

A reply is made from the input alone: no iterator or counter that a copy in another process would
start again.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolCall,
    ToolCallChunk,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool


def tokens(text: str) -> list[str]:
    """Split into words and the spaces between them, as the fake models stream them."""
    return [t for t in re.split(r"(\s)", text) if t]


class EchoModel(BaseChatModel):
    """Streams ``<prefix><last message>`` word by word."""

    prefix: str = "echo "

    @property
    def _llm_type(self) -> str:
        return "echo"

    def reply(self, messages: list[BaseMessage]) -> str:
        return f"{self.prefix}{messages[-1].text}"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        message = AIMessage(content=self.reply(messages))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for token in tokens(self.reply(messages)):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token))
            if run_manager:
                run_manager.on_llm_new_token(token, chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for token in tokens(self.reply(messages)):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token))
            if run_manager:
                await run_manager.on_llm_new_token(token, chunk=chunk)
            yield chunk


class WholeModel(EchoModel):
    """Has no streaming at all: one whole message a call."""

    disable_streaming: Any = True


class FailingModel(EchoModel):
    """Breaks after its first two tokens."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for i, chunk in enumerate(super()._stream(*args, **kwargs)):
            if i == 2:
                raise ConnectionError("the model hung up")
            yield chunk


class CallingModel(BaseChatModel):
    """Calls tools, then answers from what they said.

    What it does follows from the messages: as long as fewer than ``rounds`` of its messages since
    the user's last one have tool calls, it makes ``calls``; then it answers ``<prefix>`` and the
    tools' answers. With ``tool_choice`` it calls the one tool that is bound, with ``structured``.
    """

    calls: list[tuple[str, dict[str, Any]]] = []
    rounds: int = 1
    prefix: str = "answer: "
    structured: dict[str, Any] = {}

    @property
    def _llm_type(self) -> str:
        return "calling"

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        bound = [convert_to_openai_tool(tool) for tool in tools]
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=bound, **kwargs)

    def reply(self, messages: list[BaseMessage], **kwargs: Any) -> AIMessage:
        start = max((i for i, m in enumerate(messages) if m.type == "human"), default=-1)
        recent = messages[start + 1 :]
        made = sum(bool(m.tool_calls) for m in recent if isinstance(m, AIMessage))
        calls = self.calls if made < self.rounds else []
        if "tool_choice" in kwargs:
            calls = [(kwargs["tools"][0]["function"]["name"], self.structured)]
        if calls:
            told = [
                ToolCall(name=name, args=args, id=f"call_{made}_{i}", type="tool_call")
                for i, (name, args) in enumerate(calls)
            ]
            return AIMessage(content="", tool_calls=told)
        said = [m.text for m in recent if isinstance(m, ToolMessage)]
        return AIMessage(content=self.prefix + ", ".join(said))

    def pieces(self, messages: list[BaseMessage], **kwargs: Any) -> Iterator[AIMessageChunk]:
        """Stream a reply: tool calls by name and then by pieces of their arguments."""
        whole = self.reply(messages, **kwargs)
        for i, call in enumerate(whole.tool_calls):
            parts = [(call["name"], call["id"], "")]
            parts += [(None, None, piece) for piece in tokens(json.dumps(call["args"]))]
            for name, id, args in parts:
                piece = ToolCallChunk(name=name, id=id, args=args, index=i, type="tool_call_chunk")
                yield AIMessageChunk(content="", tool_call_chunks=[piece])
        for token in tokens(whole.text):
            yield AIMessageChunk(content=token)

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        message = self.reply(messages, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self.pieces(messages, **kwargs):
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                run_manager.on_llm_new_token(piece.text, chunk=chunk)
            yield chunk
