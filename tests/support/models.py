"""Chat models that stream the same tokens for the same input, wherever they run.

A reply is made from the input alone: no iterator or counter that a copy in another process would
start again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult


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
