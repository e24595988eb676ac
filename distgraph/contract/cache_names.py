"""Names in a cache of writes: LangGraph's namespaces, and the identity of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distgraph.langgraphs.vocabulary import NS_WRITES

if TYPE_CHECKING:
    from distgraph.contract.spec import NodeSpec
    from distgraph.types import CachePolicy

__all__ = ("cache_policy_of", "calls_of", "identity_of", "namespace_of")


def cache_policy_of(given: Any) -> CachePolicy | None:
    """Return the given policy as a distgraph policy.

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
    return NS_WRITES, node.identity, node.name


def calls_of(identity: str) -> tuple[str, ...]:
    """Return the namespace of the entries of a function's calls, as a task."""
    return NS_WRITES, identity
