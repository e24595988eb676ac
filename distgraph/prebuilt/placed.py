"""Placement that a tool carries by itself, whatever node it is given to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as create_tool

from distgraph.prebuilt.options import OPTIONS_KEY, has_async, has_sync, part_options

__all__ = ("placed",)


def placed(tool: BaseTool | Callable[..., Any] | None = None, /, **ray_options: Any) -> Any:
    """Return the tool with options for where and how its calls run.

    Args:
        tool: A tool or a function; without one, a decorator is returned.
        ray_options: As for a node (``num_cpus``, ``num_gpus``, ``resources``, ``placement``, …),
            and ``timeout`` (seconds a call may take before its work is ended) and
            ``max_concurrency`` (calls of the tool at once in one run).

    Raises:
        ValueError: An unknown option or a bad value.
    """
    if tool is None:
        return functools.partial(placed, **ray_options)
    made: BaseTool = tool if isinstance(tool, BaseTool) else create_tool(tool)
    known = (made.metadata or {}).get(OPTIONS_KEY) or {}
    options = {**known, **ray_options}
    part_options(f"Tool `{made.name}`", options, sync=has_sync(made), awaits=has_async(made))
    return made.model_copy(update={"metadata": {**(made.metadata or {}), OPTIONS_KEY: options}})
