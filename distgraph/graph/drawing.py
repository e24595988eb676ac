"""A graph as nodes and edges, to be drawn as Mermaid text or as plain text. Needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from distgraph.constants import END, START
from distgraph.errors import UnsupportedError
from distgraph.worker.user_functions import FunctionNode, is_runnable

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphSpec
    from distgraph.graph.blueprint import Blueprint

__all__ = ("DrawableEdge", "DrawableGraph", "DrawableNode", "drawable")


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
class DrawableGraph:
    """The graph drawing that ``get_graph`` returns. ``str()`` gives the text drawing."""

    nodes: dict[str, DrawableNode] = field(default_factory=dict)
    edges: list[DrawableEdge] = field(default_factory=list)

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
        from distgraph.graph.mermaid import mermaid

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
        return "\n".join(_Outline(self).lines())

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

    def first_node(self) -> DrawableNode | None:
        """Return the only node that no edge leads to, None if there is not exactly one."""
        return self._only({edge.target for edge in self.edges if edge.source != edge.target})

    def last_node(self) -> DrawableNode | None:
        """Return the only node that no edge leaves, None if there is not exactly one."""
        return self._only({edge.source for edge in self.edges if edge.source != edge.target})

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

    def _only(self, others: set[str]) -> DrawableNode | None:
        found = [node for node in self.nodes.values() if node.id not in others]
        return found[0] if len(found) == 1 else None

    def __str__(self) -> str:
        return self.draw_ascii()

    def _repr_mimebundle_(self, **wanted: Any) -> dict[str, str]:
        """Return what a notebook shows: the picture, and the text where it shows no pictures."""
        from distgraph.graph.picture import picture

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


class _Outline:
    """Draws a graph as an outline: a chain of nodes on one line, a fork on indented lines."""

    def __init__(self, graph: DrawableGraph) -> None:
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
