"""LangGraph's ``ToolNode`` with each tool call a task of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import Runnable

from distgraph._internal.missing import MISSING
from distgraph.errors import ParentCommand
from distgraph.interop import own, own_bubble
from distgraph.langgraphs.tool_split import NodeToolSplit
from distgraph.prebuilt.injection import injected_args
from distgraph.prebuilt.options import (
    forms_of,
    has_async,
    has_sync,
    part_options,
    tool_options,
)
from distgraph.prebuilt.split import ToolPart, ToolSplit
from distgraph.spans import tool_span
from distgraph.types import Command
from distgraph.worker.runnable_forms import reaches_unwritten_hook

__all__ = (
    "NodeTools",
    "SharedToolNode",
    "calls_async_form",
    "is_tool_node",
    "needs_loop",
    "tools_of",
)


_HOMES = ("langgraph.prebuilt", "langchain.tools")


@dataclass(frozen=True)
class NodeTools:
    """The data about the tools of one node, for the driver and the workers."""

    split: NodeToolSplit
    part: NodeToolPart

    @property
    def stateful(self) -> bool:
        """Whether any tool reads the state."""
        return bool(self.split.tools.stateful)


def tools_of(
    runnable: Any,
    node: str,
    base: Mapping[str, Any],
    ray_options: Mapping[str, Mapping[str, Any]],
) -> NodeTools | None:
    """Return the tools of a node; None if the node is not a LangGraph ``ToolNode``.

    Args:
        runnable: The node's ``Runnable``.
        node: Its name, for errors.
        base: ``ray_options`` of the node: defaults for every tool.
        ray_options: Options by tool name, which override ``base``.

    Raises:
        ValueError: ``ray_options`` names an unknown tool or option, or a bad value.
    """
    if not is_tool_node(runnable):
        return None
    tools = runnable.tools_by_name
    wrap, awrap = _wrappers(runnable)
    wraps = {"wrap": wrap is not None, "awrap": awrap is not None}
    options = tool_options(tools, ray_options, node)
    how = {
        name: part_options(
            f"{node}.{name}",
            {**base, **options[name]},
            forms_of(tool, **wraps),
        )
        for name, tool in tools.items()
    }
    wrapped = any(wraps.values())
    stateful = frozenset(n for n, t in tools.items() if wrapped or injected_args(t).reads_state)
    messages_key = str(getattr(runnable, "_messages_key", "messages"))
    other = None
    if wrapped:
        other = part_options(
            node, {}, forms_of(None, wrap=wrap is not None, awrap=awrap is not None)
        )
    split = ToolSplit(tuple(tools), messages_key, how, stateful, other)
    plain = frozenset(
        n for n in tools if not (options[n] or how[n].is_async or how[n].other_form is not None)
    )
    return NodeTools(
        NodeToolSplit(split, plain),
        NodeToolPart(runnable, messages_key),
    )


def _wrappers(runnable: Any) -> tuple[Any, Any]:
    """Return the sync and the async wrapper of a node's tool calls; None for one it has not."""
    wrap = getattr(runnable, "_wrap_tool_call", None)
    awrap = getattr(runnable, "_awrap_tool_call", None)
    if awrap is not None and reaches_unwritten_hook(awrap):
        awrap = None
    return wrap, awrap


def calls_async_form(runnable: Any) -> bool:
    """Whether a ``ToolNode`` that runs as a whole has an async form of its own."""
    wrap, awrap = _wrappers(runnable)
    if wrap is not None or awrap is not None:
        return awrap is not None
    return any(has_async(tool) for tool in runnable.tools_by_name.values())


def needs_loop(runnable: Any) -> bool:
    """Whether a ``ToolNode`` that runs as a whole must be awaited."""
    every = all if is_tool_node(runnable) else any  # a split node has its other calls elsewhere
    return bool(runnable.tools_by_name) and every(
        not has_sync(tool) for tool in runnable.tools_by_name.values()
    )


def is_tool_node(runnable: Any) -> bool:
    """Whether the object is a ``ToolNode`` that supports single tool calls as LangGraph does.

    Requires langgraph-prebuilt 1.0.2 or later.
    """
    for cls in type(runnable).__mro__:
        if cls.__name__ == "ToolNode" and cls.__module__.startswith(_HOMES):
            mine = (type(runnable)._func, type(runnable)._afunc)
            same = mine == (cls._func, cls._afunc)  # type: ignore[attr-defined]
            return same and hasattr(sys.modules[cls.__module__], "ToolCallWithContext")
    return False


class SharedToolNode(Runnable[Any, Any]):
    """LangGraph's ``ToolNode`` as a distgraph node: each tool call is a task of its own.

    Args:
        node: A ``ToolNode`` for which ``is_tool_node`` holds.
        ray_options: By tool name.

    Raises:
        ValueError: ``ray_options`` names an unknown tool or option, or a bad value.
    """

    def __init__(self, node: Any, ray_options: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = str(node.name or "tools")
        self.node = node
        tools = tools_of(node, self.name, {}, ray_options)
        assert tools is not None
        self._split = tools.split.tools
        self.distgraph_part = tools.part

    @property
    def tools_by_name(self) -> dict[str, Any]:
        """The node's tools."""
        return dict(self.node.tools_by_name)

    def distgraph_split(self) -> ToolSplit:
        """Return the split of the node's work into parts, one per tool call."""
        return self._split

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """Answer all tool calls in this process."""
        return self.node.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """Async variant of ``invoke``."""
        return await self.node.ainvoke(input, config, **kwargs)


@dataclass(frozen=True)
class NodeToolPart:
    """Answers one tool call, by LangGraph's ``ToolNode``."""

    node: Any
    messages_key: str

    def __call__(self, input: ToolPart, state: Any, context: Any) -> Any:
        if input.state is not MISSING:
            state = input.state
        call = {
            "__type": "tool_call_with_context",
            "tool_call": {"type": "tool_call", **input.call},
            "state": {} if state is None else state,
        }
        if context.request.is_async:
            return self._awaited(input, call, context)
        try:
            with tool_span(context.request.trace, input.call):
                return self._answers(self.node.invoke(call, context.config))
        except Exception as error:
            return _addressed(error)

    async def _awaited(self, input: ToolPart, call: dict[str, Any], context: Any) -> list[Any]:
        try:
            with tool_span(context.request.trace, input.call):
                return self._answers(await self.node.ainvoke(call, context.config))
        except Exception as error:
            return _addressed(error)

    def _answers(self, returned: Any) -> list[Any]:
        """Return the messages and commands in what the node returned, in order."""
        answers: list[Any] = []
        for item in returned if isinstance(returned, list) else [returned]:
            if isinstance(item, Mapping):
                answers.extend(item[self.messages_key])
            else:
                answers.extend(item if isinstance(item, list) else [own(item)])
        return answers


def _addressed(error: Exception) -> list[Any]:
    """Return the command of a graph that the tool ran to the graph around it; else raise."""
    bubble = own_bubble(error)
    if not isinstance(bubble, ParentCommand):
        raise error
    return [Command(update=bubble.command.update, goto=bubble.command.goto)]
