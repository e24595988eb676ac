"""LangChain's ``create_agent``, run by distgraph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgraph.errors import MissingExtraError
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.langgraphs.distribute import distribute
from distgraph.placement import ToolOptions

__all__ = ("create_agent",)


def create_agent(
    *args: Any,
    backend: Any = None,
    ray_options: Mapping[str, ToolOptions] | None = None,
    **kwargs: Any,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return an agent that calls tools in a loop until its model calls none.

    Takes what ``langchain.agents.create_agent`` takes (``model``, ``tools``, ``system_prompt``,
    ``middleware``, ``response_format``, ``state_schema``, ``context_schema``, ``checkpointer``,
    ``store``, ``cache``, ``interrupt_before``, ``interrupt_after``, ``debug``, ``name``,
    ``transformers``); that function builds the graph. Its nodes are ``model``, ``tools`` and
    ``<middleware>.before_agent`` … ``after_agent``; each runs as a task of its own, and so does
    each tool call.

    Args:
        args, kwargs: As for LangChain's.
        backend: "ray", "local", or a backend object. Default: the session's backend.
        ray_options: Ray options by node name or tool name; see ``distribute``.

    Raises:
        UnsupportedError: The graph uses a feature that ``distribute`` does not support.
        ValueError: ``ray_options`` are invalid, or name an unknown node or tool.
        MissingExtraError: LangChain is not installed.
        SerializationError: The model, a tool or a middleware cannot be pickled.
    """
    try:
        from langchain.agents import create_agent as build
    except ImportError as error:
        raise MissingExtraError(
            "distgraph.agents.create_agent builds its graph with LangChain and needs it: "
            "pip install 'distgraph[agents]'"
        ) from error
    return distribute(build(*args, **kwargs), ray_options=ray_options, backend=backend)
