"""A LangGraph graph as a distgraph compiled graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from distgraph._internal.keys import ROOT
from distgraph.contract.spec import GraphProgram, GraphSpec
from distgraph.errors import UnsupportedError
from distgraph.graph.blueprint import Blueprint
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.drawable import DrawableEdge, DrawableNode
from distgraph.graph.drawing import DrawableGraph
from distgraph.graph.schema import mapper_of
from distgraph.graph.subgraphs import NestableGraph, add_inner_callbacks

if TYPE_CHECKING:
    pass

__all__ = ("DistributedGraph", "as_read")

T = TypeVar("T")


class DistributedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """The graph that ``distribute`` returns; runs like any compiled graph.

    Attributes:
        origin: The LangGraph graph, used for drawings and schemas and never run.
    """

    def __init__(
        self, origin: Any, *, spec: GraphSpec, program: GraphProgram, backend: Any = None
    ) -> None:
        blueprint = _blueprint(origin)
        super().__init__(
            builder=getattr(origin, "builder", None),
            blueprint=blueprint,
            spec=spec,
            program=program,
            name=spec.name,
            backend=backend,
            checkpointer=origin.checkpointer,
            store=origin.store,
            cache=origin.cache,
            debug=bool(origin.debug),
            output_mapper=_mapper(blueprint.output_schema, spec.output_channels),
            state_mapper=_mapper(blueprint.state_schema, spec.stream_channels),
            stream_transformers=getattr(origin, "stream_transformers", ()),
        )
        self.origin = origin
        self.stream_mode = origin.stream_mode

    def inner_callbacks(self) -> dict[tuple[str, ...], Any]:
        """Return the callbacks that ``with_config`` gave to graphs that are nodes, by the names of
        the nodes that lead there."""
        return _Origin(self.origin).inner_callbacks()

    def get_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> DrawableGraph:
        """Return the graph's nodes and edges for drawing, as LangGraph sees them.

        Args:
            config: Ignored; a drawing does not depend on it.
            xray: Draw the inside of subgraphs: True for all levels, or how many.
        """
        drawn = self.origin.get_graph(xray=xray)
        return DrawableGraph(
            {
                key: DrawableNode(key, dict(node.metadata or {}), _kind(node.data))
                for key, node in drawn.nodes.items()
            },
            [
                DrawableEdge(edge.source, edge.target, edge.data, bool(edge.conditional))
                for edge in drawn.edges
            ],
        )

    @property
    def schema_to_mapper(self) -> dict[Any, Any]:
        """Function that builds the object of a schema's class that nodes receive, as in
        LangGraph."""
        return dict(getattr(self.origin, "schema_to_mapper", {}))

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input, as LangGraph has it."""
        schema: dict[str, Any] = self.origin.get_input_jsonschema()
        return schema

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the output, as LangGraph has it."""
        schema: dict[str, Any] = self.origin.get_output_jsonschema()
        return schema

    def _find_inner(self) -> dict[str, NestableGraph]:
        found: dict[str, NestableGraph] = {}
        for name, node in self.origin.nodes.items():
            inner = node.subgraphs[0] if node.subgraphs else None
            spec = self.spec.nodes[name].subgraph
            if inner is None:
                continue
            graph: NestableGraph | None
            if isinstance(inner, NestableGraph):
                graph = inner
            elif spec is None:  # the node's code calls it
                graph = as_read(inner)
            else:
                program = self.program.subgraphs[name]
                graph = _with_config(DistributedGraph(inner, spec=spec, program=program))
            if graph is not None:
                found[name] = graph
        return found

    def get_input_schema(self, config: Mapping[str, Any] | None = None) -> Any:
        """Return a pydantic model of the input, as LangGraph has it."""
        return self.origin.get_input_schema(config)

    def get_output_schema(self, config: Mapping[str, Any] | None = None) -> Any:
        """Return a pydantic model of the output, as LangGraph has it."""
        return self.origin.get_output_schema(config)


class _Origin:
    """A LangGraph graph, as far as its callbacks go."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def inner_callbacks(self) -> dict[tuple[str, ...], Any]:
        from distgraph.langgraphs.nodes import is_graph

        found: dict[tuple[str, ...], Any] = {}
        for name, node in self._graph.nodes.items():
            inner = node.bound
            if is_graph(inner):
                read = inner if isinstance(inner, NestableGraph) else _Origin(inner)
                add_inner_callbacks(found, name, inner.config, read)
        return found


def as_read(graph: Any) -> DistributedGraph | None:
    """Return a LangGraph graph that code of a node calls, for its state to be read.

    None where it is none that can be read: the node runs it by LangGraph, whatever it asks for.
    """
    from distgraph.langgraphs.nodes import GivenOptions, translate

    try:
        spec, program = translate(graph, GivenOptions({}))
    except (AttributeError, UnsupportedError):
        return None
    return _with_config(DistributedGraph(graph, spec=spec, program=program))


def _with_config(made: DistributedGraph) -> DistributedGraph:
    return made.with_config(made.origin.config) if made.origin.config else made


def _kind(drawn: Any) -> tuple[str, ...] | None:
    """Return module and class of what a drawn node runs, None where it runs nothing."""
    if drawn is None or isinstance(drawn, type):  # __end__, or a schema
        return None
    if hasattr(drawn, "lc_id"):
        return tuple(drawn.lc_id())
    cls = type(drawn)
    return (*cls.__module__.split("."), cls.__name__)


def _blueprint(origin: Any) -> Blueprint:
    """Return the schemas of a LangGraph graph; its nodes are described by itself."""
    builder = getattr(origin, "builder", None)
    return Blueprint(
        getattr(builder, "state_schema", Any),
        origin.context_schema,
        origin.InputType,
        getattr(builder, "output_schema", origin.OutputType),
    )


def _mapper(schema: Any, keys: tuple[str, ...] | str) -> Any:
    return mapper_of(schema, (ROOT,) if isinstance(keys, str) else keys)
