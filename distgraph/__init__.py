"""LangGraph's graph and streaming API, executed on a Ray cluster, streamed back in order.

Every name that programs need is here: ``from distgraph import StateGraph, START``. Each is imported
at its first use, so ``import distgraph`` loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distgraph._internal.adapters import register as register_adapter
from distgraph._internal.lazy import lazy_names
from distgraph._internal.version import __version__

if TYPE_CHECKING:
    from distgraph import agents as agents
    from distgraph import callbacks as callbacks
    from distgraph import channels as channels
    from distgraph import config as config
    from distgraph import constants as constants
    from distgraph import errors as errors
    from distgraph import func as func
    from distgraph import graph as graph
    from distgraph import prebuilt as prebuilt
    from distgraph import runs as runs
    from distgraph import runtime as runtime
    from distgraph import types as types
    from distgraph.agents import create_agent as create_agent
    from distgraph.backends.connecting import connect
    from distgraph.config import get_config, get_store, get_stream_writer
    from distgraph.constants import END, START
    from distgraph.func import entrypoint, task
    from distgraph.graph import CompiledStateGraph, MessagesState, StateGraph, add_messages
    from distgraph.langgraphs.distribute import distribute
    from distgraph.placement import RayOptions, ToolOptions
    from distgraph.prebuilt import InjectedState as InjectedState
    from distgraph.prebuilt import InjectedStore as InjectedStore
    from distgraph.prebuilt import ToolNode as ToolNode
    from distgraph.prebuilt import ToolRuntime as ToolRuntime
    from distgraph.prebuilt import create_react_agent as create_react_agent
    from distgraph.prebuilt import tools_condition as tools_condition
    from distgraph.runs import Retention, RunHandle, attach
    from distgraph.runtime import RunControl, Runtime, get_runtime
    from distgraph.serde.pickling import register_serializer
    from distgraph.status import show_status
    from distgraph.types import (
        CachePolicy,
        Command,
        Durability,
        GraphOutput,
        Interrupt,
        Overwrite,
        RetryPolicy,
        Send,
        StateSnapshot,
        StreamMode,
        StreamWriter,
        TimeoutPolicy,
        interrupt,
    )
    from distgraph.views import progress, timeline

_HOMES = {
    "END": "distgraph.constants",
    "START": "distgraph.constants",
    "CompiledStateGraph": "distgraph.graph",
    "MessagesState": "distgraph.graph",
    "StateGraph": "distgraph.graph",
    "add_messages": "distgraph.graph",
    "CachePolicy": "distgraph.types",
    "Command": "distgraph.types",
    "Durability": "distgraph.types",
    "GraphOutput": "distgraph.types",
    "Interrupt": "distgraph.types",
    "Overwrite": "distgraph.types",
    "RetryPolicy": "distgraph.types",
    "Send": "distgraph.types",
    "StateSnapshot": "distgraph.types",
    "StreamMode": "distgraph.types",
    "StreamWriter": "distgraph.types",
    "TimeoutPolicy": "distgraph.types",
    "interrupt": "distgraph.types",
    "RayOptions": "distgraph.placement",
    "ToolOptions": "distgraph.placement",
    "RunControl": "distgraph.runtime",
    "Retention": "distgraph.runs",
    "RunHandle": "distgraph.runs",
    "attach": "distgraph.runs",
    "Runtime": "distgraph.runtime",
    "get_runtime": "distgraph.runtime",
    "get_config": "distgraph.config",
    "get_store": "distgraph.config",
    "get_stream_writer": "distgraph.config",
    "entrypoint": "distgraph.func",
    "task": "distgraph.func",
    "show_status": "distgraph.status",
    "connect": "distgraph.backends.connecting",
    "distribute": "distgraph.langgraphs.distribute",
    "register_serializer": "distgraph.serde.pickling",
    "progress": "distgraph.views",
    "timeline": "distgraph.views",
}

_OF_LANGCHAIN = {
    "InjectedState": "distgraph.prebuilt",
    "InjectedStore": "distgraph.prebuilt",
    "ToolNode": "distgraph.prebuilt",
    "ToolRuntime": "distgraph.prebuilt",
    "create_agent": "distgraph.agents",
    "create_react_agent": "distgraph.prebuilt",
    "tools_condition": "distgraph.prebuilt",
}
"""Names that need LangChain; ``from distgraph import *`` leaves them out, as it may be missing."""

_MODULES = (
    "agents",
    "callbacks",
    "channels",
    "config",
    "constants",
    "errors",
    "func",
    "graph",
    "prebuilt",
    "runs",
    "runtime",
    "types",
)
"""Modules that are attributes after ``import distgraph``, such as ``distgraph.errors``."""

__all__ = (
    "END",
    "START",
    "CachePolicy",
    "Command",
    "CompiledStateGraph",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "MessagesState",
    "Overwrite",
    "RayOptions",
    "Retention",
    "RetryPolicy",
    "RunControl",
    "RunHandle",
    "Runtime",
    "Send",
    "StateGraph",
    "StateSnapshot",
    "StreamMode",
    "StreamWriter",
    "TimeoutPolicy",
    "ToolOptions",
    "__version__",
    "add_messages",
    "attach",
    "connect",
    "distribute",
    "entrypoint",
    "get_config",
    "get_runtime",
    "get_store",
    "get_stream_writer",
    "interrupt",
    "progress",
    "register_serializer",
    "show_status",
    "task",
    "timeline",
)


# graphs, tools and channels of LangGraph in our builder: the adapter is imported when one is met
for _class in (
    ("langgraph.pregel", "Pregel"),
    ("langgraph.prebuilt.tool_node", "ToolNode"),
    ("langgraph.channels.base", "BaseChannel"),
    ("langgraph.managed.base", "ManagedValue"),
):
    register_adapter(*_class, "distgraph.langgraphs.adapter")


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, {**_HOMES, **_OF_LANGCHAIN}, _MODULES)
