"""Validation of a graph under construction."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distgraph._internal.keys import NS_END, NS_SEP
from distgraph._internal.mistakes import nearest
from distgraph.constants import END, START

if TYPE_CHECKING:
    from distgraph.graph.blueprint import Blueprint

__all__ = ("check_graph", "check_name", "check_schema")


def check_name(name: str, action: Any, nodes: Container[str]) -> None:
    """Refuse a name that a new node cannot have beside ``nodes``.

    Raises:
        ValueError: It is taken, reserved, or holds what separates the parts of a namespace; or the
            node has no action.
    """
    if action is None:
        raise ValueError(f"Node `{name}` needs an action: add_node({name!r}, function)")
    if name in nodes:
        raise ValueError(
            f"Node `{name}` already present. Give this one another name: add_node(name, action)"
        )
    if name in (START, END):
        raise ValueError(f"Node `{name}` is reserved. Choose another name")
    for character in (NS_SEP, NS_END):
        if character in name:
            raise ValueError(
                f"'{character}' is a reserved character and is not allowed in the node names: "
                f"rename `{name}`"
            )


def check_schema(schema: Any) -> None:
    """Refuse a dict or list of keys in place of a class with annotations.

    Raises:
        TypeError: It is one.
    """
    if isinstance(schema, (Mapping, list, set)):
        raise TypeError(
            f"A schema is a class, such as a TypedDict, got {schema!r}. Write "
            "`class State(TypedDict): ...` with an annotation for each key"
        )


def check_graph(blueprint: Blueprint, stops: Sequence[str]) -> None:
    """Check that edges, branches and the breakpoints ``stops`` lead from and to what exists.

    Raises:
        ValueError: One does not, or the graph has no entry point.
    """
    known = blueprint.nodes.keys()
    edges = [
        *blueprint.edges,
        *((start, end) for starts, end in blueprint.waiting_edges for start in starts),
    ]
    sources = [start for start, _ in edges] + list(blueprint.branches)
    for source in sources:
        if source not in known and source != START:
            raise ValueError(
                f"Found edge starting at unknown node '{source}'{_nearest(source, known)}"
            )
    if START not in sources:
        raise ValueError(
            "Graph must have an entrypoint: add at least one edge from START to another node"
        )
    for source, branches in blueprint.branches.items():
        for name, branch in branches.items():
            for end in (branch.ends or {}).values():
                if end not in known and end != END:
                    raise ValueError(
                        f"At '{source}' node, '{name}' branch found unknown target '{end}'"
                        f"{_nearest(end, known)}"
                    )
    targets = [end for _, end in edges] + [e for n in blueprint.nodes.values() for e in n.ends]
    for target in targets:
        if target not in known and target != END:
            raise ValueError(
                f"Found edge ending at unknown node `{target}`{_nearest(target, known)}"
            )
    for name in stops:
        if name not in known:
            raise ValueError(f"Interrupt node `{name}` not found{_nearest(name, known)}")


def _nearest(name: Any, known: Any) -> str:
    if hint := nearest(name, known):
        return f".{hint}"
    return f". Add it with add_node({name!r}, function)"
