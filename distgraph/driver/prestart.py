"""Whether the first run of a graph will need an executor, which then starts ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgraph import placement
from distgraph.contract.spec import GraphSpec

__all__ = ("awaits",)


def awaits(spec: GraphSpec) -> bool:
    """Return whether nodes of a graph run in an executor that attempts share."""
    return any(
        node.inline is None and _is_shared(node.ray_options, node.is_async)
        for node in spec.nodes.values()
    ) or any(awaits(node.subgraph) for node in spec.nodes.values() if node.subgraph is not None)


def _is_shared(ray_options: Mapping[str, Any], is_async: bool) -> bool:
    placed = placement.resolve(ray_options, is_async)
    return placed.kind in ("async", "thread") and placed.affinity is None
