"""The model of ``create_react_agent``: what may be given, its prompt and its tools."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableLambda,
    RunnableSequence,
)
from langchain_core.tools import BaseTool

from distgraph.errors import MissingExtraError
from distgraph.prebuilt.agent_state import value_of
from distgraph.worker.context import current_task
from distgraph.worker.user_functions import FunctionNode, bind

__all__ = ("bound_model", "chat_model", "check_history", "named_model", "prompt_runnable")


def named_model(name: str) -> BaseChatModel:
    """Return the chat model that a string such as "openai:gpt-4o-mini" names.

    Raises:
        MissingExtraError: ``langchain`` is not installed.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtraError(
            f"model={name!r}: naming a model by a string needs langchain and the provider's "
            "package: pip install langchain langchain-openai. Or give the chat model itself"
        ) from error
    return init_chat_model(name)


@dataclass
class _PromptContext:
    """The attempt around a prompt function, with the config of its own run."""

    config: Any
    writer: Any
    store: Any
    runtime: Any
    previous: Any


class _Prompt:
    """A user's prompt function: parameters of the names that nodes know are filled in."""

    def __init__(self, prompt: FunctionNode) -> None:
        self._prompt = prompt

    def __call__(self, state: Any, config: RunnableConfig) -> Any:
        task = current_task("prompt")
        context = _PromptContext(config, task.writer, task.store, task.runtime, task.previous)
        return self._prompt(state, context)

    async def awaited(self, state: Any, config: RunnableConfig) -> Any:
        return await self(state, config)


class _Messages:
    """The conversation, after the system message if one is given."""

    def __init__(self, system: SystemMessage | None) -> None:
        self._system = () if system is None else (system,)

    def __call__(self, state: Any) -> list[BaseMessage]:
        return [*self._system, *value_of(state, "messages")]


def prompt_runnable(prompt: Any) -> Runnable[Any, Any]:
    """Return a ``Runnable`` that makes the model's input from the state.

    Raises:
        ValueError: The prompt has an unsupported type.
    """
    if isinstance(prompt, str):
        prompt = SystemMessage(content=prompt)
    if prompt is None or isinstance(prompt, SystemMessage):
        return RunnableLambda(_Messages(prompt), name="Prompt")
    if isinstance(prompt, Runnable):
        return prompt
    if not callable(prompt):
        raise ValueError(
            f"Got unexpected type for `prompt`: {type(prompt)}. Give a str, a SystemMessage, a "
            "function of the state or a Runnable"
        )
    node = bind(prompt, "`prompt`")
    assert isinstance(node, FunctionNode)
    made = _Prompt(node)
    return RunnableLambda(made.awaited if node.is_async else made, name="Prompt")


def _inner(model: Any) -> Any:
    """Return the model, or the binding around it, in a chain such as ``prompt | model``."""
    if isinstance(model, RunnableSequence):
        kinds = (RunnableBinding, BaseChatModel)
        return next((step for step in model.steps if isinstance(step, kinds)), model)
    return model


def chat_model(model: Any) -> BaseChatModel:
    """Return the chat model inside of a chain or a binding.

    Raises:
        TypeError: There is none.
    """
    model = _inner(model)
    if isinstance(model, RunnableBinding):
        model = model.bound
    if not isinstance(model, BaseChatModel):
        raise TypeError(
            "Expected `model` to be a ChatModel or RunnableBinding (e.g. model.bind_tools(...)), "
            f"got {type(model)}"
        )
    return model


def bound_model(model: Any, tools: Sequence[BaseTool], builtin: Sequence[Any]) -> Any:
    """Return the model with the tools bound to it, unless they are bound already.

    Raises:
        ValueError: Other tools are bound to it.
    """
    if not tools and not builtin:
        return model
    inner = _inner(model)
    if not isinstance(inner, RunnableBinding) or "tools" not in inner.kwargs:
        return model.bind_tools([*tools, *builtin])
    bound = inner.kwargs["tools"]
    if len(tools) != len(bound) - len(builtin):
        raise ValueError(
            "Number of tools in the model.bind_tools() and tools passed to create_react_agent "
            f"must match Got {len(tools)} tools, expected {len(bound) - len(builtin)}"
        )
    names = {_tool_name(tool) for tool in bound}
    missing = {tool.name for tool in tools} - names
    if missing:
        raise ValueError(f"Missing tools '{missing}' in the model.bind_tools()")
    return model


def _tool_name(tool: Any) -> Any:
    """Return the name of a tool in the form that OpenAI or Anthropic give it."""
    return tool["function"]["name"] if tool.get("type") == "function" else tool.get("name")


def check_history(messages: Sequence[BaseMessage]) -> None:
    """Check that every tool call of the conversation has a tool message.

    Raises:
        ValueError: A tool call has no tool message; most models refuse such input.
    """
    answered = {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}
    open_calls = [
        call
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
        if call["id"] not in answered
    ]
    if open_calls:
        raise ValueError(
            "Found AIMessages with tool_calls that do not have a corresponding ToolMessage. Here "
            f"are the first few of those tool calls: {open_calls[:3]}. Answer each of them with a "
            "ToolMessage before the model is called again: most providers refuse the conversation "
            "otherwise"
        )


def is_dynamic(model: Any) -> bool:
    """Return whether ``model`` is a function that chooses the model for each call."""
    return not isinstance(model, (str, Runnable)) and callable(model)


async def chosen(choose: Callable[..., Any], state: Any, runtime: Any) -> Any:
    """Return the model that a function chooses."""
    model = choose(state, runtime)
    return await model if inspect.isawaitable(model) else model
