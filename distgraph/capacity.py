"""Whether a cluster has what the nodes of a graph request: the rule, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distgraph import status
from distgraph.contract.spec import GraphSpec

__all__ = ("demand_of", "has_pool", "requests_anything", "unplaceable")

_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


def demand_of(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the amounts that ``ray_options`` reserve, by resource as Ray names them."""
    found = {resource: float(options[key]) for key, resource in _NAMES.items() if options.get(key)}
    found.update(options.get("resources") or {})
    if kind := options.get("accelerator_type"):
        found[f"accelerator_type:{kind}"] = 0.001
    return found


def unplaceable(graph: GraphSpec, machines: Sequence[dict[str, float]]) -> list[str]:
    """Return a message for each node, subgraphs included, whose request no machine can ever meet.

    Args:
        graph: The graph that is to run.
        machines: The total resources of each machine, by Ray's names.
    """
    found = []
    for name, options in _requests(graph):
        missing = status.lacking(demand_of(options), machines)
        if missing is not None:
            found.append(f"node {name!r} waits for {missing}")
    return found


def requests_anything(graph: GraphSpec) -> bool:
    """Return whether a node requests more than the default."""
    return any(options and demand_of(options) for _, options in _requests(graph))


def has_pool(graph: GraphSpec) -> bool:
    """Return whether a node, subgraphs included, runs in a pool of workers."""
    return any("concurrency" in options for _, options in _requests(graph))


def _requests(graph: GraphSpec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, node in graph.nodes.items():
        yield name, node.ray_options
        if node.subgraph is not None:
            for inner, options in _requests(node.subgraph):
                yield f"{name}:{inner}", options
