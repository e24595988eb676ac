"""Reports to a caller at once that a node requests what no machine of the cluster has."""

from __future__ import annotations

from actors.cluster import cluster_size, machines
from distgraph import capacity, status
from distgraph._internal.mistakes import warn_once
from distgraph._internal.settings import setting
from distgraph.contract.spec import GraphSpec
from distgraph.errors import UnsupportedClusterError

__all__ = ("check_capacity",)


def check_capacity(graph: GraphSpec) -> None:
    """Show and log each node of a graph whose request no machine can meet, once in a process.

    Such a node waits until a machine with the resources joins, as one does under an autoscaler.

    Raises:
        UnsupportedClusterError: There is one, and ``DISTGRAPH_MISSING_RESOURCES`` is ``raise``.
        ValueError: The variable has another value than ``wait`` and ``raise``.
    """
    if not capacity.requests_anything(graph):
        return
    policy = setting("DISTGRAPH_MISSING_RESOURCES", "wait")
    found = capacity.unplaceable(graph, machines())
    if found and policy == "raise":
        raise UnsupportedClusterError(
            f"graph {graph.name!r}: {'; '.join(found)}. The cluster has {cluster_size()}. Change "
            "the node's ray_options, or add a machine"
        )
    for message in found:
        status.note(message)
    warn_once(
        f"graph {graph.name!r}: {message} (the run goes on when one joins)" for message in found
    )
