"""The node of an attempt, found in the graph's program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distgraph.contract.attempt import AttemptRequest, RunInfo
from distgraph.contract.retries import Levels
from distgraph.contract.spec import GraphProgram, NodeProgram, is_awaited
from distgraph.worker.calls import called_program

__all__ = ("LocatedNode", "graphs_of", "locate", "node_input")


@dataclass(frozen=True, slots=True)
class LocatedNode:
    """A node of a program, found by a request's path."""

    graph: GraphProgram
    program: NodeProgram
    levels: Levels = ()
    """Retry policies that its failures meet."""

    def needs_loop(self, request: AttemptRequest, run: RunInfo) -> bool:
        """Whether the attempt awaits anything."""
        if request.is_async and request.kind != "writers":
            return True
        awaits = run.shared.awaits
        return request.kind != "part" and any(is_awaited(w, awaits) for w in self.program.writers)


def graphs_of(program: GraphProgram, request: AttemptRequest) -> list[GraphProgram]:
    """Return the graphs around the node that a request is for, from the root graph to its own."""
    graphs = [program]
    for name in request.graph_path:
        graphs.append(graphs[-1].subgraphs[name])
    return graphs


def locate(program: GraphProgram, request: AttemptRequest) -> LocatedNode:
    """Return the node that a request is for."""
    graph = program
    levels = []
    for name in request.graph_path:
        levels.append(graph.spec.nodes[name].retry)
        graph = graph.subgraphs[name]
    if request.called is not None:
        return LocatedNode(graph, called_program(request), (request.called.retry,))
    levels.append(graph.spec.nodes[request.node].retry)
    return LocatedNode(graph, graph.nodes[request.node], levels[::-1])


def node_input(node: LocatedNode, request: AttemptRequest) -> Any:
    """Return what the node's function is called with."""
    reads = request.reads
    if reads is None:
        return request.input
    given = {**request.state, **request.managed}
    if isinstance(reads, str):
        value = given.get(reads)
    else:
        value = {key: given[key] for key in reads if key in given}
    mapper = node.graph.spec.nodes[request.node].mapper
    return value if mapper is None else mapper(value)
