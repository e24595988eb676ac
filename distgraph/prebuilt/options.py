"""Options of tool calls: placement, timeout and maximum concurrency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from langchain_core.tools import BaseTool, StructuredTool, Tool

from distgraph import placement
from distgraph._internal.mistakes import nearest
from distgraph.contract.spec import PartOptions
from distgraph.prebuilt.class_tools import is_class_tool

__all__ = (
    "OPTIONS_KEY",
    "Forms",
    "forms_of",
    "has_async",
    "has_sync",
    "part_options",
    "tool_options",
    "with_pool",
)

OPTIONS_KEY = "distgraph_ray_options"
"""Key of a tool's ``metadata`` under which ``placed`` keeps its options."""

_OURS = ("timeout", "max_concurrency")
_RAY_KEYS = tuple(placement.RayOptions.__annotations__)


def has_sync(tool: BaseTool) -> bool:
    """Return whether a tool can be invoked in place."""
    return tool.func is not None if isinstance(tool, (StructuredTool, Tool)) else True


def has_async(tool: BaseTool) -> bool:
    """Return whether a tool has a coroutine of its own, not just a thread around its function."""
    if isinstance(tool, (StructuredTool, Tool)):
        return tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun


def tool_options(
    tools: Mapping[str, BaseTool], ray_options: Mapping[str, Any] | None, node: str
) -> dict[str, dict[str, Any]]:
    """Return each tool's options: those that it carries, and on top those that the node names.

    Raises:
        ValueError: The node names a tool that it does not have.
    """
    given = {} if ray_options is None else dict(ray_options)
    for name in given:
        if name not in tools:
            raise ValueError(
                f"Node `{node}`: ray_options names an unknown tool {name!r}.{nearest(name, tools)} "
                f"Its tools: {', '.join(tools)}"
            )
    merged = {}
    for name, tool in tools.items():
        own = {**((tool.metadata or {}).get(OPTIONS_KEY) or {}), **(given.get(name) or {})}
        merged[name] = with_pool(f"{node}.{name}", own, is_class_tool(tool))
    return merged


def with_pool(where: str, options: dict[str, Any], is_class: bool) -> dict[str, Any]:
    """Return a tool's options; a tool that is a class runs in a pool.

    Raises:
        ValueError: Pool options are given for a tool that is not a class.
    """
    if is_class:
        return {"concurrency": (1, None), **options}
    if options.get("concurrency") is not None:
        raise ValueError(
            f"{where}: ray_options['concurrency'] is for a class, which each worker of a pool "
            "constructs once. Give the class as the tool, or bound its calls with 'max_concurrency'"
        )
    return options


def _seconds(where: str, value: Any) -> float | None:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ValueError(f"{where}: timeout must be a number of seconds above 0, got {value!r}")
    return float(value)


def _count(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: max_concurrency must be at least 1, got {value!r}")
    return value


class Forms(NamedTuple):
    """The forms in which the calls of a tool run.

    Attributes:
        sync: Whether there is a sync form.
        awaits: Whether there is an async form.
        waits: Whether the tool itself waits in its async form: it then needs no core of its own.
    """

    sync: bool
    awaits: bool
    waits: bool


def forms_of(tool: BaseTool | None, *, wrap: bool, awrap: bool) -> Forms:
    """Return the forms of the calls of a tool in a ``ToolNode``.

    A sync caller's calls run in the sync wrapper, those of a caller that awaits the run in the
    async one; a wrapper that is missing is replaced by the other.

    Args:
        tool: The tool, None for an unknown one.
        wrap: Whether the node has a sync wrapper around its calls.
        awrap: Whether it has an async one.
    """
    waits = tool is not None and has_async(tool)
    sync = (tool is None or has_sync(tool)) and (wrap or not awrap)
    return Forms(sync, awrap or (waits and not (wrap and sync)), waits)


def part_options(where: str, options: Mapping[str, Any], forms: Forms) -> PartOptions:
    """Validate one tool's options and return the options of its calls.

    Calls with both forms run in the form that the run's caller uses. A tool that waits in its
    async form waits in a shared process, in either form, unless its options say otherwise.

    Args:
        where: Name of the tool in errors.
        options: ``timeout`` (seconds, or a ``timedelta``), ``max_concurrency``, and what
            ``ray_options`` of a node may hold.
        forms: The forms of the calls.

    Raises:
        ValueError: An unknown key, a bad value, or options that contradict each other.
    """
    _check_names(where, list(options))
    rest = {key: value for key, value in options.items() if key not in _OURS}
    valid = placement.validate(rest, where)
    thread = forms.sync and valid.get("placement") == "thread"
    is_async = forms.awaits and not thread and (forms.waits or not forms.sync)
    if is_async and not forms.waits and not valid:
        valid = {"placement": "task"}
    placement.resolve(valid, is_async, where)
    made = PartOptions(
        is_async=is_async,
        ray_options=valid,
        timeout=_seconds(where, options.get("timeout")),
        max_concurrency=_count(where, options.get("max_concurrency")),
    )
    if not (forms.sync and forms.awaits):
        return made
    other = placement.in_other_form(valid, is_async)
    return replace(made, other_form=replace(made, is_async=not is_async, ray_options=other))


def _check_names(where: str, names: Sequence[str]) -> None:
    for name in names:
        hint = nearest(name, (*_OURS, *_RAY_KEYS))
        if name not in (*_OURS, *_RAY_KEYS) and any(repr(ours) in hint for ours in _OURS):
            raise ValueError(f"{where}: unknown ray_options key {name!r}.{hint}")
