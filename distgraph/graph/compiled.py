"""A compiled graph: its spec for the driver, its program for the workers, and how it is run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from distgraph._internal.config import merge_configs
from distgraph.contract.spec import GraphProgram, GraphSpec
from distgraph.event_streams import Transformers
from distgraph.graph.anatomy import Anatomy
from distgraph.graph.clearing import CacheMethods
from distgraph.graph.piping import RunnableMethods
from distgraph.graph.states import StateMethods
from distgraph.graph.subgraphs import NestableGraph, find_graph, graph_or_action
from distgraph.run import RunMethods
from distgraph.worker.user_functions import count_as_runnable

if TYPE_CHECKING:
    from typing_extensions import Self

    from distgraph.graph.blueprint import Blueprint
    from distgraph.graph.drawing import DrawableGraph
    from distgraph.graph.state import StateGraph
    from distgraph.serde.program import ProgramBlob

__all__ = ("CompiledStateGraph",)

StateT = TypeVar("StateT", default=Any)
ContextT = TypeVar("ContextT", default=Any)
InputT = TypeVar("InputT", default=StateT)
OutputT = TypeVar("OutputT", default=StateT)


class CompiledStateGraph(
    RunMethods,
    StateMethods,
    NestableGraph,
    Anatomy,
    CacheMethods,
    RunnableMethods,
    Generic[StateT, ContextT, InputT, OutputT],
):
    """A graph that can run. ``StateGraph.compile`` makes it.

    Attributes:
        builder: The graph that it was compiled from, None if there is none.
        blueprint: Nodes, edges and schemas, as they were when it was compiled.
        spec: Topology, channels and reducers: what the driver holds.
        program: The user's functions: what the workers hold.
        backend: What runs it, or None for the default of the session.
        output_mapper: Coerces a whole output to the output schema's class (``version="v2"``).
        state_mapper: The same for the whole state.
        stream_transformers: What ``stream_events(version="v3")`` makes its projections by.
        config: Defaults that ``with_config`` has set.
    """

    def __init__(
        self,
        *,
        builder: StateGraph[Any, Any, Any, Any] | None,
        blueprint: Blueprint,
        spec: GraphSpec,
        program: GraphProgram,
        name: str,
        backend: Any = None,
        checkpointer: Any = None,
        store: Any = None,
        cache: Any = None,
        debug: bool = False,
        output_mapper: Callable[[Any], Any] | None = None,
        state_mapper: Callable[[Any], Any] | None = None,
        stream_transformers: Transformers = (),
    ) -> None:
        self.builder = builder
        self.blueprint = blueprint
        self.spec = spec
        self.program = program
        self.name = name
        self.backend = backend
        self.checkpointer = checkpointer
        self.store = store
        self.cache = cache
        self.debug = debug
        self.output_mapper = output_mapper
        self.state_mapper = state_mapper
        self.stream_transformers = tuple(stream_transformers)
        self.config: dict[str, Any] = {}
        self._blob: ProgramBlob | None = None
        count_as_runnable(type(self))

    @property
    def blob(self) -> ProgramBlob:
        """The program as bytes, for backends that ship it."""
        if self._blob is None:
            from distgraph.serde.program import ProgramBlob

            self._blob = ProgramBlob(self.program)
        return self._blob

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blob": None, "_inner": None}

    @property
    def context_schema(self) -> Any:
        """Schema of ``context=``, None without one."""
        return self.program.context_schema

    def with_config(self, config: Mapping[str, Any] | None = None, **kwargs: Any) -> Self:
        """Return a copy whose runs start from this config; what a run is given goes on top."""
        bound = copy.copy(self)
        bound.config = merge_configs(merge_configs(self.config, config), kwargs)
        return bound

    def get_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> DrawableGraph:
        """Return the graph's nodes and edges for drawing.

        Args:
            config: Ignored; a drawing does not depend on it.
            xray: Draw the inside of subgraphs: True for all levels, or how many.
        """
        from distgraph.graph.drawing import drawable

        inner = self.inner_graphs() if xray else {}
        deeper = xray if xray is True else xray - 1
        insides = {name: graph.get_graph(xray=deeper) for name, graph in inner.items()}
        return drawable(self.blueprint, self.spec, insides)

    async def aget_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> DrawableGraph:
        """Return what ``get_graph`` returns."""
        return self.get_graph(config, xray=xray)

    def _find_inner(self) -> Mapping[str, Any]:
        graphs = {name: find_graph(graph_or_action(n)) for name, n in self.blueprint.nodes.items()}
        return {name: graph for name, graph in graphs.items() if graph is not None}

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input. Needs pydantic."""
        from distgraph.graph.jsonschema import json_schema

        return json_schema(self.blueprint, self.blueprint.input_schema, self.get_name("Input"))

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the output. Needs pydantic."""
        from distgraph.graph.jsonschema import json_schema

        return json_schema(self.blueprint, self.blueprint.output_schema, self.get_name("Output"))

    def __repr__(self) -> str:
        nodes = ", ".join(self.spec.nodes)
        return f"{type(self).__name__}(name={self.name!r}, nodes=[{nodes}])"
