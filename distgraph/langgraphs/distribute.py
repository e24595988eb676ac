"""``distribute``: one call between a LangGraph graph and the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distgraph._internal.loaded import loaded
from distgraph.backends import backend_name
from distgraph.driver.caching import caches_of
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.spec import check_resources
from distgraph.langgraphs.versions import check_version
from distgraph.placement import ToolOptions
from distgraph.worker.context import active_task

if TYPE_CHECKING:
    from distgraph.backends.base import Backend, BackendName

__all__ = ("distribute",)


def distribute(
    graph: Any,
    *,
    ray_options: Mapping[str, ToolOptions] | None = None,
    backend: BackendName | Backend | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a distgraph graph that runs a graph compiled by LangGraph, without LangGraph's engine.

    Nodes, conditional edges, reducers, channels and subgraphs work unchanged, and stream as in
    LangGraph. Every node, also of a subgraph, is a task of its own; so is every tool call of a
    ``ToolNode``. A node with a sync and an async function (a chat model's, an agent's) runs the
    async function, which reserves no core; give a node that computes resources by ``ray_options``.
    A LangGraph graph that a node's own code invokes is not a node: LangGraph runs such a graph in
    the node's process, and its events stream under the node's namespace.

    Args:
        graph: What ``StateGraph.compile()`` of LangGraph, ``langchain.agents.create_agent`` or
            ``with_config`` of one of these returned, or a ``StateGraph`` before ``compile()``.
        ray_options: Ray options by node name, as for ``add_node(ray_options=...)``.
            ``"child:node"`` names a node of a subgraph, ``"tools:search"`` (or ``"search"``) a
            tool, which also takes ``timeout`` and ``max_concurrency``.
        backend: "ray", "local", or a backend object. Default: the session's backend.

    Raises:
        UnsupportedError: The graph uses an unsupported feature (managed values, …), or
            LangGraph's version is not supported. The message names the feature.
        ValueError: ``ray_options`` are invalid, or name an unknown node or tool.
        TypeError: ``graph`` is not a LangGraph graph.
        SerializationError: A node captures an object that cannot be pickled.
        MissingExtraError: LangGraph is not installed.
    """
    if isinstance(graph, CompiledStateGraph):
        raise TypeError(
            f"graph {graph.name!r} is distgraph's own: it is distributed already. Give ray_options "
            "to add_node and backend to compile"
        )
    builder = loaded("distgraph.graph.state", "StateGraph")
    if builder is not None and isinstance(graph, builder):
        raise TypeError(
            "distribute takes graphs of LangGraph; this StateGraph is distgraph's own. Call its "
            "compile(): what it returns runs on Ray"
        )
    check_version()
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    from distgraph.langgraphs.graph import DistributedGraph
    from distgraph.langgraphs.nodes import GivenOptions, translate
    from distgraph.langgraphs.refusals import graphs_of_chain, refuse_remote

    refuse_remote(graph, "The graph")
    if isinstance(graph, StateGraph):
        graph = graph.compile()
    if not isinstance(graph, Pregel):
        raise TypeError(
            "distribute takes a graph that LangGraph compiled, or its StateGraph, got "
            f"{type(graph).__name__}{graphs_of_chain(graph)}"
        )
    options = GivenOptions(ray_options or {})
    spec, program = translate(graph, options)
    options.check()
    name = backend_name(backend)
    check_resources(name, store=graph.store, checkpointer=graph.checkpointer)
    for cache in caches_of(program).values():
        check_resources(name, cache=cache)
    made = DistributedGraph(graph, spec=spec, program=program, backend=backend)
    if graph.config:
        made = made.with_config(graph.config)
    if active_task() is None and name == "ray":
        made.blob.check()  # an object that cannot be pickled raises here, with its name
    return made
