"""A graph as nodes and edges, to be drawn as Mermaid text or as plain text. Needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distgraph.constants import END, START
from distgraph.errors import UnsupportedError
from distgraph.graph.drawable import DrawableEdge, DrawableNode, NodesAndEdges
from distgraph.graph.mermaid import mermaid
from distgraph.graph.outline import outline
from distgraph.graph.picture import picture
from distgraph.worker.user_functions import FunctionNode, is_runnable

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphSpec
    from distgraph.graph.blueprint import Blueprint

__all__ = ("DrawableGraph", "drawable")


@dataclass
class DrawableGraph(NodesAndEdges):
    """The graph drawing that ``get_graph`` returns. ``str()`` gives the text drawing."""

    def draw_mermaid(
        self,
        *,
        with_styles: bool = True,
        curve_style: Any = "linear",
        node_colors: Any = None,
        wrap_label_n_words: int = 9,
        frontmatter_config: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the graph as Mermaid text, conditional edges dashed.

        Args:
            with_styles: Include the nodes' shapes and colours.
            curve_style: Mermaid's name of the shape of edges, or LangChain's ``CurveStyle``.
            node_colors: LangChain's ``NodeStyles``: the styles of all, the first and the last node.
            wrap_label_n_words: Break labels after this many words.
            frontmatter_config: Mermaid's configuration, such as ``{"config": {"theme": "dark"}}``.
        """
        return mermaid(
            self,
            with_styles=with_styles,
            curve_style=getattr(curve_style, "value", curve_style),
            words=wrap_label_n_words,
            styles=None if node_colors is None else vars(node_colors),
            config=frontmatter_config,
        )

    def draw_ascii(self) -> str:
        """Return the graph as plain text.

        ``-->`` is an edge and ``..>`` a conditional one. A node in parentheses is drawn elsewhere.
        """
        return outline(self)

    def print_ascii(self) -> None:
        """Print ``draw_ascii``."""
        print(self.draw_ascii())

    def draw_mermaid_png(self, *args: Any, **kwargs: Any) -> bytes:
        """Refuse: an image needs a renderer.

        Raises:
            UnsupportedError: Always; names the remedy.
        """
        raise UnsupportedError(
            "distgraph draws no images, since that takes a browser or a web service. Paste what "
            "draw_mermaid() returns into a Mermaid renderer: a Markdown viewer, a notebook or the "
            "mermaid command line"
        )

    def draw_png(self, *args: Any, **kwargs: Any) -> bytes:
        """Refuse, as ``draw_mermaid_png``."""
        return self.draw_mermaid_png()

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return the nodes and edges as lists of dicts, metadata as the user gave it.

        The form is that of LangChain's graphs: what tools that show these read.
        """
        nodes: list[dict[str, Any]] = []
        for node in self.nodes.values():
            nodes.append({"id": node.id})
            if node.kind is not None:
                data = {"id": list(node.kind), "name": node.id}
                nodes[-1] |= {"type": "runnable", "data": data}
            if node.metadata:
                nodes[-1]["metadata"] = dict(node.metadata)
        edges: list[dict[str, Any]] = []
        for edge in self.edges:
            edges.append({"source": edge.source, "target": edge.target})
            if edge.data is not None:
                edges[-1]["data"] = edge.data
            if edge.conditional:
                edges[-1]["conditional"] = True
        return {"nodes": nodes, "edges": edges}

    def trim_first_node(self) -> None:
        """Leave out the first node, if another one is the first then: within a larger drawing."""
        self._trim(
            self.first_node(), [edge.source for edge in self.edges], DrawableGraph.first_node
        )

    def trim_last_node(self) -> None:
        """Leave out the last node, if another one is the last then."""
        targets = [edge.target for edge in self.edges]
        self._trim(self.last_node(), targets, DrawableGraph.last_node)

    def _trim(self, node: DrawableNode | None, ends: list[str], new_end: Any) -> None:
        if node is None or ends.count(node.id) != 1:
            return
        edges = [edge for edge in self.edges if node.id not in (edge.source, edge.target)]
        nodes = {key: other for key, other in self.nodes.items() if other is not node}
        if new_end(DrawableGraph(nodes, edges)) is not None:
            self.nodes, self.edges = nodes, edges

    def __str__(self) -> str:
        return self.draw_ascii()

    def _repr_mimebundle_(self, **wanted: Any) -> dict[str, str]:
        """Return what a notebook shows: the picture, and the text where it shows no pictures."""
        return {"image/svg+xml": picture(self), "text/plain": self.draw_ascii()}


def drawable(
    blueprint: Blueprint, spec: GraphSpec, insides: Mapping[str, DrawableGraph]
) -> DrawableGraph:
    """Return the nodes and edges of a graph. ``insides``: of subgraphs to be drawn in place."""
    drawn = DrawableGraph({START: DrawableNode(START, kind=_path(FunctionNode))})
    for name, node in blueprint.nodes.items():
        drawn.nodes[name] = DrawableNode(name, _metadata(spec, name, node), _kind(node))
    seen: set[tuple[str, str]] = set()
    for edge in _edges(blueprint):
        if (edge.source, edge.target) not in seen:
            seen.add((edge.source, edge.target))
            drawn.edges.append(edge)
    if any(edge.target == END for edge in drawn.edges):
        drawn.nodes[END] = DrawableNode(END)
    for name, inside in insides.items():
        _expand(drawn, name, inside)
    return drawn


def _kind(node: Any) -> tuple[str, ...]:
    if node.subgraph is not None:
        return _path(type(node.subgraph))
    action = getattr(node.bound, "action", None)
    if is_runnable(action):
        named = getattr(action, "lc_id", None)
        return tuple(named()) if named else _path(type(action))
    return _path(FunctionNode)


def _path(cls: type) -> tuple[str, ...]:
    return (*cls.__module__.split("."), cls.__name__)


def _metadata(spec: GraphSpec, name: str, node: Any) -> dict[str, Any]:
    metadata = dict(node.metadata or {})
    if node.defer:
        metadata["defer"] = True
    stops = [
        when
        for when, names in (
            ("before", spec.interrupt_before),
            ("after", spec.interrupt_after),
        )
        if name in names or names == "*"
    ]
    if stops:
        metadata["__interrupt"] = ",".join(stops)
    tools = getattr(getattr(node.bound, "action", None), "tools_by_name", None)
    if isinstance(tools, Mapping) and tools:
        metadata["__tools"] = list(tools)
    return metadata


def _edges(blueprint: Blueprint) -> list[DrawableEdge]:
    plain = [DrawableEdge(start, end) for start, end in blueprint.edges]
    for starts, end in blueprint.waiting_edges:
        plain.extend(DrawableEdge(start, end) for start in starts)
    chosen: list[DrawableEdge] = []
    for source, branches in blueprint.branches.items():
        for branch in branches.values():
            # as in LangGraph, a path that declares no destinations has no edge
            ends = branch.ends or {}
            chosen.extend(_conditional(source, end, label) for label, end in ends.items())
    for name, node in blueprint.nodes.items():
        targets = node.ends
        pairs = targets.items() if isinstance(targets, Mapping) else ((end, end) for end in targets)
        chosen.extend(_conditional(name, end, label) for end, label in pairs)
    # as in LangGraph, what no edge from the start leads to has no edges
    begun = _reached([*plain, *chosen], START)
    plain = [edge for edge in plain if edge.source in begun]
    chosen = [edge for edge in chosen if edge.source in begun]
    drawn = [*plain, *chosen]
    outer = [edge for edge in plain if edge.target == END]
    sources = {edge.source for edge in drawn}
    for name in (n for n, s in blueprint.nodes.items() if n in begun and n not in sources):
        if blueprint.nodes[name].is_error_handler:
            continue
        # a deferred node waits for all paths that it does not begin
        waiting = [n for n in _deferred(blueprint) if name not in _reached(drawn, n)]
        chosen += [DrawableEdge(name, later, None, True) for later in waiting]
        outer += [] if waiting else [DrawableEdge(name, END)]
    inner = [edge for edge in plain if edge.target != END] + chosen
    inner.sort(key=lambda e: (e.source, e.target, e.conditional, e.data or ""))
    if not any(edge.target == END for edge in (*inner, *outer)):
        outer = _exit(inner)
    return inner + sorted(outer, key=lambda e: e.source)


def _deferred(blueprint: Blueprint) -> list[str]:
    return [name for name, node in blueprint.nodes.items() if node.defer]


def _reached(edges: list[DrawableEdge], start: str) -> set[str]:
    """Return the nodes that paths from ``start`` lead to, itself included."""
    reached: set[str] = set()
    following = {start}
    while following - reached:
        reached |= following
        following = {edge.target for edge in edges if edge.source in reached}
    return reached


_ENDLESS = 250
"""Supersteps after which LangGraph's drawing gives a graph without an end an exit."""


