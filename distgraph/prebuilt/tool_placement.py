"""Placement that a tool carries by itself, whatever node it is given to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, overload

from langchain_core.tools import BaseTool
from typing_extensions import Unpack

from distgraph.placement import ToolOptions
from distgraph.prebuilt.class_tools import is_class_tool, made_tool
from distgraph.prebuilt.options import OPTIONS_KEY, forms_of, part_options, with_pool

__all__ = ("placed",)


@overload
def placed(
    tool: BaseTool | Callable[..., Any], /, **ray_options: Unpack[ToolOptions]
) -> BaseTool: ...


@overload
def placed(
    **ray_options: Unpack[ToolOptions],
) -> Callable[[BaseTool | Callable[..., Any]], BaseTool]: ...


def placed(
    tool: BaseTool | Callable[..., Any] | None = None, /, **ray_options: Unpack[ToolOptions]
) -> Any:
    """Return the tool with options for where and how its calls run.

    Args:
        tool: A tool, a function or a class; without one, a decorator is returned.
        ray_options: Options as for a node (``num_cpus``, ``num_gpus``, ``resources``,
            ``placement``, …), and ``timeout`` (seconds a call may take before its work is ended)
            and ``max_concurrency`` (calls of the tool at once in one run); for a class,
            ``concurrency``: the number of workers, or the minimum and the maximum.

    Raises:
        ValueError: An unknown option or a bad value.
    """
    if tool is None:
        return functools.partial(placed, **ray_options)
    made = made_tool(tool, ray_options)
    known = (made.metadata or {}).get(OPTIONS_KEY) or {}
    options = {**known, **ray_options}
    where = f"Tool `{made.name}`"
    checked = with_pool(where, options, is_class_tool(made))
    part_options(where, checked, forms_of(made, wrap=False, awrap=False))
    return made.model_copy(update={"metadata": {**(made.metadata or {}), OPTIONS_KEY: options}})
