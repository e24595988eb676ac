"""The graphs inside of a graph: its nodes that are graphs, and graphs that its functions name.

What a function may reach is read off its code: captured variables, globals, and attributes of
these. It is a guess on the generous side, as LangGraph's is.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from distgraph._internal.keys import NS_END, NS_SEP
from distgraph.worker.user_functions import is_runnable

__all__ = ("find_graph", "graph_or_action", "namespace_of_names", "subgraphs")

_PLAIN = (int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset)


def namespace_of_names(ns: str) -> str:
    """Return a namespace without the ids of tasks and the numbers of calls."""
    parts = (part.split(NS_END)[0] for part in ns.split(NS_SEP) if not part.isdigit())
    return NS_SEP.join(parts)


def subgraphs(
    graph: Any, namespace: str | None = None, recurse: bool = False
) -> Iterator[tuple[str, Any]]:
    """Yield the graphs inside of a graph with their namespaces, which are names of nodes.

    Args:
        graph: A compiled graph.
        namespace: Only the graph with this one, such as ``"parent|child"``.
        recurse: Also the graphs inside of those.
    """
    for name, inner in graph.inner_graphs().items():
        if namespace is not None and namespace != name:
            if recurse and namespace.startswith(name + NS_SEP):
                for below, found in subgraphs(inner, namespace[len(name) + 1 :], True):
                    yield f"{name}{NS_SEP}{below}", found
            continue
        yield name, inner
        if namespace is not None:
            return
        if recurse:
            for below, found in subgraphs(inner, None, True):
                yield f"{name}{NS_SEP}{below}", found


def graph_or_action(node: Any) -> Any:
    """Return the graph that a builder's node is, or the function that it runs."""
    if node.subgraph is not None or node.bound is None:
        return node.subgraph
    return node.bound.action


def find_graph(action: Any) -> Any:
    """Return the compiled graph that a node's action is or may call, None where there is none.

    One that saves nothing (``checkpointer=False``) is none.
    """
    from distgraph.graph.compiled import CompiledStateGraph

    found: list[Any] = [action, *_reached(action)]
    for candidate in found:  # grows as it goes
        if isinstance(candidate, CompiledStateGraph):
            if candidate.checkpointer is not False:
                return candidate
        elif _is_langgraphs(candidate):
            from distgraph.langgraphs.graph import as_read

            if candidate.checkpointer is not False and (graph := as_read(candidate)) is not None:
                return graph
        elif is_runnable(candidate):
            found.extend(_parts(candidate))
    return None


def _is_langgraphs(value: Any) -> bool:
    module = sys.modules.get("langgraph.pregel")
    return module is not None and isinstance(value, module.Pregel)


def _parts(runnable: Any) -> list[Any]:
    """Return what a LangChain ``Runnable`` is made of, as far as it says so."""
    steps = getattr(runnable, "steps", None)
    if isinstance(steps, (list, tuple)):
        return list(steps)
    function = getattr(runnable, "func", None) or getattr(runnable, "afunc", None)
    return _reached(function)


def _reached(function: Any) -> list[Any]:
    """Return the values that a function reaches outside of its own scope; objects for methods."""
    function = getattr(function, "__func__", function)
    wrapped = getattr(function, "__wrapped__", None)
    if callable(wrapped):
        function = getattr(wrapped, "__func__", wrapped)
    if not isinstance(function, FunctionType):
        return []
    code = function.__code__
    cells = {
        name: cell.cell_contents
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False)
        if _is_filled(cell)
    }
    scope = function.__globals__
    named = {name: scope[name] for name in code.co_names if name in scope}
    values = list(cells.values())
    if not all(value is None or type(value) in _PLAIN for value in (*values, *named.values())):
        values += _loaded(code, cells, named)
    return [getattr(value, "__self__", value) for value in values]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _loaded(code: CodeType, cells: dict[str, Any], named: dict[str, Any]) -> list[Any]:
    """Return what code loads by name, and along attributes of that; inner functions included."""
    values: list[Any] = []
    codes = [code]
    for inner in codes:  # grows as it goes
        codes.extend(const for const in inner.co_consts if isinstance(const, CodeType))
        value: Any = None
        for instruction in dis.get_instructions(inner):
            match instruction.opname:
                case "LOAD_GLOBAL":
                    value = named.get(instruction.argval)
                case "LOAD_DEREF":
                    value = cells.get(instruction.argval)
                case "LOAD_ATTR" | "LOAD_METHOD":
                    value = _attribute(value, instruction.argval)
                case _:
                    value = None
            if value is not None:
                values.append(value)
    return values


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # a property of the user's that is not to be read now
        return None
