"""Annotations of injected tool arguments, which LangGraph's ``ToolNode`` understands too.

They are LangGraph's classes where LangGraph is installed: it knows such a parameter by its own
classes only. distgraph knows both.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from distgraph.prebuilt import markers

if TYPE_CHECKING:
    from distgraph.prebuilt.markers import InjectedState as InjectedState
    from distgraph.prebuilt.markers import InjectedStore as InjectedStore
    from distgraph.prebuilt.markers import ToolRuntime as ToolRuntime

__all__ = ("InjectedState", "InjectedStore", "ToolRuntime")


def _complete(runtime: Any) -> bool:
    """Whether LangGraph's ``ToolRuntime`` has all fields of distgraph's; older versions do not."""
    known = {field.name for field in fields(runtime)}
    return known >= {field.name for field in fields(markers.ToolRuntime)} and hasattr(
        runtime, "emit_output_delta"
    )


if not TYPE_CHECKING:
    try:
        from langgraph.prebuilt.tool_node import InjectedState, InjectedStore, ToolRuntime
    except ImportError:
        from distgraph.prebuilt.markers import InjectedState, InjectedStore, ToolRuntime
    else:
        if not _complete(ToolRuntime):
            ToolRuntime = markers.ToolRuntime
