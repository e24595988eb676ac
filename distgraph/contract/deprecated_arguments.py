"""Arguments whose names LangGraph has deprecated: they work, and a warning names the new ones."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

from distgraph._internal.mistakes import nearest
from distgraph.types import RetryPolicy
from distgraph.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10

__all__ = (
    "DeprecatedAgentArguments",
    "DeprecatedEntrypointArguments",
    "DeprecatedGraphArguments",
    "DeprecatedNodeArguments",
    "DeprecatedTaskArguments",
    "with_deprecated",
)

_NOW = {
    "config_schema": ("context_schema", LangGraphDeprecatedSinceV10),
    "input": ("input_schema", LangGraphDeprecatedSinceV05),
    "output": ("output_schema", LangGraphDeprecatedSinceV05),
    "retry": ("retry_policy", LangGraphDeprecatedSinceV05),
}
"""The name that an argument has now, and the class of the warning, by its earlier name."""


class DeprecatedGraphArguments(TypedDict, total=False):
    """Deprecated arguments of ``StateGraph``."""

    config_schema: type[Any] | None
    input: type[Any] | None
    output: type[Any] | None


class DeprecatedTaskArguments(TypedDict, total=False):
    """Deprecated arguments of ``task``."""

    retry: RetryPolicy | Sequence[RetryPolicy] | None


class DeprecatedNodeArguments(DeprecatedTaskArguments, total=False):
    """Deprecated arguments of ``add_node``."""

    input: type[Any] | None


class DeprecatedAgentArguments(TypedDict, total=False):
    """Deprecated arguments of ``create_react_agent``."""

    config_schema: type[Any] | None


class DeprecatedEntrypointArguments(DeprecatedAgentArguments, DeprecatedTaskArguments, total=False):
    """Deprecated arguments of ``entrypoint``."""


def with_deprecated(
    method: Callable[..., Any], given: Mapping[str, Any], **values: Any
) -> list[Any]:
    """Return ``values``, those that are None from ``given``, and warn of each name in ``given``.

    Args:
        method: What was called, two frames above the line to show.
        given: Its keyword arguments that are no parameters, by name.
        values: Its arguments that had other names, by their names of today.

    Raises:
        TypeError: ``method`` has never had an argument of this name.
    """
    for name, value in given.items():
        now, category = _NOW.get(name, ("", DeprecationWarning))
        if now not in values:
            known = inspect.signature(method).parameters
            raise TypeError(
                f"{method.__qualname__}() got an unexpected keyword argument {name!r}."
                f"{nearest(name, known)}"
            )
        warnings.warn(
            f"`{name}` is deprecated and will be removed. Please use `{now}` instead.",
            category,
            stacklevel=3,
        )
        if values[now] is None:
            values[now] = value
    return list(values.values())
