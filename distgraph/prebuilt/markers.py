"""Annotations of injected tool arguments: state, store, runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic

from langchain_core.tools import InjectedToolArg
from langchain_core.tools import base as _core
from typing_extensions import TypeVar

from distgraph.worker.tools import delta_writer

__all__ = ("InjectedState", "InjectedStore", "ToolRuntime")

ContextT = TypeVar("ContextT", default=Any)
StateT = TypeVar("StateT", default=dict[str, Any])

# private, but it is by this class that LangChain leaves a parameter out of the tool's schema
_DirectlyInjected: Any = getattr(_core, "_DirectlyInjectedToolArg", object)


class InjectedState(InjectedToolArg):
    """Fills a tool's parameter with the graph's state: ``Annotated[dict, InjectedState]``.

    Args:
        field: The state key to give, None for the whole state.
    """

    def __init__(self, field: str | None = None) -> None:
        self.field = field


class InjectedStore(InjectedToolArg):
    """Fills a tool's parameter with the graph's store: ``Annotated[Any, InjectedStore()]``."""


@dataclass
class ToolRuntime(_DirectlyInjected, Generic[ContextT, StateT]):  # type: ignore[misc]
    """The run around a tool call. A parameter with this annotation receives it.

    A tool that takes it has the state sent along with each of its calls.
    """

    state: StateT
    context: ContextT
    config: Any
    """The call's ``RunnableConfig``."""
    stream_writer: Callable[[Any], None]
    tool_call_id: str | None
    store: Any
    tools: list[Any] = field(default_factory=list)
    """All tools of the node."""
    execution_info: Any = None
    server_info: Any = None

    def emit_output_delta(self, delta: Any) -> None:
        """Stream a part of the tool's output in mode ``tools``; without that mode do nothing."""
        write = delta_writer.get()
        if write is not None:
            write(delta)
