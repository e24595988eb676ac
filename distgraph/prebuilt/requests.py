"""Arguments of the wrappers of tool calls."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

__all__ = ("AsyncToolCallWrapper", "ToolCallRequest", "ToolCallWrapper")


@dataclass
class ToolCallRequest:
    """The request for one tool call.

    Attributes:
        tool_call: Dict with ``name``, ``args`` and ``id``, as the model wrote it.
        tool: The tool; None if the node has no tool of that name.
        state: The graph's state.
        runtime: The ``ToolRuntime`` of the call.
    """

    tool_call: Any
    tool: Any
    state: Any
    runtime: Any

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            warnings.warn(
                f"Setting attribute {name!r} on ToolCallRequest is deprecated: other parts of the "
                "run may hold the same request. Use request.override(...)",
                DeprecationWarning,
                stacklevel=2,
            )
        object.__setattr__(self, name, value)

    def override(self, **overrides: Any) -> ToolCallRequest:
        """Return a copy with other values for ``tool_call``, ``tool``, ``state``, ``runtime``."""
        return replace(self, **overrides)


ToolCallWrapper = Callable[[ToolCallRequest, Callable[[ToolCallRequest], Any]], Any]
"""``wrapper(request, execute) -> ToolMessage | Command``; it may call ``execute`` any number of
times, with other requests too."""

AsyncToolCallWrapper = Callable[
    [ToolCallRequest, Callable[[ToolCallRequest], Awaitable[Any]]], Awaitable[Any]
]
"""Async variant of ``ToolCallWrapper``: ``execute`` is awaited."""
