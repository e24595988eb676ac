"""The nodes of a graph in the order in which a run reaches them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ("ranks",)

START, END = "__start__", "__end__"


def ranks(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Return the nodes in ranks: each node stands behind all nodes that lead to it.

    Edges that lead back, as those of loops do, are left out. Start and end of the graph are no
    nodes. Nodes that no edge leads to are in the first rank.
    """
    names = [name for name in nodes if name not in (START, END)]
    following: dict[str, list[str]] = {name: [] for name in (START, *names)}
    for source, target in edges:
        if source in following and target in following and source != target:
            following[source].append(target)
    reached = {target for targets in following.values() for target in targets}
    roots = [START, *(name for name in names if name not in reached)]
    order = _topological(following, roots)
    place = {name: index for index, name in enumerate(order)}
    depth = dict.fromkeys(order, 0)
    for name in order:
        for target in following[name]:
            if place[target] > place[name]:
                depth[target] = max(depth[target], depth[name] + 1)
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(max(depth.get(name, 1), 1), []).append(name)
    return tuple(tuple(found[rank]) for rank in sorted(found))


def _topological(following: dict[str, list[str]], roots: Sequence[str]) -> list[str]:
    """Return the nodes in an order in which only edges of loops lead backwards."""
    done: list[str] = []
    seen: set[str] = set()
    for root in (*roots, *following):
        if root in seen:
            continue
        seen.add(root)
        path = [(root, iter(following[root]))]
        while path:
            name, rest = path[-1]
            target = next((t for t in rest if t not in seen), None)
            if target is None:
                done.append(name)
                path.pop()
            else:
                seen.add(target)
                path.append((target, iter(following[target])))
    return done[::-1]
