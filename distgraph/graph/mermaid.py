"""Mermaid text of a graph, in the dialect that LangGraph's users know from its drawings."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from distgraph.graph.drawable import DrawableEdge, DrawableNode, NodesAndEdges

__all__ = ("mermaid",)

_STYLES = {
    "default": "fill:#f2f0ff,line-height:1.2",
    "first": "fill-opacity:0",
    "last": "fill:#bfb6fc",
}
_PLAIN = frozenset(string.ascii_letters + string.digits + "_-")
_ENTITIES = {
    "#": "#35;",
    "[": "#91;",
    "]": "#93;",
    "(": "#40;",
    ")": "#41;",
    "{": "#123;",
    "}": "#125;",
    '"': "#quot;",
    "<": "#60;",
    ">": "#62;",
    "|": "#124;",
}


def mermaid(
    graph: NodesAndEdges,
    *,
    with_styles: bool,
    curve_style: str,
    words: int,
    styles: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> str:
    """Return the text; each subgraph that is expanded is a box."""
    lines: list[str] = []
    if with_styles:
        lines += ["---", *_front_matter(curve_style, config), "---"]
    lines.append("graph TD;")
    lines += _box(graph, "", with_styles, words, set())
    if with_styles:
        lines += [f"\tclassDef {name} {style}" for name, style in (styles or _STYLES).items()]
    return "\n".join(lines) + "\n"


def _front_matter(curve_style: str, given: Mapping[str, Any] | None) -> list[str]:
    if not given:
        return ["config:", "  flowchart:", f"    curve: {curve_style}"]
    config = dict(given.get("config", {}))
    config["flowchart"] = {**config.get("flowchart", {}), "curve": curve_style}
    return str(
        import_module("yaml").dump({**given, "config": config}, default_flow_style=False)
    ).splitlines()


def _parent(name: str) -> str:
    return name.rpartition(":")[0]


def _common(edge: DrawableEdge) -> str:
    """Return the innermost subgraph that holds both ends of an edge, "" for the graph itself."""
    source, target = _parent(edge.source), _parent(edge.target)
    while source != target:
        if len(source) >= len(target):
            source = _parent(source)
        else:
            target = _parent(target)
    return source


def _box(
    graph: NodesAndEdges, prefix: str, with_styles: bool, words: int, boxes: set[str]
) -> Iterator[str]:
    if with_styles:
        first, last = graph.first_node(), graph.last_node()
        for node in graph.nodes.values():
            if _parent(node.id) == prefix:
                style = "first" if node is first else "last" if node is last else ""
                yield "\t" + _node(node, style)
    here = [edge for edge in graph.edges if _common(edge) == prefix]
    for edge in sorted(here, key=lambda edge: edge.source == edge.target):
        yield f"\t{_id(edge.source)}{_arrow(edge, words)}{_id(edge.target)};"
    for inner in dict.fromkeys(_parent(name) for name in graph.nodes):
        if inner and _parent(inner) == prefix:
            name = inner.rpartition(":")[2]
            # Mermaid would take two boxes of one name for the same.
            yield f"\tsubgraph {_id(name) if name not in boxes else f'{_id(inner)} [{name}]'}"
            boxes.add(name)
            yield from _box(graph, inner, with_styles, words, boxes)
            yield "\tend"


def _node(node: DrawableNode, style: str) -> str:
    # Mermaid reads *name*, _name_ and `name` as emphasis unless it is HTML.
    marked = node.name[0] in "*_`" and node.name[-1] in "*_`"
    label = f"<p>{node.name}</p>" if marked else node.name
    notes = [note for key, value in node.metadata.items() if (note := _note(key, value))]
    if notes:
        label += "<hr/><small><em>" + "\n".join(notes) + "</em></small>"
    if style:
        return f"{_id(node.id)}([{label}]):::{style}"
    return f"{_id(node.id)}({label})"


def _note(key: str, value: Any) -> str | None:
    scalars = (str, int, float, bool)
    if isinstance(value, (list, tuple, set)) and all(isinstance(v, scalars) for v in value):
        items = [str(v) for v in value]
        value = ", ".join(sorted(items) if isinstance(value, set) else items)
    if not isinstance(value, scalars):
        return None
    return "".join(_ENTITIES.get(character, character) for character in f"{key} = {value}")


def _arrow(edge: DrawableEdge, words: int) -> str:
    if edge.data is None:
        return " -.-> " if edge.conditional else " --> "
    parts = edge.data.split()
    label = edge.data
    if len(parts) > words:
        rows = [" ".join(parts[i : i + words]) for i in range(0, len(parts), words)]
        label = "&nbsp<br>&nbsp".join(rows)
    return f" -. &nbsp;{label}&nbsp; .-> " if edge.conditional else f" -- &nbsp;{label}&nbsp; --> "


def _id(name: str) -> str:
    return "".join(c if c in _PLAIN else f"\\{ord(c):x}" for c in name)
