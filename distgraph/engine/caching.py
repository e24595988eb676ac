"""Where a task's writes are cached: LangGraph's namespaces and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distgraph._internal.ids import digest
from distgraph.engine.superstep import Superstep, Task

if TYPE_CHECKING:
    from distgraph.contract.events import CacheKey
    from distgraph.contract.spec import NodeSpec
    from distgraph.types import CachePolicy

__all__ = ("assign_keys", "cache_policy_of", "calls_of", "identity_of", "namespace_of")

_NS = "__pregel_ns_writes"


def cache_policy_of(given: Any) -> CachePolicy | None:
    """Return the policy that was given, ours for one of LangGraph's.

    Raises:
        TypeError: It is none.
    """
    from distgraph._internal.policies import default_cache_key
    from distgraph.types import CachePolicy

    if given is None or isinstance(given, CachePolicy):
        return given
    try:
        key_func, ttl = given.key_func, given.ttl
    except AttributeError:
        raise TypeError(f"cache_policy takes a CachePolicy, got {type(given).__name__}") from None
    if getattr(key_func, "__name__", "") == "default_cache_key":
        key_func = default_cache_key
    return CachePolicy(key_func=key_func, ttl=ttl)


def identity_of(func: Any) -> str:
    """Return the name under which results of a function's calls are cached."""
    module, path = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    path = path or getattr(func, "__name__", None)
    return "__dynamic__" if module is None or path is None else f"{module}.{path}"


def namespace_of(node: NodeSpec) -> tuple[str, ...]:
    """Return the namespace of a node's entries."""
    return _NS, node.identity, node.name


def calls_of(identity: str) -> tuple[str, ...]:
    """Return the namespace of the entries of a function's calls, as a task."""
    return _NS, identity


def assign_keys(graph: Superstep, tasks: Sequence[Task]) -> dict[CacheKey, list[Task]]:
    """Give tasks whose node has a cache policy their key, and return them by it.

    Raises what a ``key_func`` or ``mapper`` raises.
    """
    found: dict[CacheKey, list[Task]] = {}
    for task in tasks if graph.spec.cached else ():
        policy = task.node.cache
        if policy is None:
            continue
        value = graph.mapped_input_of(task)
        args, kwargs = ((value,), {}) if task.call is None else value
        name = policy.key_func(*args, **kwargs)
        data = name.encode() if isinstance(name, str) else name
        namespace = namespace_of(task.node) if task.call is None else calls_of(task.node.identity)
        task.cache_key = (namespace, digest(data))
        found.setdefault(task.cache_key, []).append(task)
    return found