def _exit(edges: list[DrawableEdge]) -> list[DrawableEdge]:
    """Return the exit of a graph that has none: where LangGraph draws it, if anywhere."""
    current: set[str] = {START}
    visited: set[str] = set()
    for _ in range(_ENDLESS):
        following = {
            edge.target
            for edge in edges
            if edge.source in current and (edge.source not in visited or not edge.conditional)
        }
        visited |= current
        if not following:
            break
        current = following
    return [DrawableEdge(name, END, None, True) for name in current if len(current) == 1]


def _conditional(source: str, target: str, label: Any) -> DrawableEdge:
    text = None if label is None or str(label) == target else str(label)
    return DrawableEdge(source, target, text, conditional=True)


def _expand(drawn: DrawableGraph, name: str, inner: DrawableGraph) -> None:
    """Put the nodes and edges of a subgraph in the place of its node."""
    if inner.first_node() is None or inner.last_node() is None:
        return
    _trim(inner, START, [e for e in inner.edges if e.source == START])
    _trim(inner, END, [e for e in inner.edges if e.target == END])
    first, last = inner.first_node(), inner.last_node()
    if first is None or last is None:
        return
    prefix = f"{name}:"
    del drawn.nodes[name]
    for node in inner.nodes.values():
        drawn.nodes[prefix + node.id] = replace(node, id=prefix + node.id)
    drawn.edges = [
        edge._replace(
            source=prefix + last.id if edge.source == name else edge.source,
            target=prefix + first.id if edge.target == name else edge.target,
        )
        for edge in drawn.edges
    ]
    drawn.edges += [
        edge._replace(source=prefix + edge.source, target=prefix + edge.target)
        for edge in inner.edges
    ]


def _trim(graph: DrawableGraph, name: str, edges: list[DrawableEdge]) -> None:
    """Drop a virtual node, if the graph still has one first and one last node without it."""
    if len(edges) != 1:
        return
    rest = DrawableGraph(
        {k: v for k, v in graph.nodes.items() if k != name},
        [edge for edge in graph.edges if edge not in edges],
    )
    if rest.first_node() is not None and rest.last_node() is not None:
        graph.nodes, graph.edges = rest.nodes, rest.edges
