"""A chat model that needs no network: it answers with sentences taken from its prompt.

It picks the sentences whose words are the most frequent in the prompt (the method of H. P. Luhn,
"The Automatic Creation of Literature Abstracts", IBM Journal, 1958), keeps them in their order, and
says in its first line what it is. It streams word by word through LangChain's streaming interface.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

NOTICE = "[Extractive model: every sentence below is copied from the prompt, none is generated.]"

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[a-z][a-z'-]{3,}")
_TOKEN = re.compile(r"\S+\s*|\s+")


class ExtractiveChatModel(BaseChatModel):
    """Answers with the most representative sentences of the last message.

    In the prompt, a line that starts with ``#`` opens a section, and a sentence ends in ``.``,
    ``!`` or ``?``; an instruction to the model therefore ends in a colon. With sections, each keeps
    its heading and up to ``sentences`` sentences.
    """

    sentences: int = 2
    """Sentences to keep, of each section where the prompt has sections."""
    notice: bool = True
    """Whether the answer starts by saying that it is extracted."""
    delay: float = 0.0
    """Seconds between two words, so that a person can watch them arrive."""

    @property
    def _llm_type(self) -> str:
        return "extractive"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = AIMessage(content=self._answer(messages))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for token in _TOKEN.findall(self._answer(messages)) or [""]:
            if self.delay:
                time.sleep(self.delay)
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token))
            if run_manager:
                run_manager.on_llm_new_token(token, chunk=chunk)
            yield chunk

    def _answer(self, messages: list[BaseMessage]) -> str:
        prompt = str(messages[-1].content)
        weights = Counter(_WORD.findall(prompt.lower()))
        parts = [f"{NOTICE}\n"] if self.notice else []
        for heading, sentences in _sections(prompt):
            kept = _representative(sentences, weights, self.sentences)
            if not kept:
                continue
            if heading:
                parts.append(f"\n{heading}\n")
            parts.append(" ".join(kept) + "\n")
        return "".join(parts).strip()


def _sections(prompt: str) -> list[tuple[str, list[str]]]:
    """Split a prompt into (heading, sentences); the heading of what precedes the first is empty."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in prompt.splitlines():
        text = line.strip().removeprefix("- ")
        if text.startswith("#"):
            sections.append((text.lstrip("# "), []))
            continue
        sections[-1][1].extend(s for s in _SENTENCE.split(text) if s.endswith((".", "!", "?")))
    return sections


def _representative(sentences: list[str], weights: Counter[str], count: int) -> list[str]:
    """Return the ``count`` sentences with the highest mean word weight, in their own order."""

    def score(index: int) -> float:
        words = _WORD.findall(sentences[index].lower())
        mean = sum(weights[w] for w in words) / len(words) if words else 0.0
        # What opens a section tends to say what it is about.
        return mean * 1.5 if index == 0 else mean

    best = sorted(range(len(sentences)), key=score, reverse=True)[:count]
    return [sentences[i] for i in sorted(best)]
