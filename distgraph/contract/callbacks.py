"""What crosses between the caller and workers of LangChain's callbacks: who listens, and calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ("CallbackInfo", "HandlerCall", "Listener")


class HandlerCall(NamedTuple):
    """A call of the caller's handlers: the payload of events of mode ``CALLBACK_MODE``."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    recorded: tuple[Any, ...] = ()
    """What tracers are told in place of the last argument, if anything."""
    listener: int | None = None
    """Number of the one handler to call; None: those that everything inside the run inherits."""
    client: bool = False
    """Whether it is a call of that handler's LangSmith client."""


class Listener(NamedTuple):
    """A callback handler of the caller, as workers know it."""

    number: int
    cls: tuple[str, str]
    """Module and name of its class."""
    inherited: bool
    """Whether everything inside the run has it; otherwise only what LangChain gives it to."""
    hook: bool | None = None
    """Whether a context variable of LangChain's has it, and then: whether the runs inside inherit
    it from what is configured with it."""
    traces: bool = False
    """Whether it is LangChain's tracer for LangSmith."""


@dataclass(frozen=True, slots=True)
class CallbackInfo:
    """Who listens to a run, and what all that happens in it inherits."""

    run_id: str
    """Of the run, as handlers are told of it."""
    listeners: tuple[Listener, ...]
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lifecycle: bool = False
    """Whether a handler hears of graphs that are interrupted or resumed."""
