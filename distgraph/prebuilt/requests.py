"""What wrappers of tool calls are given."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

__all__ = ("AsyncToolCallWrapper", "ToolCallRequest", "ToolCallWrapper")


@dataclass
class ToolCallRequest:
    """One tool call on its way to its tool.

    Attributes:
        tool_call: Dict with ``name``, ``args`` and ``id``, as the model wrote it.
        tool: The tool, None where the node has none of that name.
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
                f"Assigning ToolCallRequest.{name} is deprecated: other parts of the run may hold "
                "the same request. Use request.override(...)",
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
"""As ``ToolCallWrapper``, with an ``execute`` to await."""
