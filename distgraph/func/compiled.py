"""The graph that ``@entrypoint`` makes of a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distgraph.constants import END, START
from distgraph.graph.blueprint import Blueprint
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.drawable import DrawableEdge, DrawableNode
from distgraph.graph.drawing import DrawableGraph
from distgraph.graph.subgraphs import find_graph

if TYPE_CHECKING:
    from distgraph.contract.spec import GraphProgram, GraphSpec
    from distgraph.worker.decorated import Decorated

__all__ = ("Workflow",)


class Workflow(CompiledStateGraph[Any, Any, Any, Any]):
    """A function that runs as a graph of one node, and calls tasks. ``@entrypoint`` makes it.

    Attributes:
        decorated: The function.
    """

    def __init__(
        self,
        decorated: Decorated,
        *,
        spec: GraphSpec,
        program: GraphProgram,
        types: tuple[Any, Any, Any],
        backend: Any = None,
        checkpointer: Any = None,
        store: Any = None,
        cache: Any = None,
    ) -> None:
        super().__init__(
            builder=None,
            blueprint=Blueprint(types[2], program.context_schema, types[0], types[1]),
            spec=spec,
            program=program,
            name=spec.name,
            backend=backend,
            checkpointer=checkpointer,
            store=store,
            cache=cache,
        )
        self.decorated = decorated

    def get_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> DrawableGraph:
        """Return the drawing of the single node; calls of tasks are known only during a run.

        Args:
            config: Ignored; a drawing does not depend on it.
            xray: Ignored; there is nothing inside.
        """
        (name,) = self.spec.nodes
        kind = (*type(self.decorated).__module__.split("."), type(self.decorated).__name__)
        return DrawableGraph(
            {
                name: DrawableNode(name, kind=kind),
                START: DrawableNode(START),
                END: DrawableNode(END),
            },
            [DrawableEdge(START, name), DrawableEdge(name, END, None, True)],
        )

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input. Needs pydantic."""
        return _json_schema(self.get_input_schema())

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the output. Needs pydantic."""
        return _json_schema(self.get_output_schema())

    def get_input_schema(self, config: Mapping[str, Any] | None = None) -> Any:
        """Return a pydantic model of the input."""
        return _model(self.InputType, self.get_name("Input"))

    def get_output_schema(self, config: Mapping[str, Any] | None = None) -> Any:
        """Return a pydantic model of the output."""
        return _model(self.OutputType, self.get_name("Output"))

    def _find_inner(self) -> Mapping[str, Any]:
        (name,) = self.spec.nodes
        graph = find_graph(self.decorated.func)
        return {} if graph is None else {name: graph}


def _model(given: Any, title: str) -> Any:
    from distgraph.graph.jsonschema import root_model

    return given if hasattr(given, "model_json_schema") else root_model(given, title)


def _json_schema(model: Any) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema()
    return schema
