"""LangGraph's objects as nodes and subgraphs, for ``distgraph._internal.adapters``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distgraph._internal.loaded import loaded

if TYPE_CHECKING:
    from distgraph.channels.base import BaseChannel
    from distgraph.langgraphs.graph import DistributedGraph

__all__ = ("as_channel", "as_graph", "as_node")


def as_node(value: Any, ray_options: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the node action that runs a compiled graph or a ``ToolNode``.

    Raises:
        UnsupportedError: The graph uses an unsupported feature.
        ValueError: ``ray_options`` names an unknown tool or option, or a bad value.
    """
    if loaded("langgraph.pregel", "Pregel") in type(value).__mro__:
        from distgraph.langgraphs.distribute import distribute

        return distribute(value, backend="local")  # as a node it runs where its parent does
    from distgraph.langgraphs.tools import SharedToolNode, is_tool_node

    return SharedToolNode(value, ray_options) if is_tool_node(value) else value


def as_graph(value: Any) -> DistributedGraph | None:
    """Return a compiled graph for reading its state, None where that is not possible."""
    if loaded("langgraph.pregel", "Pregel") not in type(value).__mro__:
        return None
    from distgraph.langgraphs.graph import as_read

    return as_read(value)


def as_channel(value: Any, typ: Any, where: str) -> BaseChannel:
    """Return our channel for one of LangGraph's that annotates a state key, or for its class.

    Raises:
        UnsupportedError: It is a managed value that distgraph does not compute, or a channel that
            it cannot save.
    """
    from distgraph.langgraphs.channels import annotated_channel

    return annotated_channel(value, typ, where)
