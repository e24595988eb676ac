"""LangChain callbacks between processes: the caller's handlers, and calls of these handlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ("CHANGED", "STREAMED", "CallbackInfo", "HandlerCall", "Listener", "Trace")

STREAMED = "distgraph_streamed"
"""Name of a ``HandlerCall`` with a chunk that a run inside an attempt has streamed."""


CHANGED = "distgraph_changed"
"""Name of a ``HandlerCall`` with what code has changed of its run in a tracer's trace."""


class HandlerCall(NamedTuple):
    """A call of the caller's handlers: the payload of events of mode ``CALLBACK_MODE``."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    recorded: tuple[Any, ...] = ()
    """Values that tracers receive in place of the last argument, if any."""
    listener: int | None = None
    """Number of the one handler to call; None: those that everything inside the run inherits."""
    client: bool = False
    """Whether the call goes to the LangSmith client of that handler."""
    path: tuple[str, ...] = ()
    """Names of the nodes that lead from the root graph to the graph in which it was made."""
    of_graph: bool = False
    """Whether it reports the start or the end of a graph that is a node."""
    untraced: bool = False
    """Whether it reports the start of a run in code that has switched tracing off."""
    without: tuple[int, ...] = ()
    """Numbers of handlers to which this start was forwarded before."""


class Trace(NamedTuple):
    """What a tracer of LangSmith's says of each run that it records."""

    trace_id: str
    """Run id of the root of the trace."""
    project: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}


class Listener(NamedTuple):
    """A callback handler of the caller, as workers know it."""

    number: int
    cls: tuple[str, str]
    """Module and name of its class."""
    inherited: bool
    """Whether all child runs inherit the handler. False: only runs to which LangChain passes the
    handler."""
    hook: bool | None = None
    """None for a handler from the config. Otherwise a context variable of LangChain provides the
    handler, and the value states whether child runs inherit the handler."""
    path: tuple[str, ...] = ()
    """Names of the nodes that lead to the graph whose handler it is; () for the run's handlers."""
    trace: Trace | None = None
    """What it records beside the runs themselves, if it is LangChain's tracer for LangSmith."""
    taps: bool = False
    """Whether the handler receives the chunks that a run streams, as that of ``astream_events``."""


@dataclass(frozen=True, slots=True)
class CallbackInfo:
    """The callback handlers of a run, and the tags and metadata that child runs inherit."""

    run_id: str
    """Callback run id of the run."""
    listeners: tuple[Listener, ...]
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lifecycle: bool = False
    """Whether a handler receives the interrupt and resume events of graphs."""
