"""A LangGraph graph as a compiled graph of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distgraph._keys import ROOT
from distgraph.engine.spec import GraphProgram, GraphSpec
from distgraph.graph.compiled import CompiledStateGraph
from distgraph.graph.drawing import DrawableEdge, DrawableGraph, DrawableNode
from distgraph.graph.schema import mapper_of
from distgraph.worker.context import active_task

if TYPE_CHECKING:
    from distgraph.run import _Call

__all__ = ("DistributedGraph",)


class DistributedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """What ``distribute`` returns: it is run as any compiled graph is.

    Attributes:
        origin: The LangGraph graph. It is drawn and described by itself, and never run.
    """

    def __init__(
        self, origin: Any, *, spec: GraphSpec, program: GraphProgram, backend: Any
    ) -> None:
        builder = getattr(origin, "builder", None)
        super().__init__(
            builder=builder,  # type: ignore[arg-type]
            spec=spec,
            program=program,
            name=spec.name,
            backend=backend,
            store=origin.store,
            debug=bool(origin.debug),
            output_mapper=_mapper(builder, "output_schema", spec.output_channels),
            state_mapper=_mapper(builder, "state_schema", spec.stream_channels),
        )
        self.origin = origin
        self.stream_mode = origin.stream_mode

    @property
    def context_schema(self) -> Any:
        """Schema of ``context=``, None without one."""
        return self.program.context_schema

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
                key: DrawableNode(key, dict(node.metadata or {}))
                for key, node in drawn.nodes.items()
            },
            [
                DrawableEdge(edge.source, edge.target, edge.data, bool(edge.conditional))
                for edge in drawn.edges
            ],
        )

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the input, as LangGraph has it."""
        schema: dict[str, Any] = self.origin.get_input_jsonschema()
        return schema

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of the output, as LangGraph has it."""
        schema: dict[str, Any] = self.origin.get_output_jsonschema()
        return schema

    def _iterate(self, call: _Call, end: dict[str, Any] | None = None) -> Iterator[Any]:
        with _caught_as_either():
            yield from super()._iterate(call, end)

    async def _aiterate(self, call: _Call, end: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        chunks = super()._aiterate(call, end)
        try:
            with _caught_as_either():
                async for chunk in chunks:
                    yield chunk
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    def _call(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        *,
        stream_mode: str | Sequence[str] | None = None,
        **options: Any,
    ) -> _Call:
        if stream_mode is None and active_task() is None:
            stream_mode = self.stream_mode
        return super()._call(input, config, stream_mode=stream_mode, **options)


@lru_cache(maxsize=1)
def _errors() -> dict[type[Exception], type[Exception]]:
    """Return, for errors that both have, a class that is caught as either."""
    import langgraph.errors as theirs

    import distgraph.errors as ours

    names = ("GraphRecursionError", "InvalidUpdateError", "EmptyInputError", "EmptyChannelError")
    both = {}
    for name in names:
        own, foreign = getattr(ours, name), getattr(theirs, name, None)
        if foreign is not None:
            both[own] = type(name, (own, foreign), {"__module__": "distgraph.errors"})
    return both


@contextmanager
def _caught_as_either() -> Iterator[None]:
    """Raise an error of the engine as one that handlers for LangGraph's catch too."""
    try:
        yield
    except Exception as error:
        cls = _errors().get(type(error))
        if cls is None:
            raise
        told = cls(*error.args)
        told.__dict__.update(error.__dict__)
        raise told.with_traceback(error.__traceback__) from error.__cause__


def _mapper(builder: Any, schema: str, keys: tuple[str, ...] | str) -> Any:
    if builder is None:
        return None
    return mapper_of(getattr(builder, schema), (ROOT,) if isinstance(keys, str) else keys)
