"""Rewrites imports of LangGraph to distgraph, name by name, and the classes in snapshots."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from typing import Protocol

OURS = (
    "channels",
    "config",
    "constants",
    "errors",
    "func",
    "graph",
    "managed",
    "prebuilt",
    "runtime",
    "types",
    "warnings",
)
"""Modules of ``langgraph`` that distgraph offers under the same names.

All others stay upstream's: savers, stores and caches belong to the ecosystem and serve both;
``pregel``, ``stream`` and what begins with an underscore are upstream's engine and internals.
"""

CLASSES = {
    "langgraph._internal._runnable.RunnableCallable": (
        "distgraph.worker.user_functions.FunctionNode"
    ),
    "langgraph.prebuilt.tool_node.ToolNode": "distgraph.prebuilt.tool_node.ToolNode",
    "langgraph.graph.state.CompiledStateGraph": "distgraph.graph.compiled.CompiledStateGraph",
}
"""Classes that upstream's tests and snapshots of a graph as JSON name, part by part, and ours."""


class Resolver(Protocol):
    """Tells which names distgraph has."""

    def __call__(self, module: str, name: str | None) -> bool:
        """Return whether ``module`` (of distgraph) exists and, with a name, whether it has that."""


def installed(module: str, name: str | None) -> bool:
    """Look into the installed distgraph."""
    try:
        found = import_module(module)
    except ImportError:
        return False
    if name is None or hasattr(found, name):
        return True
    try:
        import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True


def counterpart(module: str) -> str | None:
    """Return distgraph's module for one of LangGraph's, None where upstream's stays."""
    root, _, rest = module.partition(".")
    parts = rest.split(".")
    if root != "langgraph" or parts[0] not in OURS or any(p.startswith("_") for p in parts):
        return None
    return f"distgraph.{rest}"


def rewrite(source: str, resolver: Resolver = installed) -> str:
    """Return the source with public names of LangGraph imported from distgraph.

    Each statement is split: names that distgraph has come from distgraph; private names, and
    those that distgraph lacks, stay upstream's, so that only the tests that use them fail. Line
    numbers stay.
    """
    lines = source.encode().split(b"\n")
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    if any(isinstance(node, ast.ImportFrom) and _names_pregel(node) for node in statements):
        resolver = _without_channels(resolver)
    # from the end, so that columns of what comes before stay right
    for node in sorted(statements, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        new = None
        if isinstance(node, ast.ImportFrom):
            new = _from_import(node, resolver)
        elif isinstance(node, ast.Import):
            new = _plain_import(node, resolver)
        if new is not None:
            _replace(lines, node, new)
    return b"\n".join(lines).decode()


def _from_import(node: ast.ImportFrom, resolver: Resolver) -> str | None:
    module = node.module
    if not module or node.level:
        return None
    if _names_pregel(node):
        return _distributed_pregel(node)
    ours = counterpart(module)
    if ours is None or not resolver(ours, None):
        return None
    here: list[ast.alias] = []
    there: list[ast.alias] = []
    for alias in node.names:
        public = not alias.name.startswith("_")
        (here if public and resolver(ours, alias.name) else there).append(alias)
    parts = [(ours, here), (module, there)]
    return "; ".join(ast.unparse(ast.ImportFrom(m, names, 0)) for m, names in parts if names)


def _names_pregel(node: ast.ImportFrom) -> bool:
    return node.module == "langgraph.pregel" and any(a.name == "Pregel" for a in node.names)


def _without_channels(resolver: Resolver) -> Resolver:
    """Leave channels upstream's: its ``Pregel`` takes no others, and our builder takes them too."""

    def resolve(module: str, name: str | None) -> bool:
        return not module.startswith("distgraph.channels") and resolver(module, name)

    return resolve


def _distributed_pregel(node: ast.ImportFrom) -> str:
    """Return an import by which a graph of ``NodeBuilder`` nodes runs through ``distribute``."""
    others = [alias for alias in node.names if alias.name != "Pregel"]
    bound = next(alias.asname or alias.name for alias in node.names if alias.name == "Pregel")
    made = ast.ImportFrom("conformance_plugin", [ast.alias("DistributedPregel", bound)], 0)
    kept = [ast.ImportFrom("langgraph.pregel", others, 0)] if others else []
    return "; ".join(ast.unparse(statement) for statement in (made, *kept))


def _plain_import(node: ast.Import, resolver: Resolver) -> str | None:
    def ours(alias: ast.alias) -> ast.alias:
        # without `as` the statement binds `langgraph`, by which anything may be reached
        module = counterpart(alias.name) if alias.asname else None
        return ast.alias(module, alias.asname) if module and resolver(module, None) else alias

    names = [ours(alias) for alias in node.names]
    return None if names == node.names else ast.unparse(ast.Import(names))


def _replace(lines: list[bytes], node: ast.stmt, text: str) -> None:
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    lines[first] = before + text.encode() + after
    for index in range(first + 1, last + 1):
        lines[index] = b""


# --- graphs as JSON ------------------------------------------------------------------------------


def with_our_classes(text: str) -> str:
    """Return a file of tests or snapshots with our classes' names in graphs as JSON."""
    for theirs, ours in CLASSES.items():
        text = _parts_pattern(theirs).sub(_parts_template(ours), text)
    return text


def _parts_pattern(path: str) -> re.Pattern[str]:
    first, *rest = path.split(".")
    return re.compile(rf"(['\"]){first}\1,(\s+)" + r",\2".join(rf"\1{p}\1" for p in rest))


def _parts_template(path: str) -> str:
    first, *rest = path.split(".")
    return rf"\1{first}\1,\2" + r",\2".join(rf"\1{p}\1" for p in rest)
