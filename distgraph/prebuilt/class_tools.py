"""Classes as tools: constructed once per worker of a pool, called for many tool calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import tool as create_tool

from distgraph import placement
from distgraph.worker.pooled import Pooled, factory_of

__all__ = ("is_class_tool", "made_tool", "tool_name")


def is_class_tool(tool: BaseTool) -> bool:
    """Return whether a tool was made of a class."""
    function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    return isinstance(getattr(function, "pooled", None), Pooled)


def tool_name(tool: Any) -> str:
    """Return the name that a tool, a function or a class has as a tool."""
    cls = None if isinstance(tool, BaseTool) else factory_of(tool)
    named = getattr(cls or tool, "name", None)
    return named if isinstance(named, str) else str(getattr(cls or tool, "__name__", ""))


def made_tool(tool: Any, options: Mapping[str, Any] | None = None) -> BaseTool:
    """Return a tool, made of a function or a class where that is given.

    Args:
        tool: A tool; a function; or a class with a ``__call__``, whose parameters are the tool's,
            or a ``functools.partial`` of one.
        options: ``ray_options`` of the tool: ``concurrency`` bounds a class's instances.

    Raises:
        ValueError: ``concurrency`` is no number of workers, a function has no docstring, or what is
            given cannot be called.
        TypeError: A class that cannot be constructed without arguments, or cannot be called.
    """
    if isinstance(tool, BaseTool):
        return tool
    cls = factory_of(tool)
    name = tool_name(tool)
    if cls is None:
        if not callable(tool):
            raise ValueError(f"A tool is a tool, a function or a class, got {tool!r}")
        try:
            return create_tool(tool)  # type: ignore[no-any-return]
        except ValueError as error:
            raise ValueError(f"Tool `{name}`: {error}") from error
    requested = (options or {}).get("concurrency")
    size = placement.validate({"concurrency": requested or (1, None)}, name)["concurrency"]
    pooled = Pooled(tool, size[1], f"Tool `{name}`")
    function = _function(pooled, cls, name)
    text = inspect.getdoc(cls.__call__) if "__call__" in vars(cls) else None
    return StructuredTool.from_function(
        None if pooled.is_async else function,
        function if pooled.is_async else None,
        name=name,
        description=text or inspect.getdoc(cls) or name,
    )


def _function(pooled: Pooled, cls: type[Any], name: str) -> Callable[..., Any]:
    """Return a function with the signature of a class's call, as LangChain reads it."""
    call: Any = cls.__call__
    hints = get_type_hints(call, include_extras=True)
    given = inspect.signature(call)
    parameters = [
        p.replace(annotation=hints.get(p.name, p.annotation)) for p in given.parameters.values()
    ][1:]

    def run(*args: Any, **kwargs: Any) -> Any:
        return pooled(*args, **kwargs)

    async def arun(*args: Any, **kwargs: Any) -> Any:
        return await pooled(*args, **kwargs)

    function: Any = arun if pooled.is_async else run
    function.__name__ = function.__qualname__ = name
    function.__doc__ = cls.__doc__
    function.__annotations__ = hints
    function.__signature__ = given.replace(parameters=parameters)
    function.pooled = pooled
    return function  # type: ignore[no-any-return]
