"""The graphs of an application: loaded, built by their factories, and given the server's saver."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.state import StateGraph
from distgraph.langgraphs.distribute import distribute
from distgraph.serve.errors import ProjectError
from distgraph.serve.project import GraphSource, Project, load_object

__all__ = ("Graph", "Graphs", "assistant_id_of")

Graph = CompiledStateGraph[Any, Any, Any, Any]

_NAMESPACE = uuid5(NAMESPACE_URL, "https://distgraph.invalid/assistants")


def assistant_id_of(graph_id: str) -> str:
    """Return the id of a graph's own assistant. It is the same after every start."""
    return str(uuid5(_NAMESPACE, graph_id))


class Graphs:
    """The graphs by their ids.

    Args:
        project: The application.
        backend: "local" or "ray".
        checkpointer: The saver of all threads.
        store: The store of all graphs; None for the graphs' own.
    """

    def __init__(
        self, project: Project, *, backend: str, checkpointer: Any, store: Any = None
    ) -> None:
        self.sources: dict[str, GraphSource] = {s.graph_id: s for s in project.graphs}
        self._settings = {"checkpointer": checkpointer, "backend": backend}
        if store is not None:
            self._settings["store"] = store
        self._loaded = {
            source.graph_id: load_object(project, source.path, f"graphs.{source.graph_id}")
            for source in project.graphs
        }
        self._ready: dict[str, Graph] = {}
        """Graphs that need no factory."""
        for graph_id, found in self._loaded.items():
            if not _is_factory(found):
                self._ready[graph_id] = self._adopt(graph_id, found)

    def __iter__(self) -> Any:
        return iter(self.sources)

    def __contains__(self, graph_id: object) -> bool:
        return graph_id in self.sources

    @asynccontextmanager
    async def opened(
        self, graph_id: str, config: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Graph]:
        """Yield the graph of that id. A factory is called with the config.

        Raises:
            ProjectError: The factory fails, or returns no graph.
        """
        ready = self._ready.get(graph_id)
        if ready is not None:
            yield ready
            return
        async with AsyncExitStack() as stack:
            made = await _call(self._loaded[graph_id], config or {"configurable": {}})
            if isinstance(made, AbstractAsyncContextManager):
                made = await stack.enter_async_context(made)
            elif hasattr(made, "__enter__") and hasattr(made, "__exit__"):
                made = stack.enter_context(made)
            yield self._adopt(graph_id, made)

    def _adopt(self, graph_id: str, found: Any) -> Graph:
        what = f"graphs.{graph_id} ({self.sources[graph_id].path})"
        backend: Any = self._settings["backend"]
        try:
            if isinstance(found, StateGraph):
                found = found.compile()
            if not isinstance(found, CompiledStateGraph):
                if not _is_langgraphs(found):
                    raise ProjectError(
                        f"{what} is {type(found).__name__}: name a compiled graph, a StateGraph, "
                        "or a function that returns one"
                    )
                found = distribute(found, backend=backend)
            name = graph_id if found.name in ("", "LangGraph") else found.name
            graph: Graph = found.copy({**self._settings, "name": name})
            return graph
        except ProjectError:
            raise
        except Exception as error:
            raise ProjectError(f"{what}: {type(error).__name__}: {error}") from error


def _is_langgraphs(found: object) -> bool:
    return any(
        base.__module__.startswith("langgraph.") and base.__name__ in ("Pregel", "StateGraph")
        for base in type(found).__mro__
    )


def _is_factory(found: Any) -> bool:
    if isinstance(found, (CompiledStateGraph, StateGraph)) or _is_langgraphs(found):
        return False
    return callable(found)


async def _call(factory: Any, config: Mapping[str, Any]) -> Any:
    arguments = [config] if _takes_config(factory) else []
    if inspect.iscoroutinefunction(factory):
        return await factory(*arguments)
    made = await asyncio.to_thread(factory, *arguments)
    return await made if inspect.isawaitable(made) else made


def _takes_config(factory: Any) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
