"""LangGraph's graph and streaming API, executed on a Ray cluster, streamed back in order."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distgraph._internal.adapters import register as register_adapter

if TYPE_CHECKING:
    from distgraph.config import get_config, get_store, get_stream_writer
    from distgraph.constants import END, START
    from distgraph.graph import MessagesState, StateGraph, add_messages
    from distgraph.langgraphs.distribute import distribute
    from distgraph.runtime import Runtime, get_runtime
    from distgraph.serde.pickling import register_serializer
    from distgraph.types import Command, Overwrite, Send, StreamWriter

__version__ = "0.1.0"

_HOME = {
    "END": "distgraph.constants",
    "START": "distgraph.constants",
    "MessagesState": "distgraph.graph",
    "StateGraph": "distgraph.graph",
    "add_messages": "distgraph.graph",
    "Command": "distgraph.types",
    "Overwrite": "distgraph.types",
    "Send": "distgraph.types",
    "StreamWriter": "distgraph.types",
    "Runtime": "distgraph.runtime",
    "get_runtime": "distgraph.runtime",
    "get_config": "distgraph.config",
    "get_store": "distgraph.config",
    "get_stream_writer": "distgraph.config",
    "distribute": "distgraph.langgraphs.distribute",
    "register_serializer": "distgraph.serde.pickling",
}

__all__ = (
    "END",
    "START",
    "Command",
    "MessagesState",
    "Overwrite",
    "Runtime",
    "Send",
    "StateGraph",
    "StreamWriter",
    "__version__",
    "add_messages",
    "distribute",
    "get_config",
    "get_runtime",
    "get_store",
    "get_stream_writer",
    "register_serializer",
)


# graphs, tools and channels of LangGraph in our builder: the adapter is imported when one is met
for _class in (
    ("langgraph.pregel", "Pregel"),
    ("langgraph.prebuilt.tool_node", "ToolNode"),
    ("langgraph.channels.base", "BaseChannel"),
    ("langgraph.managed.base", "ManagedValue"),
):
    register_adapter(*_class, "distgraph.langgraphs.adapter")


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
