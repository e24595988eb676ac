"""The nodes and edges of a drawing, which each kind of drawing reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

__all__ = ("DrawableEdge", "DrawableNode", "NodesAndEdges")


@dataclass(frozen=True)
class DrawableNode:
    """One node of a drawing; nodes of subgraphs have ids such as ``child:inner``."""

    id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kind: tuple[str, ...] | None = None
    """Module and class of what runs there; None where nothing does."""

    @property
    def name(self) -> str:
        """The node's name in its own graph."""
        return self.id.rsplit(":", 1)[-1]

    @property
    def data(self) -> None:
        """Always None; LangChain's own nodes hold the drawn object here."""

    def copy(self, *, id: str | None = None, name: str | None = None) -> DrawableNode:
        """Return a copy of the node with another id, as LangChain's ``Node.copy`` does."""
        return self if id is None else replace(self, id=id)


class DrawableEdge(NamedTuple):
    """One edge, between node ids. Equal to LangChain's ``Edge`` with the same fields."""

    source: str
    target: str
    data: str | None = None
    """Label."""
    conditional: bool = False

    def copy(self, *, source: str | None = None, target: str | None = None) -> DrawableEdge:
        """Return a copy of the edge with other ends, as LangChain's ``Edge.copy`` does."""
        return self._replace(source=source or self.source, target=target or self.target)


@dataclass
class NodesAndEdges:
    """What a drawing shows."""

    nodes: dict[str, DrawableNode] = field(default_factory=dict)
    edges: list[DrawableEdge] = field(default_factory=list)

    def first_node(self) -> DrawableNode | None:
        """Return the only node that no edge leads to, None if there is not exactly one."""
        return self._only({edge.target for edge in self.edges if edge.source != edge.target})

    def last_node(self) -> DrawableNode | None:
        """Return the only node that no edge leaves, None if there is not exactly one."""
        return self._only({edge.source for edge in self.edges if edge.source != edge.target})

    def _only(self, others: set[str]) -> DrawableNode | None:
        found = [node for node in self.nodes.values() if node.id not in others]
        return found[0] if len(found) == 1 else None
