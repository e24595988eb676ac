"""Plain text of a graph: ``-->`` is an edge and ``..>`` a conditional one."""

from __future__ import annotations

from distgraph.constants import END
from distgraph.graph.drawable import DrawableEdge, NodesAndEdges

__all__ = ("outline",)


def outline(graph: NodesAndEdges) -> str:
    """Return the text. A node in parentheses is drawn elsewhere."""
    return "\n".join(_Outline(graph).lines())


class _Outline:
    """Draws a graph as an outline: a chain of nodes on one line, a fork on indented lines."""

    def __init__(self, graph: NodesAndEdges) -> None:
        self.nodes = list(graph.nodes)
        self.out: dict[str, list[DrawableEdge]] = {name: [] for name in self.nodes}
        for edge in graph.edges:
            self.out[edge.source].append(edge)
        self.drawn: set[str] = set()

    def lines(self) -> list[str]:
        lines: list[str] = []
        for name in self.nodes:
            if name not in self.drawn and name != END:
                lines += self._from(name)
        return lines

    def _from(self, name: str) -> list[str]:
        line = name
        while True:
            self.drawn.add(name)
            edges = self.out[name]
            if len(edges) != 1:
                break
            line += " " + _arrow(edges[0])
            name = edges[0].target
            if name == END:
                return [line + END]
            if name in self.drawn:
                return [f"{line}({name})"]
            line += name
        lines = [line]
        for index, edge in enumerate(edges):
            last = index == len(edges) - 1
            lines += self._fork(edge, "'" if last else "|", " " if last else "|")
        return lines

    def _fork(self, edge: DrawableEdge, corner: str, rail: str) -> list[str]:
        if edge.target == END:
            below = [END]
        elif edge.target in self.drawn:
            below = [f"({edge.target})"]
        else:
            below = self._from(edge.target)
        return [
            f"  {corner}{_arrow(edge)}{below[0]}",
            *(f"  {rail}   {line}" for line in below[1:]),
        ]


def _arrow(edge: DrawableEdge) -> str:
    label = "" if edge.data is None else f"[{edge.data}] "
    return ("..> " if edge.conditional else "--> ") + label
