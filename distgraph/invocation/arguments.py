"""The options of ``invoke``, ``stream``, ``batch`` and their async forms, defined once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal

from typing_extensions import TypedDict, TypeVar

from distgraph._internal.mistakes import nearest
from distgraph.runtime import RunControl
from distgraph.types import All, Durability, StreamMode

__all__ = ("RunArguments", "Version", "check_arguments", "show_arguments")

Version = Literal["v1", "v2"]

ContextT = TypeVar("ContextT", default=Any)


class RunArguments(TypedDict, Generic[ContextT], total=False):
    """Options of one run."""

    context: ContextT | Mapping[str, Any] | None
    """Run-scoped value for ``Runtime.context``; a dict becomes the ``context_schema``."""
    stream_mode: StreamMode | Sequence[StreamMode] | None
    """One mode (bare payloads) or a list (``(mode, payload)``)."""
    print_mode: StreamMode | Sequence[StreamMode]
    """Modes whose chunks are also printed."""
    output_keys: str | Sequence[str] | None
    """State keys that ``values`` and ``updates`` show; a str shows its bare value."""
    interrupt_before: All | Sequence[str] | None
    """Nodes to stop before, in place of those of ``compile``."""
    interrupt_after: All | Sequence[str] | None
    """Nodes to stop after, in place of those of ``compile``."""
    durability: Durability | None
    """Time of saving checkpoints: "async" (default) during the next step, "sync" before the next
    step, "exit" only at the end."""
    checkpoint_during: bool | None
    """Deprecated: True stands for ``durability="async"``, False for "exit"."""
    control: RunControl | None
    """Handle for a graceful stop (drain) between two supersteps."""
    subgraphs: bool
    """Also stream the events of subgraphs; chunks then contain a namespace."""
    debug: bool | None
    """Also print updates and values."""
    version: Version
    """"v1", or "v2" for ``{"type", "ns", "data"}`` chunks."""


_NAMES = tuple(RunArguments.__annotations__)


def check_arguments(method: str, given: Mapping[str, Any], names: Sequence[str] = _NAMES) -> None:
    """Refuse options that no run has.

    Raises:
        TypeError: Names the option, and the one that was probably meant.
    """
    for name in given:
        if name not in names:
            raise TypeError(
                f"{method}() got an unexpected keyword argument {name!r}.{nearest(name, names)} "
                f"Options: {', '.join(names)}"
            )


def show_arguments(method: Callable[..., Any], arguments: type[Any] = RunArguments) -> None:
    """Let the signature of a method name the options of ``arguments``: consoles and notebooks
    complete what the signature names."""
    signature = inspect.signature(method)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=...,
            annotation=getattr(annotation, "__forward_arg__", annotation),
        )
        for name, annotation in arguments.__annotations__.items()
    ]
    method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
