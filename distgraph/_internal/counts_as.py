"""Objects of distgraph that count as LangGraph's in ``isinstance``, where LangGraph is loaded.

Code of LangGraph and LangChain that runs in nodes and tools looks at what the user returned:
LangChain turns a tool's result into text unless it counts as a tool's output, and LangGraph's
``ToolNode`` refuses what is no ``Command``. ``type(...)`` of the object stays distgraph's.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ("counts_as_langgraphs",)


def counts_as_langgraphs(value: Any) -> type:
    """Return LangGraph's class of the same name for the ``__class__`` of an object.

    Where LangGraph is not loaded, but tools of LangChain are: a class that counts as their output.
    """
    own = type(value)
    types = sys.modules.get("langgraph.types")
    found = getattr(types, _exported(own), None)
    if found is not None:
        return found  # type: ignore[no-any-return]
    tools = sys.modules.get("langchain_core.messages.tool")
    output = getattr(tools, "ToolOutputMixin", None)
    return own if output is None else _tool_output(own, output)


_OUTPUTS: dict[type, type] = {}
"""By our class: the class that counts as a tool's output."""


def _exported(cls: type) -> str:
    return next(base.__name__ for base in cls.__mro__ if base.__module__ == "distgraph.types")


def _tool_output(cls: type, output: type) -> type:
    if cls not in _OUTPUTS:
        named = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
        _OUTPUTS[cls] = type(cls.__name__, (cls, output), named)
    return _OUTPUTS[cls]
