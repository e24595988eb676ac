"""Tools and agents: ``ToolNode``, ``create_react_agent`` and annotations of injected tool
arguments.

Needs LangChain: ``pip install 'distgraph[langchain]'``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from distgraph._internal.lazy import lazy_names
from distgraph.errors import MissingExtraError

if TYPE_CHECKING:
    from langchain_core.tools import InjectedToolCallId

    from distgraph.prebuilt.annotations import InjectedState, InjectedStore, ToolRuntime
    from distgraph.prebuilt.chat_agent_executor import create_react_agent
    from distgraph.prebuilt.requests import ToolCallRequest
    from distgraph.prebuilt.tool_node import ToolNode, tools_condition
    from distgraph.prebuilt.tool_placement import placed
    from distgraph.prebuilt.tool_validator import ValidationNode

if find_spec("langchain_core") is None:
    raise MissingExtraError(
        "distgraph.prebuilt works with LangChain's messages, models and tools and needs "
        "langchain-core: pip install 'distgraph[langchain]'"
    )

_HOME = {
    "InjectedState": "distgraph.prebuilt.annotations",
    "InjectedStore": "distgraph.prebuilt.annotations",
    "InjectedToolCallId": "langchain_core.tools",
    "ToolCallRequest": "distgraph.prebuilt.requests",
    "ToolNode": "distgraph.prebuilt.tool_node",
    "ToolRuntime": "distgraph.prebuilt.annotations",
    "ValidationNode": "distgraph.prebuilt.tool_validator",
    "create_react_agent": "distgraph.prebuilt.chat_agent_executor",
    "placed": "distgraph.prebuilt.tool_placement",
    "tools_condition": "distgraph.prebuilt.tool_node",
}

__all__ = (
    "InjectedState",
    "InjectedStore",
    "InjectedToolCallId",
    "ToolCallRequest",
    "ToolNode",
    "ToolRuntime",
    "ValidationNode",
    "create_react_agent",
    "placed",
    "tools_condition",
)


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOME)
