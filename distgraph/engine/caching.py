"""Keys under which the writes of a superstep's tasks are cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distgraph._internal.ids import digest
from distgraph.contract.cache_names import calls_of, namespace_of
from distgraph.engine.superstep import Superstep
from distgraph.engine.task import Task

if TYPE_CHECKING:
    from distgraph.contract.events import CacheKey

__all__ = ("assign_keys",)


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
