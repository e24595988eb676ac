"""A node as its builder keeps it, and what can be read off the user's function."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from distgraph.backends import backend_name
from distgraph.contract.cache_names import identity_of
from distgraph.graph.node_function import runnable_of
from distgraph.graph.schema import has_fields
from distgraph.persistence import opening  # noqa: F401  tells serde how savers travel
from distgraph.persistence.placing import check
from distgraph.worker.user_functions import FunctionNode, RunnableNode, is_runnable, user_function

if TYPE_CHECKING:
    from distgraph.graph.subgraphs import NestableGraph
    from distgraph.persistence.placed import Role
    from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy

__all__ = (
    "StateNodeSpec",
    "check_resources",
    "infer",
    "node_name",
)


@dataclass
class StateNodeSpec:
    """One node of a ``StateGraph``."""

    name: str
    bound: FunctionNode | RunnableNode | None
    """None for a node that is a compiled graph."""
    input_schema: Any
    metadata: Mapping[str, Any] | None = None
    defer: bool = False
    ends: tuple[str, ...] | Mapping[str, str] = ()
    """Possible targets of the node's ``Command``; a mapping gives the labels of the drawing."""
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    subgraph: NestableGraph | None = None
    retry_policy: tuple[RetryPolicy, ...] | None = None
    cache_policy: CachePolicy | None = None
    timeout: TimeoutPolicy | None = None
    error_handler_node: str | None = None
    """Name of the node that handles its failures."""
    trace_policy: TracePolicy | None = None
    is_error_handler: bool = False
    """Whether the node is an error handler: an error handler runs only when another node fails."""

    @property
    def is_async(self) -> bool:
        """Whether the node's function is a coroutine function."""
        return self.bound is not None and self.bound.is_async

    @property
    def runnable(self) -> Any:
        """The object that the node runs: its graph, its ``Runnable``, or a ``NodeFunction``."""
        return runnable_of(self.name, self.bound, self.subgraph, metadata=self.metadata)

    @property
    def identity(self) -> str:
        """Under which its results are cached: as in LangGraph, the place of a plain function."""
        if self.bound is None or self.is_async:
            return "__dynamic__"
        return identity_of(self.bound.action)


@dataclass(frozen=True)
class Inferred:
    """Information from the annotations of a node's function."""

    input_schema: Any = None
    ends: tuple[str, ...] = ()


def check_resources(backend: Any, **given: Any) -> None:
    """Refuse a saver, a store or a cache that cannot work with a backend.

    ``given``: by the option of ``compile`` under which it was given.

    Raises:
        TypeError: It is none.
        UnsupportedError: It cannot work on this backend; the message has the remedy.
    """
    if all(resource is None or isinstance(resource, bool) for resource in given.values()):
        return
    name = backend_name(backend)
    for role, resource in given.items():
        check(resource, cast("Role", role), name)


def node_name(action: Any) -> str:
    """Return the name that a node gets if none is given."""
    get_name = getattr(action, "get_name", None)
    if callable(get_name) and (is_runnable(action) or hasattr(action, "builder")):
        return str(get_name())
    return str(getattr(action, "__name__", type(action).__name__))


def infer(action: Any) -> Inferred:
    """Read the input schema and the destinations off a function's annotations.

    Annotations that cannot be evaluated say nothing: they may name what only type checkers see.
    """
    function = None if is_runnable(action) else user_function(action)
    if function is None:
        return Inferred()
    try:
        hints = get_type_hints(function)
        first = next(iter(inspect.signature(function).parameters), "")
    except Exception:
        return Inferred()
    hint = hints.get(first)
    return Inferred(hint if has_fields(hint) else None, _command_targets(hints.get("return")))


def _command_targets(returned: Any) -> tuple[str, ...]:
    origin = get_origin(returned)
    if origin is Union or getattr(origin, "__name__", "") == "UnionType":
        for alternative in get_args(returned):
            if targets := _command_targets(alternative):
                return targets
        return ()
    if getattr(origin, "__name__", "") != "Command":
        return ()
    args = get_args(returned)
    return get_args(args[0]) if args and get_origin(args[0]) is Literal else ()
