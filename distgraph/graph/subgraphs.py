"""The graphs inside of a graph: its nodes that are graphs, and graphs that its functions name.

What a function may reach is read off its code: captured variables, globals, and attributes of
these. It is a guess on the generous side, as LangGraph's is.
"""

from __future__ import annotations

import dis
from collections.abc import AsyncIterator, Iterator, Mapping
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Protocol

from distgraph._internal.adapters import adapter_of
from distgraph._internal.keys import NS_END, NS_SEP
from distgraph.worker.user_functions import is_runnable

if TYPE_CHECKING:
    from typing_extensions import Self

    from distgraph.contract.spec import GraphProgram, GraphSpec

__all__ = (
    "NestableGraph",
    "add_inner_callbacks",
    "find_graph",
    "graph_or_action",
    "namespace_of_names",
)

_PLAIN = (int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset)


def namespace_of_names(ns: str) -> str:
    """Return a namespace without the ids of tasks and the numbers of calls."""
    parts = (part.split(NS_END)[0] for part in ns.split(NS_SEP) if not part.isdigit())
    return NS_SEP.join(parts)


class HasCallbacks(Protocol):
    """A graph whose nodes may be graphs with callbacks."""

    def inner_callbacks(self) -> dict[tuple[str, ...], Any]:
        """Return the callbacks of graphs that are nodes, by the names of the nodes."""


class NestableGraph:
    """A graph that can be a node of another graph, or be called in one."""

    spec: GraphSpec
    program: GraphProgram
    config: dict[str, Any] | None
    checkpointer: Any
    _inner: Mapping[str, Self] | None = None

    def inner_callbacks(self) -> dict[tuple[str, ...], Any]:
        """Return the callbacks that ``with_config`` gave to graphs that are nodes, by the names of
        the nodes that lead there."""
        raise NotImplementedError

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, Self]]:
        """Yield the graphs inside of this one: nodes that are graphs, or whose function names one.

        Args:
            namespace: Only the graph with this one: names of nodes, as in ``"parent|child"``.
            recurse: Also the graphs inside of those; namespaces of several names need it.
        """
        for name, inner in self.inner_graphs().items():
            if namespace is not None and namespace != name:
                if recurse and namespace.startswith(name + NS_SEP):
                    rest = namespace[len(name) + 1 :]
                    for below, found in inner.get_subgraphs(namespace=rest, recurse=True):
                        yield f"{name}{NS_SEP}{below}", found
                continue
            yield name, inner
            if namespace is not None:
                return
            if recurse:
                for below, found in inner.get_subgraphs(recurse=True):
                    yield f"{name}{NS_SEP}{below}", found

    async def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, Self]]:
        """Async variant of ``get_subgraphs``."""
        for item in self.get_subgraphs(namespace=namespace, recurse=recurse):
            yield item

    def inner_graphs(self) -> Mapping[str, Self]:
        """Return the graphs inside of this one by the names of their nodes."""
        if self._inner is None:
            self._inner = self._find_inner()
        return self._inner

    def _find_inner(self) -> Mapping[str, Any]:
        raise NotImplementedError


def add_inner_callbacks(
    found: dict[tuple[str, ...], Any],
    name: str,
    config: Mapping[str, Any] | None,
    graph: HasCallbacks,
) -> None:
    """Add the callbacks of a graph that is the node ``name``, and of graphs that are its nodes."""
    if config is not None and config.get("callbacks"):
        found[(name,)] = config["callbacks"]
    found.update({(name, *path): given for path, given in graph.inner_callbacks().items()})


def graph_or_action(node: Any) -> Any:
    """Return the graph that a builder's node is, or the function that it runs."""
    if node.subgraph is not None or node.bound is None:
        return node.subgraph
    return node.bound.action


def find_graph(action: Any) -> NestableGraph | None:
    """Return the compiled graph that a node's action is or may call, None where there is none.

    One that saves nothing (``checkpointer=False``) is none.
    """
    found: list[Any] = [action, *_reached(action)]
    for candidate in found:  # grows as it goes
        graph = candidate if isinstance(candidate, NestableGraph) else _adapted(candidate)
        if graph is not None:
            if graph.checkpointer is not False:
                return graph
        elif is_runnable(candidate):
            found.extend(_parts(candidate))
    return None


def _adapted(value: Any) -> NestableGraph | None:
    adapter = adapter_of(value)
    graph: NestableGraph | None = None if adapter is None else adapter.as_graph(value)
    return graph


def _parts(runnable: Any) -> list[Any]:
    """Return the components of a LangChain ``Runnable``, as far as the ``Runnable`` shows them."""
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
    return [value.__self__ if isinstance(value, MethodType) else value for value in values]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _loaded(code: CodeType, cells: dict[str, Any], named: dict[str, Any]) -> list[Any]:
    """Return the objects that code loads by name and by attribute chains, inner functions
    included."""
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
