"""Objects of distgraph that count as LangGraph's in ``isinstance``, where LangGraph is loaded.

Code of LangGraph and LangChain that runs in nodes and tools looks at what the user returned:
LangChain turns a tool's result into text unless it counts as a tool's output, and LangGraph's
``ToolNode`` refuses what is no ``Command``. LangGraph's serializer of checkpoints writes the name
of an object's ``__class__``, so that it can read what we saved. ``type(...)`` stays distgraph's.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

__all__ = ("counts_as_langgraphs",)


def counts_as_langgraphs(value: Any) -> type:
    """Return, for the ``__class__`` of an object, a class that counts as LangGraph's of its name.

    Where LangGraph is not loaded, but tools of LangChain are: one that counts as their output.
    """
    own = type(value)
    types = sys.modules.get("langgraph.types")
    if types is None and "langgraph.checkpoint.serde.jsonplus" in sys.modules:
        types = _imported()
    found = getattr(types, _exported(own), None)
    if found is not None:
        return _counting(own, found)
    tools = sys.modules.get("langchain_core.messages.tool")
    output = getattr(tools, "ToolOutputMixin", None)
    return own if output is None else _counting(own, output)


@cache
def _imported() -> Any:
    try:
        return importlib.import_module("langgraph.types")
    except ImportError:
        return None


_COUNTING: dict[tuple[type, type], type] = {}
"""By distgraph's class and the class that its objects count as."""


def _exported(cls: type) -> str:
    return next(base.__name__ for base in cls.__mro__ if base.__module__ == "distgraph.types")


def _counting(own: type, other: type) -> type:
    """Return a subclass of ``other`` that makes objects of ``own``.

    ``dataclasses.replace`` and ``copy.replace`` call the ``__class__`` of an object.
    """
    counting = _COUNTING.get((own, other))
    if counting is None:

        def new(cls: type, *args: Any, **fields: Any) -> Any:
            return own(*args, **fields)

        stored_as_theirs = other.__module__ == "langgraph.types"
        named = {
            "__slots__": (),
            "__module__": (other if stored_as_theirs else own).__module__,
            "__qualname__": own.__qualname__,
            "__new__": new,
        }
        counting = _COUNTING[own, other] = type(other)(own.__name__, (other,), named)
    return counting
