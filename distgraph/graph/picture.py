"""A graph as a picture in SVG, for notebooks. Needs no network and no other package."""

from __future__ import annotations

from html import escape

from distgraph.constants import END, START
from distgraph.graph.drawable import DrawableEdge, DrawableNode, NodesAndEdges
from distgraph.views.layout import ranks

__all__ = ("picture",)

_LETTER = 7.2
"""Width of a letter; all lengths are pixels."""
_HEIGHT = 34.0
_GAP_X, _GAP_Y = 34.0, 42.0
_MARGIN = 16.0

_STYLE = (
    ".node{fill:#f2f0ff;stroke:#7a6ff0}.end{fill:#bfb6fc;stroke:#7a6ff0}"
    ".edge{fill:none;stroke:#6b7280;stroke-width:1.3}.maybe{stroke-dasharray:4 4}"
    "text{font:13px ui-sans-serif,Helvetica,Arial,sans-serif;fill:#1f2937;text-anchor:middle}"
    ".label{font-size:11px;fill:#6b7280}"
)


def picture(graph: NodesAndEdges) -> str:
    """Return the graph as SVG text, from top to bottom; conditional edges are dashed."""
    rows = _rows(graph)
    boxes = _boxes(graph, rows)
    width = max(x + w for x, _, w in boxes.values()) + _MARGIN
    height = _MARGIN * 2 + len(rows) * _HEIGHT + (len(rows) - 1) * _GAP_Y
    loops = [e for e in graph.edges if boxes[e.target][1] <= boxes[e.source][1]]
    width += (len(loops) + 1) * 14 if loops else 0
    parts = [
        _edge(edge, boxes, width - 14 * (loops.index(edge) + 1) if edge in loops else None)
        for edge in graph.edges
    ]
    parts += [_node(node, *boxes[key]) for key, node in graph.nodes.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img"><style>{_STYLE}</style>'
        '<defs><marker id="distgraph-arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="#6b7280"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _rows(graph: NodesAndEdges) -> list[list[str]]:
    middle = ranks(graph.nodes, [(e.source, e.target) for e in graph.edges])
    rows = [[START] if START in graph.nodes else [], *map(list, middle)]
    rows.append([END] if END in graph.nodes else [])
    return [row for row in rows if row]


def _boxes(graph: NodesAndEdges, rows: list[list[str]]) -> dict[str, tuple[float, float, float]]:
    """Return left, top and width of each node."""
    widths = {key: len(_text(node)) * _LETTER + 26 for key, node in graph.nodes.items()}
    lengths = [sum(widths[key] for key in row) + _GAP_X * (len(row) - 1) for row in rows]
    boxes = {}
    for number, row in enumerate(rows):
        left = _MARGIN + (max(lengths) - lengths[number]) / 2
        for key in row:
            boxes[key] = left, _MARGIN + number * (_HEIGHT + _GAP_Y), widths[key]
            left += widths[key] + _GAP_X
    return boxes


def _text(node: DrawableNode) -> str:
    return {START: "start", END: "end"}.get(node.id, node.id)


def _node(node: DrawableNode, x: float, y: float, width: float) -> str:
    is_end = node.id in (START, END)
    return (
        f'<rect class="{"end" if is_end else "node"}" x="{x:.1f}" y="{y:.1f}" '
        f'width="{width:.1f}" height="{_HEIGHT:.0f}" rx="{_HEIGHT / 2 if is_end else 7:.0f}"/>'
        f'<text x="{x + width / 2:.1f}" y="{y + 21:.1f}">{escape(_text(node))}</text>'
    )


def _edge(
    edge: DrawableEdge, boxes: dict[str, tuple[float, float, float]], loop: float | None
) -> str:
    """Return an edge; one of a loop leads up at ``loop``, on the right of all nodes."""
    (x, y, width), (to_x, to_y, to_width) = boxes[edge.source], boxes[edge.target]
    if loop is None:
        start, end = (x + width / 2, y + _HEIGHT), (to_x + to_width / 2, to_y)
        bend = (end[1] - start[1]) / 2
        path = (
            f"M{start[0]:.1f} {start[1]:.1f}C{start[0]:.1f} {start[1] + bend:.1f} "
            f"{end[0]:.1f} {end[1] - bend:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    else:
        start, end = (x + width, y + _HEIGHT * 0.65), (to_x + to_width, to_y + _HEIGHT * 0.35)
        path = (
            f"M{start[0]:.1f} {start[1]:.1f}C{loop:.1f} {start[1]:.1f} "
            f"{loop:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
        )
        middle = loop - 20, (start[1] + end[1]) / 2
    drawn = (
        f'<path class="edge{" maybe" if edge.conditional else ""}" d="{path}" '
        'marker-end="url(#distgraph-arrow)"/>'
    )
    if edge.data and edge.data != edge.target:
        drawn += (
            f'<text class="label" x="{middle[0]:.1f}" y="{middle[1]:.1f}">'
            f"{escape(edge.data)}</text>"
        )
    return drawn
