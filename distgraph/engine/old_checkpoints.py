"""Checkpoints that LangGraph wrote before version 0.3, read in the present layout of channels.

Before 0.3, channels of several names triggered a node: ``start:<node>``,
``branch:<source>:<condition>:<node>``, and ``<source>``, the node in front of an edge. Now one
channel does, ``branch:to:<node>``. The rules are those of LangGraph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distgraph._internal.keys import BRANCH_TO, INTERRUPT
from distgraph.constants import END, START
from distgraph.contract.spec import GraphSpec

__all__ = ("migrated",)

_ONE_TRIGGER = 3
"""The first layout (``v`` of a checkpoint) in which a node has one channel that triggers it."""


def migrated(checkpoint: Mapping[str, Any], spec: GraphSpec) -> Mapping[str, Any]:
    """Return a checkpoint of the graph with its channels named as they are now.

    One of the present layout is returned as it is. Channels of nodes that the graph does not have
    keep their names.
    """
    if checkpoint["v"] >= _ONE_TRIGGER or not checkpoint["channel_versions"]:
        return checkpoint
    values = dict(checkpoint["channel_values"])
    versions = dict(checkpoint["channel_versions"])
    seen = {node: dict(versions_) for node, versions_ in checkpoint["versions_seen"].items()}
    for old, nodes in list(_renamed(versions, spec)):
        version = versions.pop(old)
        held = old in values
        value = values.pop(old, None)
        for node in nodes:
            new = BRANCH_TO.format(node)
            versions[new] = max(versions[new], version) if new in versions else version
            for noted in (seen.get(node, {}), seen.get(INTERRUPT, {})):
                if old in noted:
                    before = noted.pop(old)
                    noted[new] = max(before, noted[new]) if new in noted else before
            if held:
                values.setdefault(new, value)
        seen.get(INTERRUPT, {}).pop(old, None)
    return {
        **checkpoint,
        "channel_values": values,
        "channel_versions": versions,
        "versions_seen": seen,
    }


def _renamed(versions: Mapping[str, Any], spec: GraphSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each channel of an old name, with the nodes that it triggered."""
    for channel in versions:
        kind, *rest = channel.split(":")
        if kind == "start" and len(rest) == 1 and rest[0] in spec.nodes:
            yield channel, (rest[0],)
    for channel in versions:
        kind, *rest = channel.split(":")
        if kind == "branch" and len(rest) == 3 and rest[2] in spec.nodes:
            yield channel, (rest[2],)
    for channel in versions:
        if channel in spec.nodes and channel != START:
            after = (end for start, end in spec.edges if start == channel and end != END)
            yield channel, tuple(after)
