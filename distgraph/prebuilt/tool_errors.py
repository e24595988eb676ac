"""Handling of tool errors: a message to the model, or a failure of the node.

The texts are part of what models have learnt to read, so they equal LangGraph's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException
from pydantic import ValidationError

from distgraph.errors import is_invalid_resume
from distgraph.prebuilt.injection import Injected

__all__ = (
    "HandleToolErrors",
    "ToolInvocationError",
    "error_message",
    "handled",
    "is_bubble",
    "model_errors",
    "on_invocation_errors",
)

HandleToolErrors = bool | str | Callable[..., str] | type[Exception] | tuple[type[Exception], ...]

TOOL_CALL_ERROR = "Error: {error}\n Please fix your mistakes."
TOOL_INVOCATION_ERROR = (
    "Error invoking tool '{tool_name}' with kwargs {tool_kwargs} with error:\n {error}\n"
    " Please fix the error and try again."
)


class ToolInvocationError(ToolException):
    """The model called a tool with arguments that do not fit its schema.

    Args:
        tool_name: Name of the tool.
        source: What pydantic found.
        tool_kwargs: The arguments, as the model wrote them.
        filtered_errors: Of the errors in ``source``, those that the model can do something about.
    """

    def __init__(
        self,
        tool_name: str,
        source: ValidationError,
        tool_kwargs: dict[str, Any],
        filtered_errors: list[Any] | None = None,
    ) -> None:
        shown = str(source)
        if filtered_errors is not None:
            shown = "\n".join(
                f"{'.'.join(map(str, e.get('loc', ())))}: {e.get('msg', 'Unknown error')}"
                for e in filtered_errors
            )
        self.message = TOOL_INVOCATION_ERROR.format(
            tool_name=tool_name, tool_kwargs=tool_kwargs, error=shown
        )
        self.tool_name = tool_name
        self.source = source
        self.tool_kwargs = tool_kwargs
        self.filtered_errors = filtered_errors
        super().__init__(self.message)

    def __reduce__(self) -> Any:
        own = (self.tool_name, self.source, self.tool_kwargs, self.filtered_errors)
        return type(self), own


def on_invocation_errors(e: Exception) -> str:
    """Return the text for the model if arguments do not fit; raise any other error."""
    if isinstance(e, ToolInvocationError):
        return e.message
    raise e


def model_errors(error: ValidationError, injected: Injected | None) -> list[dict[str, Any]]:
    """Return the validation errors that the model can fix: not those of injected arguments."""
    filled = frozenset[str]() if injected is None else injected.names
    mine: list[dict[str, Any]] = []
    for found in error.errors():
        if not found["loc"] or found["loc"][0] in filled:
            continue
        own: dict[str, Any] = {**found}
        if isinstance(own.get("input"), dict):
            own["input"] = {k: v for k, v in own["input"].items() if k not in filled}
        mine.append(own)
    return mine


def is_bubble(error: BaseException) -> bool:
    """Return whether an exception is no failure of the tool: an interrupt, a command to the parent
    graph, an invalid resume value.

    LangGraph's own are known by name, without importing it.
    """
    return is_invalid_resume(error) or any(
        c.__name__ == "GraphBubbleUp" and c.__module__.endswith("graph.errors")
        for c in type(error).__mro__
    )


def _types(flag: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions that a setting of ``handle_tool_errors`` is for."""
    if isinstance(flag, tuple):
        return flag
    if isinstance(flag, type) and issubclass(flag, Exception):
        return (flag,)
    if callable(flag) and not isinstance(flag, type):
        return _annotated(flag)
    return (Exception,)


def _annotated(handler: Callable[..., str]) -> tuple[type[Exception], ...]:
    """Return the exceptions that a handler's first parameter is annotated with.

    Raises:
        ValueError: It is annotated with something else.
    """
    names = list(inspect.signature(handler).parameters)
    if len(names) == 2 and names[0] in ("self", "cls"):
        names = names[1:]
    annotation = get_type_hints(handler).get(names[0], Exception) if names else Exception
    union = get_origin(annotation) in (Union, UnionType)
    found = get_args(annotation) if union else (annotation,)
    if not all(isinstance(t, type) and issubclass(t, Exception) for t in found):
        raise ValueError(
            "handle_tool_errors: annotate the handler's parameter with an Exception type or a "
            "union of Exception types, such as `def handler(e: ValueError | TypeError) -> str`. "
            f"Got {annotation!r}"
        )
    return found


def handled(error: Exception, flag: Any, *, by_type: bool = True) -> str | None:
    """Return the message to the model for an error; None if the error is to be raised.

    Args:
        error: The exception.
        flag: ``handle_tool_errors``.
        by_type: Whether exception types in ``flag`` are checked.

    Raises:
        ValueError: ``flag`` has an unsupported type.
        Exception: A handler may raise the error itself, or another one.
    """
    if not flag or (by_type and not isinstance(error, _types(flag))):
        return None
    if isinstance(flag, (bool, tuple)) or (isinstance(flag, type) and issubclass(flag, Exception)):
        return TOOL_CALL_ERROR.format(error=repr(error))
    if isinstance(flag, str):
        return flag
    if callable(flag):
        return flag(error)  # type: ignore[no-any-return]
    raise ValueError(
        "Got unexpected type of `handle_tool_error`. Expected bool, str or callable. "
        f"Received: {flag}"
    )


def error_message(call: Mapping[str, Any], content: str) -> ToolMessage:
    """Return the tool message with status "error" for a call."""
    return ToolMessage(content=content, name=call["name"], tool_call_id=call["id"], status="error")
