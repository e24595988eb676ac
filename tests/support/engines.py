"""One namespace per engine, so that a graph is written once and built on each of them."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

ENGINES = ("langgraph", "local", "ray", "distributed")
REFERENCE = "langgraph"
DISTRIBUTED = "distributed"
"""Graphs that LangGraph compiled, given to ``distribute``, on the local backend."""

REFERENCE_AWAITS = sys.version_info >= (3, 11)
"""Whether the reference can be compared under ``await``.

On Python 3.10 its async nodes lack their context: ``get_config`` and what is built on it raise
there, and the events of models do not reach the stream.
"""

_MODULES = {
    "StateGraph": "graph",
    "START": "graph",
    "END": "graph",
    "MessagesState": "graph",
    "add_messages": "graph.message",
    "REMOVE_ALL_MESSAGES": "graph.message",
    "Send": "types",
    "Command": "types",
    "Overwrite": "types",
    "Interrupt": "types",
    "interrupt": "types",
    "StreamWriter": "types",
    "RetryPolicy": "types",
    "CachePolicy": "types",
    "TimeoutPolicy": "types",
    "TracePolicy": "types",
    "RunControl": "runtime",
    "GraphDrained": "errors",
    "NodeError": "errors",
    "NodeTimeoutError": "errors",
    "get_stream_writer": "config",
    "get_config": "config",
    "Runtime": "runtime",
    "get_runtime": "runtime",
    "IsLastStep": "managed",
    "RemainingSteps": "managed",
    "DeltaChannel": "channels",
    "GraphRecursionError": "errors",
    "InvalidUpdateError": "errors",
    "EmptyInputError": "errors",
}


class Engine:
    """LangGraph's names, from LangGraph itself or from distgraph, imported when first used.

    Args:
        name: "langgraph" (the reference), "local" or "ray" (distgraph's two backends), or
            "distributed" (LangGraph's graphs, run by distgraph).
    """

    def __init__(self, name: str) -> None:
        if name not in ENGINES:
            raise ValueError(f"no engine {name!r}: use one of {ENGINES}")
        self.name = name
        self.package = "langgraph" if name in (REFERENCE, DISTRIBUTED) else "distgraph"

    @property
    def is_reference(self) -> bool:
        return self.name == REFERENCE

    def module(self, name: str) -> Any:
        """Import ``<package>.<name>``: module names are the same on both sides."""
        return importlib.import_module(f"{self.package}.{name}")

    def __getattr__(self, name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(name)
        value = getattr(self.module(_MODULES[name]), name)
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        return f"Engine({self.name!r})"

    def compile(self, builder: Any, **options: Any) -> Any:
        """Compile for this engine's backend. Child graphs are compiled by ``builder.compile()``."""
        if self.name == DISTRIBUTED:
            from distgraph import distribute

            return distribute(builder.compile(**options), backend="local")
        if not self.is_reference:
            options.setdefault("backend", self.name)
        return builder.compile(**options)


def selected() -> tuple[str, ...]:
    """Return the engines that the tests run on.

    ``DISTGRAPH_TEST_ENGINES=langgraph,local`` restricts them; with ``langgraph`` alone the
    differential tests compare the reference with itself, which validates the tests.
    """
    names = os.environ.get("DISTGRAPH_TEST_ENGINES", ",".join(ENGINES))
    return tuple(name.strip() for name in names.split(",") if name.strip())
