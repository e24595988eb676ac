"""``distribute``: one call between a LangGraph graph and the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgraph.backends import backend_name
from distgraph.driver.caching import caches_of
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.spec import check_resources
from distgraph.langgraphs.versions import check_version
from distgraph.worker.context import active_task

__all__ = ("distribute",)


def distribute(
    graph: Any,
    *,
    ray_options: Mapping[str, Mapping[str, Any]] | None = None,
    backend: Any = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a graph of ours that runs what LangGraph compiled; LangGraph's engine runs nothing.

    Nodes, conditional edges, reducers, channels and subgraphs work as they are, and stream as they
    do there. Every node, also that of a subgraph, is a task of its own; so is every tool call of
    a ``ToolNode``. A node that has a synchronous and an asynchronous form (a chat model's, an
    agent's) runs in the one that waits, which holds no core; one that computes itself should be
    given resources by ``ray_options``. A LangGraph graph that a node's own code invokes is not a
    node: it runs there, by LangGraph, and streams under the node's namespace.

    Args:
        graph: What ``StateGraph.compile()`` of LangGraph, ``langchain.agents.create_agent`` or
            ``with_config`` of one of these returned, or a ``StateGraph`` before ``compile()``.
        ray_options: Where nodes run, by name, as ``add_node(ray_options=...)`` takes it.
            ``"child:node"`` names a node of a subgraph, ``"tools:search"`` (or ``"search"``) a
            tool, which also takes ``timeout`` and ``max_concurrency``.
        backend: What runs it: "ray", "local", or a backend. Default: that of the session.

    Raises:
        UnsupportedError: The graph asks for what cannot be honoured (managed values, …), or
            LangGraph's version is not one that was tested. Names it.
        ValueError: ``ray_options`` are invalid, or name what is not there.
        TypeError: ``graph`` is none of LangGraph's.
        SerializationError: A node captures what cannot travel to a worker.
        MissingExtraError: LangGraph is not installed.
    """
    if isinstance(graph, CompiledStateGraph):
        raise TypeError(
            f"graph {graph.name!r} is distgraph's own: it is distributed already. Give ray_options "
            "to add_node and backend to compile"
        )
    check_version()
    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    from distgraph.langgraphs.graph import DistributedGraph
    from distgraph.langgraphs.nodes import GivenOptions, translate
    from distgraph.langgraphs.refusals import refuse_remote

    refuse_remote(graph, "The graph")
    if isinstance(graph, StateGraph):
        graph = graph.compile()
    if not isinstance(graph, Pregel):
        raise TypeError(
            "distribute takes a graph that LangGraph compiled, or its StateGraph, got "
            f"{type(graph).__name__}"
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
        made.blob.get()  # what cannot travel is told now, by name
    return made
